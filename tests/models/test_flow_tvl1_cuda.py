"""TV-L1 in Triton: each kernel against OpenCV or NumPy, and the whole against the CPU's.

On a machine with a GPU the kernels are compiled; without one they are interpreted, slowly, so that
pictures are small here.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from flow_scenes import panning_frames
from numpy.typing import NDArray

pytest.importorskip("triton", reason="no triton, so no tvl1_cuda")

from foveal.errors import FovealError, MissingDependency
from foveal.models.flow import make_estimator, tvl1_cuda, tvl1_triton
from foveal.models.flow.tvl1_cuda import TVL1Cuda
from foveal.models.flow.tvl1_images import gradient, grey, resize

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PAIRS, HEIGHT, WIDTH = 2, 23, 31
SIZE, BLOCK = HEIGHT * WIDTH, 256
TILES = -(-SIZE // BLOCK)
GRID = (PAIRS * TILES,)
ROUNDING: dict[str, Any] = {"BLOCK": BLOCK, "FUSED": DEVICE == "cuda", "enable_fp_fusion": False}
COUNT = [0, 3]
"""Iterations the two pairs have had: the current state is the first copy of one, the second of
the other."""


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (PAIRS + 1, HEIGHT, WIDTH, 3), np.uint8)
    images = grey(torch.from_numpy(frames)).to(DEVICE)

    def normal(*shape: int, scale: float) -> torch.Tensor:
        return torch.from_numpy(rng.normal(0, scale, shape).astype(np.float32)).to(DEVICE)

    return {
        "frames": torch.stack([images, *gradient(images)], dim=1),
        "u": normal(2, PAIRS, 2, HEIGHT, WIDTH, scale=3),
        "p": normal(2, PAIRS, 4, HEIGHT, WIDTH, scale=0.4),
        "g": with_inverse(normal(PAIRS, 3, HEIGHT, WIDTH, scale=5)),
        "count": torch.tensor(COUNT, dtype=torch.int32, device=DEVICE),
        "sums": torch.ones((PAIRS, TILES), device=DEVICE),
    }


def with_inverse(g: torch.Tensor) -> torch.Tensor:
    """Behind gradient and rho, the inverse of the squared gradient that `warp` writes."""
    square = (g[:, :1] ** 2).add_(g[:, 1:2] ** 2)
    return torch.cat([g[:, :3], torch.where(square > 1.1920929e-07, 1 / square, 0)], dim=1)


def array(tensor: torch.Tensor) -> NDArray[np.float64]:
    return tensor.cpu().double().numpy()


def test_grey_is_opencvs() -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    for got, frame in zip(grey(torch.from_numpy(frames)), frames, strict=True):
        assert np.array_equal(got.numpy(), cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


@pytest.mark.parametrize("size", [(20, 25), (37, 30), (16, 64)])
def test_both_resizes_of_the_pyramid_are_opencvs(size: tuple[int, int]) -> None:
    image = np.random.default_rng(2).uniform(0, 255, size).astype(np.float32)
    small = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_LINEAR)
    got = resize(torch.from_numpy(image)[None], small.shape, (1.25, 1.25))[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(got.numpy(), small, atol=1e-3)
    large = cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR)
    ratio = small.shape[0] / size[0], small.shape[1] / size[1]
    again = resize(torch.from_numpy(np.asarray(small))[None], size, ratio)[0]
    np.testing.assert_allclose(again.numpy(), large, atol=1e-3)


def test_gradient_is_half_the_difference_and_repeats_the_border() -> None:
    image = torch.tensor([[[1.0, 3.0, 9.0], [2.0, 2.0, 2.0]]])
    dx, dy = gradient(image)
    assert dx.tolist() == [[[1.0, 4.0, 3.0], [0.0, 0.0, 0.0]]]
    assert dy.tolist() == [[[0.5, -0.5, -3.5], [0.5, -0.5, -3.5]]]
    one, other = gradient(torch.ones(1, 1, 1))
    assert one.item() == other.item() == 0


def test_warp_is_opencvs_cubic_remap(state: dict[str, torch.Tensor]) -> None:
    state["u"][0, 0, :, 3, 4] = torch.tensor([1e4, -3e9])  # far outside: 0, whatever the number
    out = torch.full((PAIRS, 4, HEIGHT, WIDTH), torch.nan, device=DEVICE)
    tvl1_triton.warp[GRID](
        state["frames"], state["u"], state["count"], out, PAIRS, HEIGHT, WIDTH, SIZE, TILES,
        **ROUNDING,
    )  # fmt: skip
    x, y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    frames = state["frames"].cpu().numpy()
    for pair in range(PAIRS):
        u = state["u"][COUNT[pair] % 2, pair].cpu().numpy()
        far = np.abs(u).max(axis=0) > 1000
        image, gx, gy = (
            cv2.remap(np.ascontiguousarray(each), x + u[0], y + u[1], cv2.INTER_CUBIC)
            for each in frames[pair + 1]
        )
        rho = image - gx * u[0] - gy * u[1] - frames[pair, 0]
        for got, expected in zip(out[pair, :3].cpu().numpy(), (gx, gy, rho), strict=True):
            np.testing.assert_allclose(got[~far], expected[~far], atol=1e-4)
        inverse = with_inverse(out[pair : pair + 1].cpu())[0, 3].numpy()
        np.testing.assert_allclose(out[pair, 3].cpu().numpy(), inverse, rtol=1e-6)
        assert np.array_equal(out[pair, 0].cpu().numpy()[far], np.zeros(far.sum()))


def test_median_is_opencvs_and_passes_by_who_is_done(state: dict[str, torch.Tensor]) -> None:
    state["sums"][1] = 0.01
    out = torch.full((PAIRS, 2, HEIGHT, WIDTH), -7.0, device=DEVICE)
    for first, done in ((False, True), (True, False)):
        tvl1_triton.median[GRID](
            state["u"], out, state["sums"], state["count"], PAIRS, HEIGHT, WIDTH, SIZE, TILES, 0.5,
            FIRST=first, TILES=4, BLOCK=BLOCK,
        )  # fmt: skip
        for pair in range(PAIRS):
            for component in range(2):
                plane = state["u"][COUNT[pair] % 2, pair, component].cpu().numpy()
                expected = np.full_like(plane, -7) if pair and done else cv2.medianBlur(plane, 5)
                assert np.array_equal(out[pair, component].cpu().numpy(), expected)


def test_median_of_every_square_of_zeros_and_ones_drawn() -> None:
    planes = torch.from_numpy(np.random.default_rng(3).integers(0, 2, (1, 8, 2, 11, 13)))
    u = planes.float().repeat(2, 1, 1, 1, 1).to(DEVICE)
    out = torch.empty((8, 2, 11, 13), device=DEVICE)
    none = torch.zeros(8, dtype=torch.int32, device=DEVICE)
    tvl1_triton.median[(8,)](
        u, out, out, none, 8, 11, 13, 143, 1, 0.0, FIRST=True, TILES=1, BLOCK=256
    )
    padded = np.pad(planes[0].numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), (2, 3))
    assert np.array_equal(out.cpu().numpy(), np.median(windows, axis=(4, 5)))


def plain_iteration(
    u: NDArray[Any], p: NDArray[Any], g: NDArray[Any], bound: float, theta: float, taut: float
) -> tuple[NDArray[Any], NDArray[Any], float]:
    """The scheme as Zach, Pock & Bischof and OpenCV write it, in float64."""
    gx, gy, constant = g[:3]
    rho = constant + gx * u[0] + gy * u[1]
    square = gx**2 + gy**2
    step = np.where(square > np.finfo(np.float32).eps, -rho / np.maximum(square, 1e-30), 0)
    step = np.where(rho > bound * square, -bound, step)
    step = np.where(rho < -bound * square, bound, step)
    new_u, new_p = [], []
    for component, slope in ((0, gx), (1, gy)):
        along_x, along_y = p[2 * component], p[2 * component + 1]
        divergence = np.diff(along_x, axis=1, prepend=0) + np.diff(along_y, axis=0, prepend=0)
        value = u[component] + step * slope + theta * divergence
        dx = np.diff(value, axis=1, append=value[:, -1:])
        dy = np.diff(value, axis=0, append=value[-1:])
        shrink = 1 + taut * np.hypot(dx, dy)
        new_u.append(value)
        new_p += [(along_x + taut * dx) / shrink, (along_y + taut * dy) / shrink]
    return np.stack(new_u), np.stack(new_p), float(((np.stack(new_u) - u) ** 2).sum())


@pytest.mark.parametrize("after_median", [False, True])
def test_an_iteration_is_the_papers(state: dict[str, torch.Tensor], after_median: bool) -> None:
    state["g"][0, :2, 5:9] = 0
    state["g"] = with_inverse(state["g"])  # no gradient: the thresholding step is 0 there
    filtered = state["u"][0].flip(0).contiguous() if after_median else state["u"][0]
    before = {name: array(state[name]) for name in ("u", "p", "g")}
    sums, count = torch.full_like(state["sums"], torch.nan), torch.empty_like(state["count"])
    tvl1_triton.iterate[GRID](
        state["u"], state["p"], state["g"], filtered, state["sums"], sums, state["count"], count,
        PAIRS, WIDTH, SIZE, TILES, 0.045, 0.3, 0.25 / 0.3, 0.5,
        FIRST=False, AFTER_MEDIAN=after_median, TILES=4, **ROUNDING,
    )  # fmt: skip
    assert count.tolist() == [1, 4]
    for pair in range(PAIRS):
        old, new = COUNT[pair] % 2, 1 - COUNT[pair] % 2
        u = array(filtered)[pair] if after_median else before["u"][old, pair]
        u_new, p_new, error = plain_iteration(
            u, before["p"][old, pair], before["g"][pair], 0.045, 0.3, 0.25 / 0.3
        )
        np.testing.assert_allclose(array(state["u"])[new, pair], u_new, atol=1e-5)
        np.testing.assert_allclose(array(state["p"])[new, pair], p_new, atol=1e-5)
        assert float(sums[pair].sum()) == pytest.approx(error, rel=1e-4)
        assert np.array_equal(array(state["u"])[old, pair], before["u"][old, pair])


def test_a_pair_that_has_converged_stays_as_it_is(state: dict[str, torch.Tensor]) -> None:
    state["sums"][0] = 0.1  # 3 tiles: 0.3 in all, under the limit of 0.5
    u, p = state["u"].clone(), state["p"].clone()
    sums, count = torch.full_like(state["sums"], torch.nan), torch.empty_like(state["count"])
    tvl1_triton.iterate[GRID](
        state["u"], state["p"], state["g"], state["u"][0], state["sums"], sums, state["count"],
        count, PAIRS, WIDTH, SIZE, TILES, 0.045, 0.3, 0.25 / 0.3, 0.5,
        FIRST=False, AFTER_MEDIAN=False, TILES=4, **ROUNDING,
    )  # fmt: skip
    assert count.tolist() == [0, 4]
    assert sums[0].tolist() == [0.0] * TILES
    assert torch.equal(state["u"][:, 0], u[:, 0])
    assert torch.equal(state["p"][:, 0], p[:, 0])
    assert not torch.equal(state["u"][:, 1], u[:, 1])


SHORT: dict[str, Any] = {"scales": 2, "warps": 2, "inner_iterations": 4, "outer_iterations": 2}


@pytest.mark.parametrize(("size", "epsilon"), [((20, 24), 0.0), ((33, 26), 0.03)])
def test_flow_is_the_cpus_to_the_bit(size: tuple[int, int], epsilon: float) -> None:
    pytest.importorskip("numba")
    frames = panning_frames(3, *size, 1, -1)
    estimator = TVL1Cuda(device=DEVICE, epsilon=epsilon, **SHORT)
    got = estimator(frames)
    if not epsilon:
        assert estimator.iterations.tolist() == [2 * 2 * 2 * 4] * 2
    expected = make_estimator("tvl1", epsilon=epsilon, **SHORT)(frames)
    if DEVICE == "cpu":
        assert np.array_equal(got, expected)
    else:  # roots and divisions by hand: one in a million rounds otherwise
        assert np.mean(got == expected) > 0.99
        assert np.abs(got - expected).max() < 0.01


def test_it_stops_when_updates_are_small_and_no_sooner() -> None:
    frames = panning_frames(2, 20, 24, 1, 0)
    estimator = TVL1Cuda(device=DEVICE, scales=1, warps=1)
    got = estimator(frames)[0]
    images = grey(torch.from_numpy(frames))
    gx, gy = gradient(images)
    difference = images[1] - images[0]  # nothing has moved yet: the warp is the picture itself
    g = torch.stack([gx[1], gy[1], difference]).double().numpy()
    u, p, iterations, error = np.zeros((2, 20, 24)), np.zeros((4, 20, 24)), 0, np.inf
    for _ in range(10):
        u = np.stack([cv2.medianBlur(plane.astype(np.float32), 5) for plane in u]).astype(float)
        for _ in range(30):
            u, p, error = plain_iteration(u, p, g, 0.15 * 0.3, 0.3, 0.25 / 0.3)
            iterations += 1
            if error <= 0.01**2 * 20 * 24:
                break
        if error <= 0.01**2 * 20 * 24:
            break
    assert estimator.iterations.tolist() == [iterations]
    assert 30 < iterations < 300  # it passes a median filter, and does not end by the count
    assert np.abs(got - u.transpose(1, 2, 0)).max() < 0.02


def test_a_pair_depends_neither_on_neighbours_nor_on_the_batch() -> None:
    frames = panning_frames(3, 18, 20, 1, 0)
    frames[2:] = np.random.default_rng(4).integers(0, 256, frames[2:].shape)
    settings = {"scales": 1, "warps": 1, "inner_iterations": 9, "outer_iterations": 1}
    together = TVL1Cuda(device=DEVICE, **settings)(frames)
    apart = TVL1Cuda(device=DEVICE, pairs_at_once=1, **settings)(frames)
    assert np.array_equal(together, apart)


@pytest.mark.parametrize("size", [(1, 1), (1, 20), (20, 1), (3, 5)])
def test_the_smallest_pictures_have_finite_flow(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(5).integers(0, 256, (2, *size, 3), np.uint8)
    flow = TVL1Cuda(device=DEVICE, **SHORT)(frames)
    assert flow.shape == (1, *size, 2)
    assert np.isfinite(flow).all()


def test_a_constant_picture_does_not_move_and_read_only_input_is_taken() -> None:
    frames = np.full((2, 18, 20, 3), 77, np.uint8)[:, ::-1]
    frames.setflags(write=False)
    estimator = TVL1Cuda(device=DEVICE)
    assert not estimator(frames).any()
    assert estimator.iterations.tolist() == [5]  # one a warping, then nothing moves


def test_what_determines_the_numbers_and_what_ran_are_told() -> None:
    estimator = make_estimator("tvl1_cuda", device=DEVICE, warps=3)
    assert estimator.name == "tvl1_cuda"
    assert estimator.parameters()["warps"] == 3
    assert estimator.parameters()["method"] == "tvl1_cuda"
    assert estimator.provenance()["implementation"] == "foveal TV-L1 in Triton, version 2"


def test_bad_settings_and_a_missing_gpu_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for settings, message in (
        ({"scale_step": 1.0}, "scale_step"),
        ({"warps": 0}, "warps must be at least 1"),
        ({"pairs_at_once": 0}, "pairs_at_once"),
        ({"median_filtering": 3}, "median_filtering must be 5"),
        ({"gamma": 1.0}, "tvl1_opencv"),
        ({"speed": 1}, "does not take a setting"),
    ):
        with pytest.raises(ValueError, match=message):
            make_estimator("tvl1_cuda", device=DEVICE, **settings)
    with pytest.raises(ValueError, match="no weights"):
        make_estimator("tvl1_cuda", weights="sintel", device=DEVICE)
    monkeypatch.setattr(tvl1_cuda, "_interpreted", lambda kernels: False)
    with pytest.raises(FovealError, match="method: tvl1"):
        make_estimator("tvl1_cuda", device="cpu")


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="no CUDA device on this machine")
@pytest.mark.parametrize("reference", ["tvl1", "tvl1_opencv"])
@pytest.mark.parametrize("size", [(112, 112), (224, 224), (360, 640)])
def test_on_a_gpu_it_agrees_with_the_cpu(size: tuple[int, int], reference: str) -> None:
    frames = panning_frames(4, *size, 2, 1)
    try:
        expected = make_estimator(reference)(frames)
    except MissingDependency as error:
        pytest.skip(str(error))
    error_px = np.linalg.norm(TVL1Cuda()(frames) - expected, axis=-1)
    assert error_px.mean() < 0.005
    assert np.percentile(error_px, 99) < 0.05
