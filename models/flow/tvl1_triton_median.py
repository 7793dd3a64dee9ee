"""This Triton code computes the median of 5x5 pixels of an image by a sorting network."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _order(a, b):
    return tl.minimum(a, b), tl.maximum(a, b)


@triton.jit
def _sort5(a, b, c, d, e):
    a, b = _order(a, b)
    d, e = _order(d, e)
    c, e = _order(c, e)
    c, d = _order(c, d)
    b, e = _order(b, e)
    a, d = _order(a, d)
    a, c = _order(a, c)
    b, d = _order(b, d)
    b, c = _order(b, c)
    return a, b, c, d, e


@triton.jit
def _sorted_row(plane, row, x, inside, height, width):
    """Return the five pixels around x in a row, sorted; the border repeats."""
    at = plane + tl.minimum(tl.maximum(row, 0), height - 1) * width
    last = width - 1
    return _sort5(
        tl.load(at + tl.maximum(x - 2, 0), mask=inside, other=0.0),
        tl.load(at + tl.maximum(x - 1, 0), mask=inside, other=0.0),
        tl.load(at + x, mask=inside, other=0.0),
        tl.load(at + tl.minimum(x + 1, last), mask=inside, other=0.0),
        tl.load(at + tl.minimum(x + 2, last), mask=inside, other=0.0),
    )


@triton.jit
def median25(plane, x, y, inside, height, width):
    """Return the median of 5x5 pixels: sort rows, sort columns, then the 13 that it can still be.

    For the element in row i and column j of the sorted square, i * j elements are not larger and
    (6 - i) * (6 - j) are not smaller. The network after the sorting was found by removing
    comparisons from a full one as long as every sorted square of zeros and ones gave its median.
    """
    a1, a2, a3, a4, a5 = _sorted_row(plane, y - 2, x, inside, height, width)
    b1, b2, b3, b4, b5 = _sorted_row(plane, y - 1, x, inside, height, width)
    c1, c2, c3, c4, c5 = _sorted_row(plane, y, x, inside, height, width)
    d1, d2, d3, d4, d5 = _sorted_row(plane, y + 1, x, inside, height, width)
    e1, e2, e3, e4, e5 = _sorted_row(plane, y + 2, x, inside, height, width)
    _, _, _, d1, e1 = _sort5(a1, b1, c1, d1, e1)
    _, _, c2, d2, e2 = _sort5(a2, b2, c2, d2, e2)
    _, b3, c3, d3, _ = _sort5(a3, b3, c3, d3, e3)
    a4, b4, c4, _, _ = _sort5(a4, b4, c4, d4, e4)
    a5, b5, _, _, _ = _sort5(a5, b5, c5, d5, e5)
    c3, b3 = _order(c3, b3)
    a5, a4 = _order(a5, a4)
    d2, b5 = _order(d2, b5)
    b4, c2 = _order(b4, c2)
    e1, d1 = _order(e1, d1)
    b3, e2 = _order(b3, e2)
    e2, a5 = _order(e2, a5)
    c4, d2 = _order(c4, d2)
    d1, c3 = _order(d1, c3)
    c3, b3 = _order(c3, b3)
    b3, e2 = _order(b3, e2)
    a4, d3 = _order(a4, d3)
    d3, c4 = _order(d3, c4)
    c2, e1 = _order(c2, e1)
    e1, d1 = _order(e1, d1)
    a5, a4 = _order(a5, a4)
    a4, d3 = _order(a4, d3)
    d1, c3 = _order(d1, c3)
    c3, b3 = _order(c3, b3)
    e2, a5 = _order(e2, a5)
    a5, a4 = _order(a5, a4)
    d1, c3 = _order(d1, c3)
    b3, e2 = _order(b3, e2)
    e2, a5 = _order(e2, a5)
    c3, b3 = _order(c3, b3)
    b3, e2 = _order(b3, e2)
    return e2
