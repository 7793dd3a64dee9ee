"""Resizing: area averages against plain NumPy means, and nothing lost in between."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.pipeline.video.resize import resize_frames

RNG = np.random.default_rng(0)


def noise(count: int, height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, height, width, 3), np.uint8)


@given(
    count=st.integers(0, 3),
    blocks=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    factors=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
@settings(max_examples=50, deadline=None)
def test_shrinking_by_whole_factors_is_the_mean_of_blocks(
    count: int, blocks: tuple[int, int], factors: tuple[int, int]
) -> None:
    (rows, columns), (down, right) = blocks, factors
    frames = noise(count, rows * down, columns * right)
    means = frames.reshape(count, rows, down, columns, right, 3).mean(axis=(2, 4))
    resized = resize_frames(frames, blocks)
    assert resized.shape == (count, rows, columns, 3)
    # OpenCV rounds; half a grey value is all that may be missing.
    np.testing.assert_allclose(resized, means, atol=0.5 + 1e-6)


def test_shrinking_by_any_factor_keeps_the_mean() -> None:
    frames = noise(2, 360, 640)
    resized = resize_frames(frames, (112, 113))
    np.testing.assert_allclose(resized.mean(axis=(1, 2)), frames.mean(axis=(1, 2)), atol=0.1)


def test_no_source_pixel_is_skipped_when_shrinking() -> None:
    # A single bright pixel anywhere must leave a trace; linear interpolation drops most of them.
    for y, x in ((0, 0), (7, 9), (13, 30), (39, 59)):
        frames = np.zeros((1, 40, 60, 3), np.uint8)
        frames[0, y, x] = 255
        assert resize_frames(frames, (13, 17)).max() > 0


def test_the_right_size_costs_nothing() -> None:
    frames = noise(2, 8, 9)
    assert resize_frames(frames, (8, 9)) is frames


def test_enlarging_is_linear() -> None:
    frames = noise(1, 10, 12)
    expected = cv2.resize(frames[0], (30, 25), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize_frames(frames, (25, 30))[0], expected)


@pytest.mark.parametrize("turned", [False, True])
def test_a_side_that_shrinks_is_averaged_even_where_the_other_grows(turned: bool) -> None:
    # Stripes one pixel wide: averaged they are grey, sampled they are black or white.
    frames = np.zeros((1, 8, 64, 3), np.uint8)
    frames[:, :, ::2] = 255
    if turned:
        resized = resize_frames(frames.swapaxes(1, 2).copy(), (16, 20)).swapaxes(1, 2)
    else:
        resized = resize_frames(frames, (20, 16))
    assert resized.shape == (1, 20, 16, 3)
    assert np.abs(resized.astype(int) - 128).max() <= 1


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("linear", cv2.INTER_LINEAR),
        ("cubic", cv2.INTER_CUBIC),
        ("lanczos", cv2.INTER_LANCZOS4),
        ("area", cv2.INTER_AREA),
    ],
)
def test_each_name_means_opencvs_filter(name: str, flag: int) -> None:
    frames = noise(3, 30, 41)
    resized = resize_frames(frames, (20, 17), name)
    for frame, ours in zip(frames, resized, strict=True):
        np.testing.assert_array_equal(ours, cv2.resize(frame, (17, 20), interpolation=flag))


def test_frames_that_are_a_view_are_resized_alike() -> None:
    frames = noise(4, 20, 24)[::-1, ::2, :, ::-1]
    np.testing.assert_array_equal(
        resize_frames(frames, (5, 6)), resize_frames(np.ascontiguousarray(frames), (5, 6))
    )
