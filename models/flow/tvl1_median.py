"""This part of TV-L1's kernel filters flow: medians of 3x3 and 5x5 pixels by sorting networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from foveal.models.flow.numba_tools import part
from foveal.models.flow.tvl1_planes import LANES, LEFT, ONE, TWO, Floats


@part
def _low(a: Any, b: Any) -> Any:
    return a if a < b else b


@part
def _high(a: Any, b: Any) -> Any:
    return a if a > b else b


@part
def _median3(around: Floats, ranks: Floats, y: int, out: Floats, end: int) -> None:
    row = np.uintp(y)
    r0, r1, r2 = around[row + ONE], around[row + TWO], around[row + TWO + ONE]
    m0, m1, m2 = ranks[0], ranks[1], ranks[2]
    for j in range(end + LEFT):
        x = np.uintp(j)
        a, b, c = r0[x], r1[x], r2[x]
        a, b = _low(a, b), _high(a, b)
        b, c = _low(b, c), _high(b, c)
        a, b = _low(a, b), _high(a, b)
        m0[x], m1[x], m2[x] = a, b, c
    for i in range(LEFT, end):
        x = np.uintp(i)
        low = _high(_high(m0[x - ONE], m0[x]), m0[x + ONE])
        a, b = _low(m1[x - ONE], m1[x]), _high(m1[x - ONE], m1[x])
        middle = _high(a, _low(b, m1[x + ONE]))
        high = _low(_low(m2[x - ONE], m2[x]), m2[x + ONE])
        a, b = _low(low, middle), _high(low, middle)
        out[x] = _high(a, _low(b, high))


@part
def _median5(around: Floats, ranks: Floats, y: int, out: Floats, end: int) -> None:
    # 18 minima and maxima sort the five pixels of each column, for five windows; 88 more find the
    # 13th of 25 in five sorted columns (a pruned network, proved on every input of zeros and ones)
    row = np.uintp(y)
    r0, r1, r2 = around[row], around[row + ONE], around[row + TWO]
    r3, r4 = around[row + TWO + ONE], around[row + TWO + TWO]
    m0, m1, m2, m3, m4 = ranks[0], ranks[1], ranks[2], ranks[3], ranks[4]
    for j in range(end + LEFT):
        x = np.uintp(j)
        a, b, c, d, e = r0[x], r1[x], r2[x], r3[x], r4[x]
        a, d = _low(a, d), _high(a, d)
        b, e = _low(b, e), _high(b, e)
        a, c = _low(a, c), _high(a, c)
        b, d = _low(b, d), _high(b, d)
        a, b = _low(a, b), _high(a, b)
        c, e = _low(c, e), _high(c, e)
        b, c = _low(b, c), _high(b, c)
        d, e = _low(d, e), _high(d, e)
        c, d = _low(c, d), _high(c, d)
        m0[x], m1[x], m2[x], m3[x], m4[x] = a, b, c, d, e
    for i in range(LEFT, end):
        x = np.uintp(i)
        v0, v1, v2, v3, v4 = m0[x - TWO], m0[x - ONE], m0[x], m0[x + ONE], m0[x + TWO]
        v5, v6, v7, v8, v9 = m1[x - TWO], m1[x - ONE], m1[x], m1[x + ONE], m1[x + TWO]
        v10, v11, v12, v13, v14 = m2[x - TWO], m2[x - ONE], m2[x], m2[x + ONE], m2[x + TWO]
        v15, v16, v17, v18, v19 = m3[x - TWO], m3[x - ONE], m3[x], m3[x + ONE], m3[x + TWO]
        v20, v21, v22, v23, v24 = m4[x - TWO], m4[x - ONE], m4[x], m4[x + ONE], m4[x + TWO]
        v0, v2 = _low(v0, v2), _high(v0, v2)
        v1, v3 = _low(v1, v3), _high(v1, v3)
        v1 = _high(v0, v1)
        v2, v4 = _low(v2, v4), _high(v2, v4)
        v2 = _high(v1, v2)
        v3, v4 = _low(v3, v4), _high(v3, v4)
        v3 = _high(v2, v3)
        v5, v8 = _low(v5, v8), _high(v5, v8)
        v5, v7 = _low(v5, v7), _high(v5, v7)
        v6, v8 = _low(v6, v8), _high(v6, v8)
        v6 = _high(v5, v6)
        v7, v9 = _low(v7, v9), _high(v7, v9)
        v7 = _high(v6, v7)
        v8, v9 = _low(v8, v9), _high(v8, v9)
        v7, v8 = _low(v7, v8), _high(v7, v8)
        v10, v13 = _low(v10, v13), _high(v10, v13)
        v11, v14 = _low(v11, v14), _high(v11, v14)
        v10, v12 = _low(v10, v12), _high(v10, v12)
        v11, v13 = _low(v11, v13), _high(v11, v13)
        v11 = _high(v10, v11)
        v12, v14 = _low(v12, v14), _high(v12, v14)
        v11, v12 = _low(v11, v12), _high(v11, v12)
        v13 = _low(v13, v14)
        v12, v13 = _low(v12, v13), _high(v12, v13)
        v15, v18 = _low(v15, v18), _high(v15, v18)
        v16, v19 = _low(v16, v19), _high(v16, v19)
        v15, v17 = _low(v15, v17), _high(v15, v17)
        v16, v18 = _low(v16, v18), _high(v16, v18)
        v15, v16 = _low(v15, v16), _high(v15, v16)
        v17 = _low(v17, v19)
        v16, v17 = _low(v16, v17), _high(v16, v17)
        v17 = _low(v17, v18)
        v20, v23 = _low(v20, v23), _high(v20, v23)
        v20, v22 = _low(v20, v22), _high(v20, v22)
        v21 = _low(v21, v23)
        v20, v21 = _low(v20, v21), _high(v20, v21)
        v22 = _low(v22, v24)
        v21 = _low(v21, v22)
        v3 = _high(v16, v3)
        v15 = _high(v11, v15)
        v13 = _low(v13, v20)
        v4, v7 = _low(v4, v7), _high(v4, v7)
        v15 = _high(v4, v15)
        v9 = _low(v9, v3)
        v7, v13 = _low(v7, v13), _high(v7, v13)
        v9, v21 = _low(v9, v21), _high(v9, v21)
        v13 = _low(v13, v21)
        v15 = _high(v7, v15)
        v13 = _low(v13, v17)
        v15, v8 = _low(v15, v8), _high(v15, v8)
        v9, v13 = _low(v9, v13), _high(v9, v13)
        v9 = _high(v15, v9)
        v13 = _low(v13, v8)
        v12, v13 = _low(v12, v13), _high(v12, v13)
        v9 = _high(v12, v9)
        v9 = _low(v9, v13)
        out[x] = v9


@part
def blur(plane: Floats, height: int, width: int, side: int, around: Floats, ranks: Floats) -> None:
    """Filter `plane` by the median of `side` x `side` pixels (3 or 5); the border repeats.

    The picture of `height` and `width` begins in row 1 and column `LEFT`. `around` [height + 4,
    stride] and `ranks` [5, stride] are memory to work in.
    """
    end = LEFT + ((width + LANES - 1) // LANES) * LANES
    for y in range(height + 4):
        row, into = plane[min(max(y - 2, 0), height - 1) + 1], around[y]
        for x in range(LEFT, LEFT + width):
            into[x] = row[x]
        for x in range(1, 3):
            into[LEFT - x] = row[LEFT]
            into[LEFT + width + x - 1] = row[LEFT + width - 1]
    for y in range(height):
        if side == 3:
            _median3(around, ranks, y, plane[y + 1], end)
        else:
            _median5(around, ranks, y, plane[y + 1], end)
