"""The colour wheel against a pixel-by-pixel transcription of Baker et al.'s ``colorcode.cpp``."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from foveal.models.flow.color import color_wheel, flow_to_color


def reference_wheel() -> list[tuple[int, int, int]]:
    colors = []
    colors += [(255, 255 * i // 15, 0) for i in range(15)]
    colors += [(255 - 255 * i // 6, 255, 0) for i in range(6)]
    colors += [(0, 255, 255 * i // 4) for i in range(4)]
    colors += [(0, 255 - 255 * i // 11, 255) for i in range(11)]
    colors += [(255 * i // 13, 0, 255) for i in range(13)]
    colors += [(255, 0, 255 - 255 * i // 6) for i in range(6)]
    return colors


def reference_color(u: float, v: float) -> tuple[int, ...]:
    wheel = reference_wheel()
    radius = math.sqrt(u * u + v * v)
    place = (math.atan2(-v, -u) / math.pi + 1) / 2 * (len(wheel) - 1)
    k = int(place)
    share = place - k
    pixel = []
    for channel in range(3):
        first = wheel[k][channel] / 255
        second = wheel[(k + 1) % len(wheel)][channel] / 255
        color = (1 - share) * first + share * second
        color = 1 - radius * (1 - color) if radius <= 1 + 1e-9 else color * 0.75
        pixel.append(int(255 * color))
    return tuple(pixel)


def reference_picture(flow: NDArray[np.float32], max_px: float) -> NDArray[np.uint8]:
    height, width = flow.shape[:2]
    picture = np.zeros((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            u, v = (float(part) for part in flow[y, x])
            if abs(u) <= 1e9 and abs(v) <= 1e9:
                picture[y, x] = reference_color(u / max_px, v / max_px)
    return picture


def test_the_wheel() -> None:
    assert color_wheel().tolist() == [list(color) for color in reference_wheel()]


@pytest.mark.parametrize("max_px", [None, 3.0, 100.0])
def test_equals_the_reference_in_any_batch_shape(max_px: float | None) -> None:
    flow = np.random.default_rng(0).normal(0, 4, (2, 3, 9, 11, 2)).astype(np.float32)
    flow[0, 1, 2, 3] = np.nan
    flow[1, 2, 0, 0, 1] = 2e9
    pictures = flow_to_color(flow, max_px)
    assert pictures.shape == (2, 3, 9, 11, 3)
    assert pictures.dtype == np.uint8
    for index in np.ndindex(2, 3):
        one = flow[index]
        known = (np.abs(one) <= 1e9).all(axis=-1)
        own = max_px or float(np.hypot(*one[known].astype(np.float64).T).max())
        expected = reference_picture(one, own)
        difference = np.abs(pictures[index].astype(int) - expected)
        assert difference.max() <= 1  # both truncate; float32 and float64 may part at a step
        assert (difference > 0).mean() < 0.01
        assert np.array_equal(flow_to_color(one, max_px), pictures[index])


def test_the_largest_motion_of_each_image_gets_full_colour() -> None:
    flow = np.zeros((2, 2, 2, 2), np.float32)
    flow[0, 0, 0] = (5, 0)
    flow[1, 0, 0] = (0.01, 0)
    pictures = flow_to_color(flow)
    assert np.array_equal(pictures[0], pictures[1])
    assert pictures[0, 0, 0].tolist() == [255, 0, 0]
    assert (pictures[0, 1] == 255).all()


def test_no_motion_is_white_and_unknown_motion_black() -> None:
    flow = np.zeros((3, 4, 2), np.float32)
    flow[0, 0] = np.inf
    picture = flow_to_color(flow)
    assert (picture[0, 0] == 0).all()
    assert (picture[1:] == 255).all()


@pytest.mark.parametrize("max_px", [0.0, -1.0, float("nan")])
def test_a_largest_motion_that_is_none_is_refused(max_px: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        flow_to_color(np.zeros((3, 4, 2), np.float32), max_px)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="height, width, 2"):
        flow_to_color(np.zeros((3, 4, 3), np.float32))
