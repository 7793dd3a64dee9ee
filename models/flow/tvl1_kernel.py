"""This module computes TV-L1 of one pair of grey frames, with the same bits as OpenCV's DualTVL1.

Algorithm: Zach, Pock & Bischof 2007, as in Sánchez Pérez, Meinhardt-Llopis & Facciolo (IPOL 2013).
An iteration passes over memory once: row y of the flow, then row y - 1 of its dual variables, while
both are in cache. Every operation rounds as OpenCV's and is in its order (no fast-math), so the
result depends neither on the width of the vector unit nor on threads. OpenCV adds up the change of
all pixels one by one; here columns are added in parallel. Only if the sum is so close to the
threshold that rounding matters is it computed again in OpenCV's order, so that the number of
iterations is the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foveal.models.flow import numba_tools, tvl1_median, tvl1_planes, tvl1_pyramid, tvl1_warp
from foveal.models.flow.numba_tools import digest, fma, kernel, part
from foveal.models.flow.tvl1_median import blur
from foveal.models.flow.tvl1_planes import (
    CHANGE,
    GX,
    GY,
    INVERSE,
    LANES,
    LEFT,
    ONE,
    PLANES,
    PUX,
    PUY,
    PVX,
    PVY,
    RHO,
    F,
    Floats,
    U,
    V,
)
from foveal.models.flow.tvl1_pyramid import clear, prepare_frame, resize
from foveal.models.flow.tvl1_settings import TVL1Settings
from foveal.models.flow.tvl1_warp import warp

VERSION = 1
"""Version of the numbers: raise it whenever they change; enters the fingerprint."""


class Scheme(NamedTuple):
    """Numbers of the scheme, in the types that `solve` is compiled for; see `TVL1Settings`.

    Attributes
    ----------
    scale_step, epsilon : float
        Size ratio of neighbouring levels; stopping threshold in pixels.
    warps, outer, inner : int
        Warpings, outer and inner iterations.
    reach, theta, dual_step : float32
        lambda theta, theta, and tau / theta.
    median : int
        Side of the median filter: 1, 3 or 5.
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
    """Convert `settings` of TV-L1 for the kernel."""
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


@part
def _ratio(a: Any, b: Any, inverse: Any) -> Any:
    # a / b, correctly rounded, given 1 / b (Markstein)
    quotient = a * inverse
    return fma(fma(-quotient, b, a), inverse, quotient)


@part
def _threshold(u: Any, v: Any, gx: Any, gy: Any, rho: Any, inverse: Any, reach: Any) -> Any:
    # the multiple of the gradient by which (u, v) moves towards equal grey values
    rho = rho + (gx * u + gy * v)
    square = gx * gx + gy * gy
    far = reach * square
    factor = _ratio(-rho, square, inverse)
    factor = -reach if rho > far else factor
    return reach if rho < -far else factor


@part
def _dual(p: Any, q: Any, across: Any, down: Any, step: Any) -> Any:
    x, y = np.float64(across), np.float64(down)  # as in hypotf: squares and root in double
    length = F(1) + step * F(np.sqrt(x * x + y * y))
    inverse = F(1) / length
    return _ratio(p + step * across, length, inverse), _ratio(q + step * down, length, inverse)


@part
def _iterate(planes: Floats, sums: Floats, height: int, width: int, scheme: Scheme) -> Any:
    # one iteration of a level; returns the sum of squared changes of u and v, per pixel in CHANGE
    theta, reach, step = scheme.theta, scheme.reach, scheme.dual_step
    count = ((width + LANES - 1) // LANES) * LANES
    stride = np.uintp(planes.shape[2])
    u, v, change = planes[U].ravel(), planes[V].ravel(), planes[CHANGE].ravel()
    gx, gy, rho = planes[GX].ravel(), planes[GY].ravel(), planes[RHO].ravel()
    inverse = planes[INVERSE].ravel()
    pux, puy = planes[PUX].ravel(), planes[PUY].ravel()
    pvx, pvy = planes[PVX].ravel(), planes[PVY].ravel()
    clear(sums)
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
            k = here + np.uintp(width)  # one more column like the last: no gradient at the border
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
        warp(planes, height, width, before, after, places, warped)
        error = F(np.inf)
        for _ in range(scheme.outer):
            if not error > limit:
                break
            if scheme.median > 1:
                for c in range(2):
                    blur(planes[U + c], height, width, scheme.median, around, ranks)
            for _ in range(scheme.inner):
                if not error > limit:
                    break
                error = _iterate(planes, sums, height, width, scheme)
                if abs(error - limit) <= doubt:
                    error = _added_in_order(planes[CHANGE], height, width)
                counts[0] += 1
                counts[1] += height * width


@part
def _solve(
    before: Floats,
    after: Floats,
    levels: NDArray[np.int64],
    scheme: Scheme,
    flow: Floats,
    counts: NDArray[np.int64],
) -> None:
    """Compute the flow of one pair of prepared frames.

    Parameters
    ----------
    before, after : ndarray, float32 [levels[-1, 2]]
        Frame and next frame, from `prepare`.
    levels : ndarray, int64
        From `pyramid_levels`.
    scheme : Scheme
        From `make_scheme`.
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
        clear(flat)
        planes = flat.reshape((PLANES, height + 2, stride))
        if k < len(levels) - 2:
            ratio = (rows / height, columns / width)
            for c in range(2):
                inner = planes[c, 1 : height + 1, LEFT : LEFT + width]
                resize(coarse[c], rows, columns, inner, ratio, F(1 / scheme.scale_step), 0)
        level = slice(levels[k, 2], levels[k + 1, 2])
        _solve_level(planes, before[level], after[level], height, width, scheme, counts)
        for c in range(2):
            for y in range(height):
                for x in range(width):
                    if k > 0:
                        coarse[c, y, x] = planes[c, y + 1, LEFT + x]
                    else:
                        flow[y, x, c] = planes[c, y + 1, LEFT + x]


def _compiled(parts: str) -> tuple[Any, Any]:
    @kernel
    def prepare(grey: Any, levels: Any, scale_step: Any, frame: Any) -> None:
        parts  # noqa: B018
        prepare_frame(grey, levels, scale_step, frame)

    @kernel
    def solve(before: Any, after: Any, levels: Any, scheme: Any, flow: Any, counts: Any) -> None:
        parts  # noqa: B018
        _solve(before, after, levels, scheme, flow, counts)

    return prepare, solve


# numba's cache depends on the file of a compiled function and the values of its free variables, not
# on the files of its parts: so their digest is a free variable.
prepare, solve = _compiled(digest(numba_tools, tvl1_median, tvl1_planes, tvl1_pyramid, tvl1_warp))
