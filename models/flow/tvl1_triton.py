"""These are the Triton kernels of TV-L1: many pairs at once, one pass over memory per iteration.

Images are float32 [pair, channel, height * width]; a program computes one tile of one pair. There
are two copies of the state: an iteration reads one and writes the other, so that no program waits
for another. What its neighbours compute in the same iteration, a program computes itself. The
number of iterations of a pair says which copy is current; the sums of squared updates of its tiles
say whether it goes on. So the kernels do not need the host, and no result depends on the order of
programs.

Every operation rounds as that of `foveal.models.flow.tvl1_kernel` and is in its order, so launches
must switch off the fusing of products and sums (``enable_fp_fusion=False``). With ``FUSED``, roots
and divisions are computed from fused products; they equal IEEE's in all but about one case in a
million. Without it, IEEE's own are used, because Triton's interpreter has no fused product. The
kernels also run in the interpreter, on a CPU (``TRITON_INTERPRET=1``).
"""

from __future__ import annotations

import triton
import triton.language as tl

from foveal.models.flow.tvl1_triton_median import median25

_FLT_EPSILON = tl.constexpr(1.1920929e-07)
_CUBIC = tl.constexpr(-0.75)
_WHOLE = tl.constexpr(12582912.0)
"""1.5 * 2^23: adding and subtracting it rounds a float32 to the nearest integer, ties to even."""
_SIZES = ("pairs", "height", "width", "size", "tiles")
"""Arguments for which kernels are not compiled again: every level has another size."""


@triton.jit
def _error(sums, pair, tiles, TILES: tl.constexpr):
    """Return the sum of squared updates of a pair's last iteration."""
    n = tl.arange(0, TILES)
    return tl.sum(tl.load(sums + pair * tiles + n, mask=n < tiles, other=0.0))


@triton.jit
def _quotient(a, b, inverse, FUSED: tl.constexpr):
    """Return a / b, correctly rounded, given 1 / b (Markstein)."""
    if FUSED:
        q = a * inverse
        return tl.fma(tl.fma(-q, b, a), inverse, q)
    return tl.div_rn(a, b)


@triton.jit
def _inverse(b, FUSED: tl.constexpr):
    """Return 1 / b for b > 0, correctly rounded except in one case in a million."""
    guess = 1.0 / b
    if FUSED:
        return tl.fma(guess, tl.fma(-guess, b, 1.0), guess)
    return guess


@triton.jit
def _length(x, y, FUSED: tl.constexpr):
    """Return the root of x x + y y as computed in double precision, rounded to float32."""
    if FUSED:
        # The square in two parts, the root of the first part, and one Newton step with both.
        xx, yy = x * x, y * y
        square = xx + yy
        rest = tl.minimum(xx, yy) - (square - tl.maximum(xx, yy))
        rest += tl.fma(x, x, -xx) + tl.fma(y, y, -yy)
        inverse = tl.rsqrt(square)
        root = square * inverse
        root = tl.fma((tl.fma(-root, root, square) + rest) * 0.5, inverse, root)
        return tl.where(square > 1e-30, root, 0.0)
    x, y = x.to(tl.float64), y.to(tl.float64)
    return tl.sqrt(x * x + y * y).to(tl.float32)


@triton.jit
def _divergence(p, at, inside, left, above, width, size):
    """Return the divergence of a dual variable in OpenCV's order, which differs in column 0."""
    along_x = tl.load(p + at, mask=inside, other=0.0)
    along_y = tl.load(p + size + at, mask=inside, other=0.0)
    before_y = tl.load(p + size + at - width, mask=above, other=0.0)
    inner = (along_x - tl.load(p + at - 1, mask=left, other=0.0)) + (along_y - before_y)
    return tl.where(above & ~left, (along_x + along_y) - before_y, inner)


@triton.jit
def _primal(u, p, g, at, x, y, inside, width, size, bound, theta, FUSED: tl.constexpr):
    """Return old and new flow of some pixels: thresholding step, then divergence of the dual."""
    u1 = tl.load(u + at, mask=inside, other=0.0)
    u2 = tl.load(u + size + at, mask=inside, other=0.0)
    gx = tl.load(g + at, mask=inside, other=0.0)
    gy = tl.load(g + size + at, mask=inside, other=0.0)
    rho = tl.load(g + 2 * size + at, mask=inside, other=0.0) + (gx * u1 + gy * u2)
    left = inside & (x > 0)
    above = inside & (y > 0)
    div1 = _divergence(p, at, inside, left, above, width, size)
    div2 = _divergence(p + 2 * size, at, inside, left, above, width, size)
    square = gx * gx + gy * gy
    limit = bound * square
    some = square > _FLT_EPSILON
    inverse = tl.load(g + 3 * size + at, mask=inside, other=0.0)
    step = _quotient(-rho, tl.where(some, square, 1.0), inverse, FUSED)
    step = tl.where(some, step, 0.0)
    step = tl.where(rho > limit, -bound, step)
    step = tl.where(rho < -limit, bound, step)
    return u1, u2, (u1 + step * gx) + theta * div1, (u2 + step * gy) + theta * div2


@triton.jit
def _dual(p_old, p_new, at, inside, dx, dy, taut, size, FUSED: tl.constexpr):
    """Write one dual variable, updated by the gradient (dx, dy) of its component of the flow."""
    length = 1.0 + taut * _length(dx, dy, FUSED)
    inverse = _inverse(length, FUSED)
    along_x = tl.load(p_old + at, mask=inside, other=0.0) + taut * dx
    along_y = tl.load(p_old + size + at, mask=inside, other=0.0) + taut * dy
    tl.store(p_new + at, _quotient(along_x, length, inverse, FUSED), mask=inside)
    tl.store(p_new + size + at, _quotient(along_y, length, inverse, FUSED), mask=inside)


@triton.jit(do_not_specialize=_SIZES)
def iterate(
    u,  # [2, pairs, 2, size]: the flow, twice
    p,  # [2, pairs, 4, size]: the dual variables, twice
    g,  # [pairs, 4, size]: warped gradient, constant part of rho, 1 / (squared gradient)
    filtered,  # [pairs, 2, size]: the flow after the median filter
    sums_in,  # [pairs, tiles]
    sums_out,
    count_in,  # int32 [pairs]: iterations so far
    count_out,
    pairs,
    width,
    size,
    tiles,
    bound,
    theta,
    taut,
    epsilon,
    FIRST: tl.constexpr,
    AFTER_MEDIAN: tl.constexpr,
    TILES: tl.constexpr,
    BLOCK: tl.constexpr,
    FUSED: tl.constexpr,
):
    """Run one inner iteration of every pair that moved by more than `epsilon` in its last one."""
    tile = tl.program_id(0) % tiles
    pair = (tl.program_id(0) // tiles).to(tl.int64)
    count = tl.load(count_in + pair)
    active = True
    if not FIRST:
        active = _error(sums_in, pair, tiles, TILES) > epsilon
    total = 0.0
    if active:
        old = (count % 2).to(tl.int64) * pairs + pair
        new = ((count + 1) % 2).to(tl.int64) * pairs + pair
        u_old = u + old * 2 * size
        if AFTER_MEDIAN:
            u_old = filtered + pair * 2 * size
        p_old = p + old * 4 * size
        g_own = g + pair * 4 * size
        at = tile * BLOCK + tl.arange(0, BLOCK)
        x, y = at % width, at // width
        inside = at < size
        was1, was2, u1, u2 = _primal(
            u_old, p_old, g_own, at, x, y, inside, width, size, bound, theta, FUSED
        )
        right = inside & (x < width - 1)
        below = at + width < size
        _, _, right1, right2 = _primal(
            u_old, p_old, g_own, at + 1, x + 1, y, right, width, size, bound, theta, FUSED
        )
        _, _, below1, below2 = _primal(
            u_old, p_old, g_own, at + width, x, y + 1, below, width, size, bound, theta, FUSED
        )
        change = (u1 - was1) * (u1 - was1) + (u2 - was2) * (u2 - was2)
        total = tl.sum(tl.where(inside, change, 0.0))
        u_new = u + new * 2 * size
        tl.store(u_new + at, u1, mask=inside)
        tl.store(u_new + size + at, u2, mask=inside)
        p_new = p + new * 4 * size
        dx = tl.where(right, right1 - u1, 0.0)
        dy = tl.where(below, below1 - u1, 0.0)
        _dual(p_old, p_new, at, inside, dx, dy, taut, size, FUSED)
        dx = tl.where(right, right2 - u2, 0.0)
        dy = tl.where(below, below2 - u2, 0.0)
        _dual(p_old + 2 * size, p_new + 2 * size, at, inside, dx, dy, taut, size, FUSED)
        count += 1
    tl.store(sums_out + pair * tiles + tile, total)
    if tile == 0:
        tl.store(count_out + pair, count)


@triton.jit
def _cubic(t):
    """Return OpenCV's weights of the four pixels around a coordinate (Keys with -0.75)."""
    far = ((_CUBIC * (t + 1) - 5 * _CUBIC) * (t + 1) + 8 * _CUBIC) * (t + 1) - 4 * _CUBIC
    near = ((_CUBIC + 2) * t - (_CUBIC + 3)) * t * t + 1
    s = 1 - t
    next_ = ((_CUBIC + 2) * s - (_CUBIC + 3)) * s * s + 1
    return far, near, next_, 1 - far - near - next_


@triton.jit
def _row(total, frame, left, row, w0, w1, w2, w3, inside, height, width):
    """Return the sum of four weighted pixels of a row, and `total` with them added one by one.

    Pixels outside the picture are 0.
    """
    inside = inside & (row >= 0) & (row < height)
    at = frame + row * width + left
    a = w0 * tl.load(at, mask=inside & (left >= 0) & (left < width), other=0.0)
    b = w1 * tl.load(at + 1, mask=inside & (left >= -1) & (left < width - 1), other=0.0)
    c = w2 * tl.load(at + 2, mask=inside & (left >= -2) & (left < width - 2), other=0.0)
    d = w3 * tl.load(at + 3, mask=inside & (left >= -3) & (left < width - 3), other=0.0)
    return ((a + b) + c) + d, (((total + a) + b) + c) + d


@triton.jit
def _sample(frame, left, top, x0, x1, x2, x3, y0, y1, y2, y3, inside, height, width):
    """Interpolate an image [height, width] cubically at the pixels from (left, top) on.

    If a pixel is outside the image, OpenCV adds in another order.
    """
    a, total = _row(
        0.0, frame, left, top, y0 * x0, y0 * x1, y0 * x2, y0 * x3, inside, height, width
    )
    b, total = _row(
        total, frame, left, top + 1, y1 * x0, y1 * x1, y1 * x2, y1 * x3, inside, height, width
    )
    c, total = _row(
        total, frame, left, top + 2, y2 * x0, y2 * x1, y2 * x2, y2 * x3, inside, height, width
    )
    d, total = _row(
        total, frame, left, top + 3, y3 * x0, y3 * x1, y3 * x2, y3 * x3, inside, height, width
    )
    whole = (left >= 0) & (top >= 0) & (left < width - 3) & (top < height - 3)
    return tl.where(whole, ((a + b) + c) + d, total)


@triton.jit(do_not_specialize=_SIZES)
def warp(
    frames,  # [pairs + 1, 3, size]: grey values and their gradient
    u,
    count_in,
    g,
    pairs,
    height,
    width,
    size,
    tiles,
    BLOCK: tl.constexpr,
    FUSED: tl.constexpr,
):
    """Warp second image and gradient of each pair by its flow; write what `iterate` reads.

    Coordinates are rounded to 1/32 px, as in OpenCV's remap.
    """
    tile = tl.program_id(0) % tiles
    pair = (tl.program_id(0) // tiles).to(tl.int64)
    at = tile * BLOCK + tl.arange(0, BLOCK)
    x, y = at % width, at // width
    inside = at < size
    current = (tl.load(count_in + pair) % 2).to(tl.int64) * pairs + pair
    u_own = u + current * 2 * size
    u1 = tl.load(u_own + at, mask=inside, other=0.0)
    u2 = tl.load(u_own + size + at, mask=inside, other=0.0)
    # All pixels far outside are 0; clamping keeps the integers in range.
    sx = tl.minimum(tl.maximum((x + u1) * 32, -96.0), 32.0 * (width + 1))
    sy = tl.minimum(tl.maximum((y + u2) * 32, -96.0), 32.0 * (height + 1))
    ix = ((sx + _WHOLE) - _WHOLE).to(tl.int32)
    iy = ((sy + _WHOLE) - _WHOLE).to(tl.int32)
    left, top = (ix >> 5) - 1, (iy >> 5) - 1
    x0, x1, x2, x3 = _cubic((ix & 31).to(tl.float32) * 0.03125)
    y0, y1, y2, y3 = _cubic((iy & 31).to(tl.float32) * 0.03125)
    before = frames + pair * 3 * size
    after = before + 3 * size
    image = _sample(after, left, top, x0, x1, x2, x3, y0, y1, y2, y3, inside, height, width)
    after += size
    gx = _sample(after, left, top, x0, x1, x2, x3, y0, y1, y2, y3, inside, height, width)
    after += size
    gy = _sample(after, left, top, x0, x1, x2, x3, y0, y1, y2, y3, inside, height, width)
    rho = image - gx * u1 - gy * u2 - tl.load(before + at, mask=inside, other=0.0)
    g_own = g + pair * 4 * size
    tl.store(g_own + at, gx, mask=inside)
    tl.store(g_own + size + at, gy, mask=inside)
    tl.store(g_own + 2 * size + at, rho, mask=inside)
    square = gx * gx + gy * gy
    some = square > _FLT_EPSILON
    inverse = tl.where(some, _inverse(tl.where(some, square, 1.0), FUSED), 0.0)
    tl.store(g_own + 3 * size + at, inverse, mask=inside)


@triton.jit(do_not_specialize=_SIZES)
def median(
    u,
    filtered,
    sums_in,
    count_in,
    pairs,
    height,
    width,
    size,
    tiles,
    epsilon,
    FIRST: tl.constexpr,
    TILES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Filter the flow of every pair that still iterates by the median of 5x5 pixels."""
    tile = tl.program_id(0) % tiles
    pair = (tl.program_id(0) // tiles).to(tl.int64)
    active = True
    if not FIRST:
        active = _error(sums_in, pair, tiles, TILES) > epsilon
    if active:
        current = (tl.load(count_in + pair) % 2).to(tl.int64) * pairs + pair
        at = tile * BLOCK + tl.arange(0, BLOCK)
        x, y = at % width, at // width
        inside = at < size
        for component in range(2):
            plane = u + (current * 2 + component) * size
            value = median25(plane, x, y, inside, height, width)
            tl.store(filtered + (pair * 2 + component) * size + at, value, mask=inside)
