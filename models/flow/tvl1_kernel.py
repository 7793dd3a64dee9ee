"""TV-L1 of one pair of grey frames in compiled loops, to the bit what OpenCV's DualTVL1 computes.

Algorithm: Zach, Pock & Bischof 2007, as in Sánchez Pérez, Meinhardt-Llopis & Facciolo (IPOL 2013).
One pass over memory an iteration: row y of the flow, then row y - 1 of its dual variables, while
both are in cache. Every operation rounds as OpenCV's does and in its order (no fast-math), hence
the result depends neither on the width of the vector unit nor on threads. Where OpenCV adds up the
change of all pixels one by one, columns are added side by side; only a sum too near the threshold
for its rounding to be harmless is added up again in that order, so that iterations agree, too.

One file, because numba's cache watches one file for each compiled function. Indices that are
computed are unsigned: signed ones may count from the end, which keeps loops from vectorising.
Change `VERSION` when numbers change: it is part of the identity of stored flow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foveal.models.flow.numba_tools import add_taps, cubic_taps, fma, kernel, part
from foveal.models.flow.tvl1_settings import TVL1Settings

VERSION = 1

Floats = NDArray[np.float32]
F = np.float32

LEFT = 16  # columns before (and at least as many after) the picture in a plane
LANES = 16  # columns are computed in multiples of this
MARGIN = 4  # zeros around the picture in a prepared frame: taps beyond the border read them
LEAST_PX = 16  # smaller levels are left out

U, V, GX, GY, RHO, INVERSE, PUX, PUY, PVX, PVY, CHANGE = range(11)  # planes of a level
PLANES = 11
ONE, TWO = np.uintp(1), np.uintp(2)

_TAPS = cubic_taps()


class Scheme(NamedTuple):
    """Numbers of the scheme, in the types that `solve` is compiled for.

    Attributes
    ----------
    scale_step : float
    warps, outer, inner : int
    epsilon : float
    reach, theta, dual_step : float32
        lambda theta, theta, and tau / theta.
    median : int
        1, 3 or 5.
    """

    scale_step: float
    warps: int
    outer: int
    inner: int
    epsilon: float
    reach: np.float32
    theta: np.float32
    dual_step: np.float32
    median: int


def make_scheme(settings: TVL1Settings) -> Scheme:
    """The scheme of TV-L1's settings."""
    s = settings
    return Scheme(
        scale_step=float(s.scale_step),
        warps=int(s.warps),
        outer=int(s.outer_iterations),
        inner=int(s.inner_iterations),
        epsilon=float(s.epsilon),
        reach=F(s.lambda_ * s.theta),
        theta=F(s.theta),
        dual_step=F(s.tau / s.theta),
        median=int(s.median_filtering),
    )


def pyramid_levels(height: int, width: int, scales: int, scale_step: float) -> NDArray[np.int64]:
    """Where the levels of a prepared frame lie.

    Returns
    -------
    ndarray, int64 [levels + 1, 3]
        Height, width and first value of each level, the finest first; the last row holds the
        number of values of a frame.
    """
    rows, first = [], 0
    while True:
        rows.append((height, width, first))
        first += (height + 2 * MARGIN) * (width + 2 * MARGIN) * 4
        height, width = round(height * scale_step), round(width * scale_step)
        if len(rows) == scales or min(height, width) < LEAST_PX:
            return np.array([*rows, (0, 0, first)], np.int64)


@part
def _clear(values: Floats) -> None:
    for k in range(len(values)):
        values[k] = F(0)


@part
def _resize(
    source: Floats, rows: int, columns: int, out: Floats, ratio: Any, factor: Any, back: int
) -> None:
    # Bilinear, rounded as OpenCV's: across, then down. ratio is (source / out) of y and x. Beyond
    # the last pixel's centre OpenCV takes that pixel (back 0), or when it shrinks by a factor the
    # last step in full (back 1): these differ by rounding.
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


@kernel
def prepare(
    grey: NDArray[np.uint8], levels: NDArray[np.int64], scale_step: float, frame: Floats
) -> None:
    """Pyramid and gradients of a frame, which its two pairs share.

    Parameters
    ----------
    grey : ndarray, uint8 [h, w]
    levels : ndarray, int64
        From `pyramid_levels` for h and w.
    scale_step : float
    frame : ndarray, float32 [levels[-1, 2]]
        Written: each level [h + 8, w + 8, 4] of grey value, its half differences along x and y,
        and 0, in a margin of zeros.
    """
    _clear(frame)
    picture = np.empty(grey.shape, np.float32)
    for y in range(len(grey)):
        for x in range(grey.shape[1]):
            picture[y, x] = grey[y, x]
    for k in range(len(levels) - 1):
        height, width = levels[k, 0], levels[k, 1]
        if k > 0:
            smaller = np.empty((height, width), np.float32)
            ratio = (1 / scale_step, 1 / scale_step)
            _resize(picture, picture.shape[0], picture.shape[1], smaller, ratio, F(1), 1)
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


@part
def _border_taps(image: Floats, at: Any, row: int, first: Any) -> Any:
    total = F(0)  # OpenCV adds one by one here, rows first inside the picture
    for j in range(4):
        for i in range(4):
            total += image[at + j * row + 4 * i] * _TAPS[first + 4 * j + i]
    return total


@part
def _warp(
    planes: Floats,
    height: int,
    width: int,
    before: Floats,
    after: Floats,
    places: NDArray[np.int32],
    warped: Floats,
) -> None:
    # image and both gradients of `after` at x + u in one pass, and the linearised difference
    row_values = (width + 2 * MARGIN) * 4
    taps = _TAPS
    start, part, inside = places[0], places[1], places[2]
    whole = F(12582912)  # 1.5 * 2^23: adding and taking it away rounds to even
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


@part
def _ratio(a: Any, b: Any, inverse: Any) -> Any:
    # a / b, correctly rounded, given 1 / b (Markstein)
    quotient = a * inverse
    return fma(fma(-quotient, b, a), inverse, quotient)


@part
def _threshold(u: Any, v: Any, gx: Any, gy: Any, rho: Any, inverse: Any, reach: Any) -> Any:
    # factor of the gradient by which (u, v) moves towards equal grey values
    rho = rho + (gx * u + gy * v)
    square = gx * gx + gy * gy
    far = reach * square
    factor = _ratio(-rho, square, inverse)
    factor = -reach if rho > far else factor
    return reach if rho < -far else factor


@part
def _dual(p: Any, q: Any, across: Any, down: Any, step: Any) -> Any:
    x, y = np.float64(across), np.float64(down)  # as hypotf: squares and root in double
    length = F(1) + step * F(np.sqrt(x * x + y * y))
    inverse = F(1) / length
    return _ratio(p + step * across, length, inverse), _ratio(q + step * down, length, inverse)


@part
def _iterate(planes: Floats, sums: Floats, height: int, width: int, scheme: Scheme) -> Any:
    # one iteration of a level; gives the sum of squared changes of u and v, kept by pixel in CHANGE
    theta, reach, step = scheme.theta, scheme.reach, scheme.dual_step
    count = ((width + LANES - 1) // LANES) * LANES
    stride = np.uintp(planes.shape[2])
    u, v, change = planes[U].ravel(), planes[V].ravel(), planes[CHANGE].ravel()
    gx, gy, rho = planes[GX].ravel(), planes[GY].ravel(), planes[RHO].ravel()
    inverse = planes[INVERSE].ravel()
    pux, puy = planes[PUX].ravel(), planes[PUY].ravel()
    pvx, pvy = planes[PVX].ravel(), planes[PVY].ravel()
    _clear(sums)
    for y in range(1, height + 2):
        here = np.uintp(y) * stride + np.uintp(LEFT)
        if y <= height:
            a, b = u[here], v[here]
            for i in range(count):
                k = np.uintp(i) + here
                f = _threshold(u[k], v[k], gx[k], gy[k], rho[k], inverse[k], reach)
                flow_x = (u[k] + f * gx[k]) + theta * (
                    (pux[k] - pux[k - ONE]) + (puy[k] - puy[k - stride])
                )
                flow_y = (v[k] + f * gy[k]) + theta * (
                    (pvx[k] - pvx[k - ONE]) + (pvy[k] - pvy[k - stride])
                )
                moved = (flow_x - u[k]) * (flow_x - u[k]) + (flow_y - v[k]) * (flow_y - v[k])
                u[k] = flow_x
                v[k] = flow_y
                change[k] = moved
                sums[i] += moved
            if y > 1:  # OpenCV adds in another order in the first column
                k = here
                f = _threshold(a, b, gx[k], gy[k], rho[k], inverse[k], reach)
                u[k] = (a + f * gx[k]) + theta * ((pux[k] + puy[k]) - puy[k - stride])
                v[k] = (b + f * gy[k]) + theta * ((pvx[k] + pvy[k]) - pvy[k - stride])
                change[k] = (u[k] - a) * (u[k] - a) + (v[k] - b) * (v[k] - b)
            k = here + np.uintp(width)  # the next column equals the last: no gradient beyond it
            u[k], v[k] = u[k - ONE], v[k - ONE]
        if y > 1:
            above = here - stride
            below = here if y <= height else above
            for i in range(count):
                k, m = np.uintp(i) + above, np.uintp(i) + below
                pux[k], puy[k] = _dual(pux[k], puy[k], u[k + ONE] - u[k], u[m] - u[k], step)
                pvx[k], pvy[k] = _dual(pvx[k], pvy[k], v[k + ONE] - v[k], v[m] - v[k], step)
    total = F(0)
    for i in range(width):
        total += sums[i]
    return total


@part
def _added_in_order(change: Floats, height: int, width: int) -> Any:
    total = F(0)
    for y in range(1, height + 1):
        row = change[y]
        for x in range(LEFT, LEFT + width):
            total += row[x]
    return total


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
    # 18 minima and maxima sort the five pixels of each column, shared by five windows; 88 more find
    # the 13th of 25 in five sorted columns (a pruned network, proved on every 0-1 input)
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
def _blur(plane: Floats, height: int, width: int, side: int, around: Floats, ranks: Floats) -> None:
    # median of side x side pixels; the border is repeated
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


@part
def _solve_level(
    planes: Floats,
    before: Floats,
    after: Floats,
    height: int,
    width: int,
    scheme: Scheme,
    counts: NDArray[np.int64],
) -> None:
    stride = planes.shape[2]
    places = np.zeros((3, stride), np.int32)
    warped, sums = np.zeros(4 * stride, np.float32), np.zeros(stride, np.float32)
    around = np.zeros((height + 4, stride), np.float32)
    ranks = np.zeros((5, stride), np.float32)
    limit = F(scheme.epsilon * scheme.epsilon * (height * width))
    doubt = limit * F(height * width) * F(2.0**-23)  # of a float32 sum of so many terms
    for _ in range(scheme.warps):
        _warp(planes, height, width, before, after, places, warped)
        error = F(np.inf)
        for _ in range(scheme.outer):
            if not error > limit:
                break
            if scheme.median > 1:
                for c in range(2):
                    _blur(planes[U + c], height, width, scheme.median, around, ranks)
            for _ in range(scheme.inner):
                if not error > limit:
                    break
                error = _iterate(planes, sums, height, width, scheme)
                if abs(error - limit) <= doubt:
                    error = _added_in_order(planes[CHANGE], height, width)
                counts[0] += 1
                counts[1] += height * width


@kernel
def solve(
    before: Floats,
    after: Floats,
    levels: NDArray[np.int64],
    scheme: Scheme,
    flow: Floats,
    counts: NDArray[np.int64],
) -> None:
    """Flow of one pair of prepared frames.

    Parameters
    ----------
    before, after : ndarray, float32 [levels[-1, 2]]
        Frame and next frame, from `prepare`.
    levels : ndarray, int64
        From `pyramid_levels`.
    scheme : Scheme
    flow : ndarray, float32 [h, w, 2]
        Written: (u, v) in pixels.
    counts : ndarray, int64 [2]
        Iterations, and pixels times iterations, are added to it.
    """
    height, width = levels[0, 0], levels[0, 1]
    stride = ((width + LANES - 1) // LANES) * LANES + 2 * LEFT
    room = np.empty(PLANES * (height + 2) * stride, np.float32)
    coarse = np.empty((2, height, width), np.float32)
    for k in range(len(levels) - 2, -1, -1):
        rows, columns = height, width  # of the level below, from the second round on
        height, width = levels[k, 0], levels[k, 1]
        stride = ((width + LANES - 1) // LANES) * LANES + 2 * LEFT
        flat = room[: PLANES * (height + 2) * stride]
        _clear(flat)
        planes = flat.reshape((PLANES, height + 2, stride))
        if k < len(levels) - 2:
            ratio = (rows / height, columns / width)
            for c in range(2):
                inner = planes[c, 1 : height + 1, LEFT : LEFT + width]
                _resize(coarse[c], rows, columns, inner, ratio, F(1 / scheme.scale_step), 0)
        level = slice(levels[k, 2], levels[k + 1, 2])
        _solve_level(planes, before[level], after[level], height, width, scheme, counts)
        for c in range(2):
            for y in range(height):
                for x in range(width):
                    if k > 0:
                        coarse[c, y, x] = planes[c, y + 1, LEFT + x]
                    else:
                        flow[y, x, c] = planes[c, y + 1, LEFT + x]
