"""Density maps against the authors' formulas, written out plainly with SciPy and loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.stages.density import density_constants
from foveal.pipeline.stages.density_maps import density_map, density_maps
from foveal.pipeline.video.density_kernels import DensityKernel, gaussian, sigma_px_from_degrees

PRESETS = ("dhf1k", "hollywood2", "ledov", "salicon", "ucf_sports")

Points = NDArray[np.float64]


def kernel_of(preset: str) -> DensityKernel:
    return density_constants(preset).kernel


def random_points(n: int, size: tuple[int, int], seed: int = 0) -> Points:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size[1], n), rng.integers(0, size[0], n)], axis=1).astype(
        float
    )


def binary_map(points: Points, size: tuple[int, int]) -> Points:
    binary = np.zeros(size)
    for x, y in points:
        binary[int(y), int(x)] = 1.0
    return binary


def fspecial_gaussian(length: int, sigma: float) -> Points:
    """MATLAB's fspecial('gaussian', length, sigma)."""
    half = (length - 1) / 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    kernel = np.exp(-(x * x + y * y) / (2 * sigma * sigma))
    kernel[kernel < np.finfo(float).eps * kernel.max()] = 0
    normalised: Points = kernel / kernel.sum()
    return normalised


def matlab_uint8(density: Points) -> NDArray[np.uint8]:
    """uint8(255 * map / max) as MATLAB rounds."""
    rounded: NDArray[np.uint8] = np.floor(255 * density / density.max() + 0.5).astype(np.uint8)
    return rounded


def summed_gaussians(points: Points, size: tuple[int, int], sigma: float) -> Points:
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    density = np.zeros(size)
    for px, py in points:
        density += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
    return density


@pytest.mark.parametrize("name", ["hollywood2", "ucf_sports"])
def test_fspecial_presets_are_bit_exact(name: str) -> None:
    size = (40, 70)
    points = np.vstack([random_points(25, size), [[0, 0], [69, 20], [30, 39]]])
    filtered = scipy.ndimage.correlate(
        binary_map(points, size), fspecial_gaussian(150, 20), mode="nearest", origin=-1
    )
    ours = density_map(points, size, size, kernel_of(name), "max", np.uint8)
    np.testing.assert_array_equal(ours, matlab_uint8(filtered))


def test_even_kernel_puts_its_peak_half_a_pixel_left_and_up() -> None:
    ours = density_map(
        np.array([[100, 80]]), (160, 200), (160, 200), kernel_of("ucf_sports"), "max", np.uint8
    )
    assert {tuple(p) for p in np.argwhere(ours == 255)} == {
        (79, 99),
        (79, 100),
        (80, 99),
        (80, 100),
    }
    extent = density_map(
        np.array([[100, 80]]), (160, 200), (160, 200), kernel_of("ucf_sports"), "none"
    )
    np.testing.assert_array_equal(np.flatnonzero(extent[80]), np.arange(100 - 75, 100 + 75))
    np.testing.assert_array_equal(np.flatnonzero(extent[:, 100]), np.arange(80 - 75, 80 + 75))


def test_dhf1k_is_the_sum_of_gaussians_over_its_maximum() -> None:
    size = (180, 320)
    points = random_points(67, size)
    sigma = 30 / (2 * math.sqrt(2 * math.log(2)))
    assert sigma == pytest.approx(12.7398, abs=1e-4)
    expected = summed_gaussians(np.unique(points, axis=0), size, sigma)
    kernel = kernel_of("dhf1k")
    np.testing.assert_allclose(
        density_map(points, size, size, kernel), expected / expected.max(), atol=1e-6
    )
    np.testing.assert_array_equal(
        density_map(points, size, size, kernel, "max", np.uint8), matlab_uint8(expected)
    )


def test_full_width_at_half_maximum() -> None:
    ours = density_map(np.array([[100, 50]]), (100, 200), (100, 200), kernel_of("dhf1k"))
    assert ours[50, 115] == pytest.approx(0.5, abs=1e-6)
    assert ours[65, 100] == pytest.approx(0.5, abs=1e-6)


def test_ledov_pastes_square_patches_of_unit_peak() -> None:
    height, width, half = 230, 320, 100
    points = np.vstack([random_points(12, (height, width)), [[5, 7], [5, 7], [319, 229]]])
    sigma = 80 / (2 * math.sqrt(2 * math.log(2)))
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    patch = np.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
    canvas = np.zeros((height + 2 * half, width + 2 * half))
    for x, y in points.astype(int):
        canvas[y : y + 2 * half + 1, x : x + 2 * half + 1] += patch
    expected = canvas[half:-half, half:-half]
    size = (height, width)
    ours = density_map(points, size, size, kernel_of("ledov"), "none")
    np.testing.assert_allclose(ours, expected, atol=2e-5)
    assert ours.dtype == np.float32


def test_salicon_is_scipys_gaussian_filter_stretched_to_0_1() -> None:
    size = (150, 200)
    points = np.vstack([random_points(30, size), [[0, 149], [199, 0], [3, 2]]])
    expected = scipy.ndimage.gaussian_filter(binary_map(points, size), 19)
    expected -= expected.min()
    expected /= expected.max()
    np.testing.assert_allclose(
        density_map(points, size, size, kernel_of("salicon")), expected, atol=1e-6
    )
    np.testing.assert_array_equal(
        density_map(points, size, size, kernel_of("salicon"), "max", np.uint8),
        matlab_uint8(expected),
    )


SCIPY_MODES = {"zero": "constant", "replicate": "nearest", "reflect": "reflect"}


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 25),
    width=st.integers(1, 200),
    radius=st.integers(1, 40),
    border=st.sampled_from(sorted(SCIPY_MODES)),
    seed=st.integers(0, 10**6),
    n=st.integers(1, 30),
)
def test_borders_and_truncation_agree_with_scipy(
    height: int, width: int, radius: int, border: Any, seed: int, n: int
) -> None:
    size, sigma = (height, width), 6.0
    points = random_points(n, size, seed)
    kernel = DensityKernel(sigma, half_width_px=float(radius), border=border)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    expected = binary_map(points, size)
    for axis in (0, 1):
        expected = scipy.ndimage.correlate1d(expected, taps, axis, mode=SCIPY_MODES[border])
    ours = density_map(points, size, size, kernel, "none")
    np.testing.assert_allclose(ours, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("map_size", [(45, 64), (90, 160), (180, 213), (360, 640)])
def test_sigma_and_positions_scale_with_each_axis(map_size: tuple[int, int]) -> None:
    source, sigma = (180, 320), 12.0
    points = random_points(20, source)
    scale_y, scale_x = map_size[0] / source[0], map_size[1] / source[1]
    y, x = np.mgrid[: map_size[0], : map_size[1]].astype(float)
    expected = np.zeros(map_size)
    for px, py in points:
        qx, qy = (px + 0.5) * scale_x - 0.5, (py + 0.5) * scale_y - 0.5
        expected += np.exp(
            -((x - qx) ** 2) / (2 * (sigma * scale_x) ** 2)
            - (y - qy) ** 2 / (2 * (sigma * scale_y) ** 2)
        )
    ours = density_map(points, source, map_size, gaussian(sigma), "none")
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_shrinking_agrees_with_area_averaging_of_the_full_map() -> None:
    source, points = (160, 320), random_points(15, (160, 320))
    full = density_map(points, source, source, kernel_of("hollywood2"), "none")
    half = density_map(points, source, (80, 160), kernel_of("hollywood2"), "none")
    averaged = full.reshape(80, 2, 160, 2).mean(axis=(1, 3))
    # sampling against averaging 2x2 pixels of a σ = 20 Gaussian, cut where it is 1e-3
    np.testing.assert_allclose(half, averaged, atol=4e-3 * full.max())


def test_wide_pictures_take_the_same_values_without_a_table() -> None:
    size = (3, 2500)  # 2500 x 2500 responses are computed a point at a time
    points = random_points(40, size)
    np.testing.assert_allclose(
        density_map(points, size, size, gaussian(30.0), "none"),
        summed_gaussians(np.unique(points, axis=0), size, 30.0),
        atol=1e-5,
    )


def test_sub_pixel_points_count_each_where_not_binarised() -> None:
    points = np.array([[10.25, 4.5], [10.25, 4.5], [3.75, 8.0]])
    np.testing.assert_allclose(
        density_map(points, (20, 30), (20, 30), gaussian(2.0, binarise=False), "none"),
        summed_gaussians(points, (20, 30), 2.0),
        atol=1e-6,
    )
    binarised = density_map(points, (20, 30), (20, 30), gaussian(2.0), "none")
    on_pixels = np.array([[10.0, 5.0], [4.0, 8.0]])
    np.testing.assert_allclose(binarised, summed_gaussians(on_pixels, (20, 30), 2.0), atol=1e-6)


def test_truncation_in_sigmas() -> None:
    ours = density_map(np.array([[50, 50]]), (100, 100), (100, 100), gaussian(5.0, 3.0), "none")
    assert ours[50, 65] == pytest.approx(math.exp(-4.5), rel=1e-6)
    assert ours[50, 66] == 0


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("normalise", ["max", "sum", "none"])
def test_a_frame_without_points_is_zero(name: str, normalise: Any) -> None:
    empty = density_map(np.empty((0, 2)), (36, 64), (18, 32), kernel_of(name), normalise)
    assert empty.shape == (18, 32)
    assert not empty.any()


def test_a_map_that_is_constant_once_its_minimum_is_gone_is_zero() -> None:
    ours = density_map(np.array([[0, 0]]), (1, 1), (1, 1), kernel_of("salicon"))
    np.testing.assert_array_equal(ours, [[0.0]])


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(
        st.tuples(st.floats(-0.5, 63.49, allow_nan=False), st.floats(-0.5, 35.49, allow_nan=False)),
        min_size=1,
        max_size=20,
    ),
    name=st.sampled_from(PRESETS),
)
def test_invariants(points: list[tuple[float, float]], name: str) -> None:
    size, kernel = (36, 64), kernel_of(name)
    given_points = np.array(points)
    peak = density_map(given_points, size, size, kernel, "max")
    total = density_map(given_points, size, size, kernel, "sum")
    assert np.isfinite(peak).all()
    assert peak.min() >= 0
    assert peak.max() == pytest.approx(1.0, abs=1e-6)
    assert total.sum(dtype=np.float64) == pytest.approx(1.0, abs=1e-5)
    shuffled = density_map(given_points[::-1], size, size, kernel, "max")
    np.testing.assert_allclose(shuffled, peak, atol=1e-5)
    as_bytes = density_map(given_points, size, size, kernel, "max", np.uint8)
    assert np.abs(as_bytes - 255.0 * peak).max() <= 0.5 + 0.01  # float32 against double


def test_mirrored_points_give_the_mirrored_map() -> None:
    size = (50, 150)
    points = random_points(9, size)
    mirrored = np.array([[149.0, 49.0]]) - points
    for name in ("dhf1k", "ledov", "salicon"):
        np.testing.assert_allclose(
            density_map(mirrored, size, size, kernel_of(name))[::-1, ::-1],
            density_map(points, size, size, kernel_of(name)),
            atol=1e-6,
        )


def test_batched_frames_equal_single_frames() -> None:
    points = random_points(30, (36, 64))
    offsets = np.array([0, 10, 10, 29, 30])
    maps = density_maps(points, offsets, (36, 64), (18, 32), gaussian(4.0), "max", np.uint8)
    assert maps.shape == (4, 18, 32)
    assert maps.dtype == np.uint8
    assert not maps[1].any()
    for k in range(4):
        np.testing.assert_array_equal(
            maps[k],
            density_map(
                points[offsets[k] : offsets[k + 1]],
                (36, 64),
                (18, 32),
                gaussian(4.0),
                "max",
                np.uint8,
            ),
        )


@pytest.mark.parametrize("point", [(64, 3), (-1, 3), (3, 36), (math.nan, 3), (math.inf, 3)])
def test_points_off_the_picture_are_refused(point: tuple[float, float]) -> None:
    with pytest.raises(GazeError, match="outside the 64x36 picture"):
        density_map(np.array([[1.0, 1.0], point]), (36, 64), (36, 64), gaussian(4.0))


def test_wrong_requests_name_what_is_allowed() -> None:
    points = np.array([[1.0, 1.0]])
    with pytest.raises(ValueError, match="dhf1k, hollywood2"):
        density_constants("coutrot")
    with pytest.raises(RecipeError, match="uint8"):
        density_map(points, (36, 64), (36, 64), gaussian(4.0), "sum", np.uint8)
    with pytest.raises(RecipeError, match="max, sum, none"):
        density_map(points, (36, 64), (36, 64), gaussian(4.0), "mean")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="enlarge"):
        density_map(points, (360, 640), (36, 16), gaussian(4.0))
    with pytest.raises(RecipeError, match="> 0"):
        gaussian(0.0)


def test_degrees_to_pixels_of_the_video() -> None:
    on_screen = sigma_px_from_degrees(
        1.0, screen_width_px=1440, screen_width_cm=40.0, viewing_distance_cm=68.0
    )
    assert on_screen == pytest.approx(2 * 68 * math.tan(math.radians(0.5)) * 36)
    in_video = sigma_px_from_degrees(
        1.0,
        screen_width_px=1440,
        screen_width_cm=40.0,
        viewing_distance_cm=68.0,
        video_px_per_screen_px=640 / 1440,
    )
    assert in_video == pytest.approx(on_screen * 640 / 1440)
    with pytest.raises(RecipeError, match="viewing_distance_cm is 0"):
        sigma_px_from_degrees(
            1.0, screen_width_px=1440, screen_width_cm=40.0, viewing_distance_cm=0
        )
