"""This module resizes pictures; shrinking averages areas, so that no source pixel is skipped."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

_FLAGS = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


Pixels = TypeVar("Pixels", np.uint8, np.float32)


def resize_frames(
    frames: NDArray[Pixels], size: tuple[int, int], interpolation: str = "area"
) -> NDArray[Pixels]:
    """Resize pictures or maps.

    Parameters
    ----------
    frames : ndarray, uint8 or float32 [n, height, width, 3] or [n, height, width]
        The pictures, or maps.
    size : (height, width)
        Wanted size in pixels.
    interpolation : {'area', 'linear', 'cubic', 'lanczos'}
        ``area`` averages along the sides that shrink and is ``linear`` along those that grow,
        where there is nothing to average.

    Returns
    -------
    ndarray, [n, *size, 3] or [n, *size]
        `frames` itself if it has the wanted size.
    """
    height, width = frames.shape[1:3]
    if (height, width) == size:
        return frames
    if interpolation == "area" and (size[0] > height or size[1] > width):
        smaller = (min(size[0], height), min(size[1], width))
        frames, interpolation = resize_frames(frames, smaller), "linear"
    resized = np.empty((len(frames), *size, *frames.shape[3:]), frames.dtype)
    for frame, target in zip(frames, resized, strict=True):
        cv2.resize(frame, (size[1], size[0]), dst=target, interpolation=_FLAGS[interpolation])
    return resized
