"""This module has the loops over the pixels of a frame for the challenge's scores, in numba.

The compiler may reorder sums to use vector instructions; they are float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

BINS = 4096
"""Bins of `at_least`."""

_BLOCK = 1024

Row = NDArray[Any]
"""float32 or float64 [pixels], contiguous."""


def _compiled(function: Any) -> Any:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # numba: "no locator available"
        return njit(**options)(function)


@_compiled
def sums(values: Row, out: Row) -> None:
    """Write sum and sum of squares of `values` to `out` [2]."""
    total = squares = 0.0
    for i in range(values.shape[0]):
        value = np.float64(values[i])
        total += value
        squares += value * value
    out[0], out[1] = total, squares


@_compiled
def products(first: Row, second: Row, out: Row) -> None:
    """Write the sums of a, a², b, b² and ab to `out` [5]; a is `first`, b is `second`."""
    a = aa = b = bb = ab = 0.0
    for i in range(first.shape[0]):
        x, y = np.float64(first[i]), np.float64(second[i])
        a += x
        aa += x * x
        b += y
        bb += y * y
        ab += x * y
    out[0], out[1], out[2], out[3], out[4] = a, aa, b, bb, ab


@_compiled
def minima(first: Row, second: Row, gains: Row, out: Row) -> None:
    """Write the sum of min(a g0, (b - g2) g1) to `out` [1], for `first`, `second` and `gains`."""
    total = 0.0
    for i in range(first.shape[0]):
        p = first[i] * gains[0]
        q = (second[i] - gains[2]) * gains[1]
        total += p if p < q else q
    out[0] = total


@_compiled
def at_least(values: Row, thresholds: Row, stretch: Row, out: Row) -> None:
    """Write to `out` how many `values` reach each of the ascending `thresholds`.

    No value reaches an infinite one. Values are counted in `BINS` bins of (value - stretch[0]) *
    stretch[1], which goes from 0 (for the least value) to `BINS` and keeps the order. Only values
    in a bin with a threshold are compared.
    """
    low, scale = stretch[0], stretch[1]
    different = np.empty(thresholds.shape[0], values.dtype)
    first = np.zeros(BINS + 2, np.int64)  # of the different thresholds in each bin
    count = 0
    for k in range(thresholds.shape[0]):
        threshold = thresholds[k]
        # Every value reaches the least one, which is the value of most pixels of a map.
        if low < threshold < np.inf and (count == 0 or different[count - 1] < threshold):
            different[count] = threshold
            first[np.int32((threshold - low) * scale) + 1] += 1
            count += 1
    for number in range(BINS + 1):
        first[number + 1] += first[number]
    bins = np.empty(_BLOCK, np.int32)
    even, odd = np.zeros(BINS + 1, np.int64), np.zeros(BINS + 1, np.int64)
    reached = np.zeros(count + 1, np.int64)
    for start in range(0, values.shape[0], _BLOCK):
        length = min(_BLOCK, values.shape[0] - start)
        for i in range(length):
            bins[i] = np.int32((values[start + i] - low) * scale)
        for i in range(length):
            number = bins[i]
            if first[number] != first[number + 1]:
                rank = first[number]
                while rank < first[number + 1] and different[rank] <= values[start + i]:
                    rank += 1
                reached[rank] += 1
            # Two tables: neighbours often have the same bin, and would wait for each other in one.
            elif i & 1:
                odd[number] += 1
            else:
                even[number] += 1
    for number in range(BINS + 1):
        reached[first[number]] += even[number] + odd[number]
    for rank in range(count, 0, -1):
        reached[rank - 1] += reached[rank]
    rank = 0
    for k in range(thresholds.shape[0]):
        while rank < count and different[rank] < thresholds[k]:
            rank += 1
        out[k] = reached[rank + 1] if rank < count else 0
        if thresholds[k] <= low:
            out[k] = values.shape[0]
