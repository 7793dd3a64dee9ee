"""Resizing pictures: area averaging when shrinking, so that no source pixel is skipped."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_FLAGS = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


def resize_frames(
    frames: NDArray[np.uint8], size: tuple[int, int], interpolation: str = "area"
) -> NDArray[np.uint8]:
    """Resize pictures.

    Parameters
    ----------
    frames : ndarray, uint8 [n, height, width, 3]
    size : (height, width)
    interpolation : {'area', 'linear', 'cubic', 'lanczos'}
        ``area`` becomes ``linear`` where either side grows.

    Returns
    -------
    ndarray, uint8 [n, *size, 3]
        `frames` itself where the size is right already.
    """
    if frames.shape[1:3] == size:
        return frames
    flag = _FLAGS[interpolation]
    grows = size[0] > frames.shape[1] or size[1] > frames.shape[2]
    if flag == cv2.INTER_AREA and grows:
        flag = cv2.INTER_LINEAR
    resized = np.empty((len(frames), *size, 3), np.uint8)
    for frame, target in zip(frames, resized, strict=True):
        cv2.resize(frame, (size[1], size[0]), dst=target, interpolation=flag)
    return resized
