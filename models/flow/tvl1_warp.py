"""This part of TV-L1's kernel warps the next frame: image and both gradients in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.models.flow.numba_tools import add_taps, cubic_taps, part
from foveal.models.flow.tvl1_planes import GX, GY, INVERSE, LEFT, MARGIN, RHO, F, Floats, U, V

_TAPS = cubic_taps()


@part
def _border_taps(image: Floats, at: Any, row: int, first: Any) -> Any:
    total = F(0)  # at the border OpenCV adds one by one; inside the picture, rows first
    for j in range(4):
        for i in range(4):
            total += image[at + j * row + 4 * i] * _TAPS[first + 4 * j + i]
    return total


@part
def warp(
    planes: Floats,
    height: int,
    width: int,
    before: Floats,
    after: Floats,
    places: NDArray[np.int32],
    warped: Floats,
) -> None:
    """Warp image and gradients of the next frame to x + u, and compute the linearised difference.

    Of `planes` [PLANES, height + 2, stride] it reads U and V and writes GX, GY, RHO and INVERSE.
    `before` and `after` are the level of the frame and of the next one, from `prepare_frame`.
    `places` [3, stride] and `warped` [4 * stride] are memory to work in.
    """
    row_values = (width + 2 * MARGIN) * 4
    taps = _TAPS
    start, part, inside = places[0], places[1], places[2]
    whole = F(12582912)  # 1.5 * 2^23: adding and subtracting it rounds to integers, ties to even
    for y in range(height):
        u, v = planes[U, y + 1], planes[V, y + 1]
        for x in range(width):
            across = min(max((F(x) + u[x + LEFT]) * F(32), F(-96)), F(32 * (width + 1)))
            along = min(max((F(y) + v[x + LEFT]) * F(32), F(-96)), F(32 * (height + 1)))
            column = np.int32((across + whole) - whole)
            line = np.int32((along + whole) - whole)
            part[x] = ((line & 31) * 32 + (column & 31)) * 16
            column = (column >> 5) - 1
            line = (line >> 5) - 1
            inside[x] = (column >= 0) & (line >= 0) & (column < width - 3) & (line < height - 3)
            start[x] = (line + MARGIN) * np.int32(row_values) + (column + MARGIN) * 4
        for x in range(width):
            at, first = np.int64(start[x]), np.int64(part[x])
            if inside[x]:
                add_taps(after, at, row_values, taps, first, warped, 4 * x)
            else:
                for c in range(3):
                    warped[4 * x + c] = _border_taps(after, at + c, row_values, first)
        gx, gy = planes[GX, y + 1], planes[GY, y + 1]
        rho, inverse = planes[RHO, y + 1], planes[INVERSE, y + 1]
        begin = ((y + MARGIN) * (width + 2 * MARGIN) + MARGIN) * 4
        still = before[begin : begin + 4 * width]
        for x in range(width):
            a, b = warped[4 * x + 1], warped[4 * x + 2]
            gx[x + LEFT] = a
            gy[x + LEFT] = b
            rho[x + LEFT] = warped[4 * x] - a * u[x + LEFT] - b * v[x + LEFT] - still[4 * x]
            square = a * a + b * b
            inverse[x + LEFT] = F(1) / square if square > F(1.1920929e-07) else F(0)
