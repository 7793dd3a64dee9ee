"""This module checks the input of flow estimators, and pads small frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_frames(frames: NDArray[Any]) -> None:
    """Raise an error unless the input is two or more RGB frames.

    Parameters
    ----------
    frames : ndarray
        It must be uint8 [n + 1, height, width, 3] with n, height and width >= 1.

    Raises
    ------
    ValueError
        It has another dtype or shape.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise ValueError(
            f"frames must be uint8 [n + 1, height, width, 3] (RGB), got {frames.dtype} "
            f"{frames.shape}"
        )
    if len(frames) < 2 or 0 in frames.shape:
        raise ValueError(f"flow needs at least two non-empty frames, got {frames.shape}")


def pad_to_minimum(
    frames: NDArray[np.uint8], least_px: int
) -> tuple[NDArray[np.uint8], tuple[slice, slice]]:
    """Repeat the border until both sides have at least `least_px` pixels.

    Parameters
    ----------
    frames : ndarray, uint8 [n, height, width, ...]
        The pictures.
    least_px : int
        Least height and width.

    Returns
    -------
    padded : ndarray, uint8 [n, max(height, least_px), max(width, least_px), ...]
        The picture is in the middle; `frames` itself if it is large enough.
    inside : tuple of slice
        Rows and columns of the original picture in the padded one.
    """
    height, width = frames.shape[1:3]
    missing = (max(least_px - height, 0), max(least_px - width, 0))
    top, left = missing[0] // 2, missing[1] // 2
    inside = (slice(top, top + height), slice(left, left + width))
    if not any(missing):
        return frames, inside
    margins = [(0, 0), (top, missing[0] - top), (left, missing[1] - left)]
    margins += [(0, 0)] * (frames.ndim - 3)
    return np.pad(frames, margins, mode="edge"), inside
