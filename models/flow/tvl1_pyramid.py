"""This part of TV-L1's kernel prepares a frame for its two pairs: pyramid and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.models.flow.numba_tools import fma, part
from foveal.models.flow.tvl1_planes import MARGIN, F, Floats

LEAST_PX = 16
"""Levels of the pyramid with a smaller side are left out."""


def pyramid_levels(height: int, width: int, scales: int, scale_step: float) -> NDArray[np.int64]:
    """Return size and place of the levels of a prepared frame.

    Parameters
    ----------
    height, width : int
        Size of the frame.
    scales : int
        Most levels.
    scale_step : float
        Size ratio of neighbouring levels, in (0, 1).

    Returns
    -------
    ndarray, int64 [levels + 1, 3]
        Height, width and first value of each level, the finest first; the last row has the number
        of values of a frame.
    """
    rows, first = [], 0
    while True:
        rows.append((height, width, first))
        first += (height + 2 * MARGIN) * (width + 2 * MARGIN) * 4
        height, width = round(height * scale_step), round(width * scale_step)
        if len(rows) == scales or min(height, width) < LEAST_PX:
            return np.array([*rows, (0, 0, first)], np.int64)


@part
def clear(values: Floats) -> None:
    """Set `values` [n] to 0."""
    for k in range(len(values)):
        values[k] = F(0)


@part
def resize(
    source: Floats, rows: int, columns: int, out: Floats, ratio: Any, factor: Any, back: int
) -> None:
    """Resize bilinearly, first across, then down, rounded as OpenCV's resize.

    Parameters
    ----------
    source : ndarray, float32
        Its first `rows` rows and `columns` columns are the picture.
    rows, columns : int
        Size of the picture.
    out : ndarray, float32 [height, width]
        Written.
    ratio : (float, float)
        Source pixels per pixel along y and x.
    factor : float32
        The result is multiplied by it.
    back : int
        Beyond the last pixel's centre, take that pixel (0), or the whole last step (1), as OpenCV
        does when it shrinks by a factor: the two differ by rounding.
    """
    height, width = out.shape
    at = np.empty(width, np.int64)
    part = np.empty(width, np.float32)
    for x in range(width):
        at[x], part[x] = _place(x, ratio[1], columns, back)
    wide = np.empty((2, width), np.float32)
    done = -1
    for y in range(height):
        first, share = _place(y, ratio[0], rows, back)
        second = min(first + 1, rows - 1)
        for k in range(max(first, done + 1), second + 1):
            line, row = source[k], wide[k % 2]
            for x in range(width):
                a = line[at[x]]
                row[x] = fma(line[min(at[x] + 1, columns - 1)] - a, part[x], a)
            done = k
        up, down, into = wide[first % 2], wide[second % 2], out[y]
        for x in range(width):
            into[x] = fma(down[x] - up[x], share, up[x]) * factor


@part
def _place(index: int, ratio: float, count: int, back: int) -> Any:
    place = (index + 0.5) * ratio - 0.5
    first = np.int64(np.floor(place))
    if first < 0:
        return np.int64(0), F(0)
    if first >= count - 1:
        return np.int64(max(count - 1 - back, 0)), F(back)
    return first, F(place - first)


@part
def prepare_frame(
    grey: NDArray[np.uint8], levels: NDArray[np.int64], scale_step: float, frame: Floats
) -> None:
    """Compute pyramid and gradients of a frame, which its two pairs share.

    Parameters
    ----------
    grey : ndarray, uint8 [h, w]
        Luma of the frame.
    levels : ndarray, int64
        From `pyramid_levels` for h and w.
    scale_step : float
        Size ratio of neighbouring levels.
    frame : ndarray, float32 [levels[-1, 2]]
        Written: for each level [h + 8, w + 8, 4] the grey value, its half differences along x and
        y, and 0, with a margin of zeros.
    """
    clear(frame)
    rows, columns = levels[0, 0], levels[0, 1]
    picture = np.empty((rows, columns), np.float32)
    for y in range(rows):
        for x in range(columns):
            picture[y, x] = grey[y, x]
    for k in range(len(levels) - 1):
        height, width = levels[k, 0], levels[k, 1]
        if k > 0:
            smaller = np.empty((height, width), np.float32)
            ratio = (1 / scale_step, 1 / scale_step)
            resize(picture, picture.shape[0], picture.shape[1], smaller, ratio, F(1), 1)
            picture = smaller
        flat = frame[levels[k, 2] : levels[k + 1, 2]]
        level = flat.reshape((height + 2 * MARGIN, width + 2 * MARGIN, 4))
        for y in range(height):
            row = picture[y]
            up, down = picture[max(y - 1, 0)], picture[min(y + 1, height - 1)]
            into = level[y + MARGIN]
            for x in range(width):
                left, right = row[max(x - 1, 0)], row[min(x + 1, width - 1)]
                into[x + MARGIN, 0] = row[x]
                into[x + MARGIN, 1] = F(0.5) * (right - left)
                into[x + MARGIN, 2] = F(0.5) * (down[x] - up[x])
