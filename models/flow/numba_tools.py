"""This module has what numba kernels share: decorators, and two instructions of the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

_FLOAT4 = ir.VectorType(ir.FloatType(), 4)
_INT4 = ir.VectorType(ir.IntType(32), 4)


_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def part(function: Function) -> Function:
    """Compile a `function` as part of its callers; without fast-math, so nothing is reordered."""
    return njit(**_OPTIONS)(function)  # type: ignore[no-any-return]


def kernel(function: Function) -> Function:
    """Compile a `function` at its first call and keep the code; it runs without Python's lock.

    The code is kept in the source's folder, or in the user's cache if that folder is read-only. If
    neither can be written, every process compiles again.
    """
    try:
        compiled = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # numba: "no locator available"
        compiled = njit(**_OPTIONS)(function)
    return compiled  # type: ignore[no-any-return]


def digest(*modules: ModuleType) -> str:
    """Return the SHA-256 of the source of `modules`."""
    sources = (Path(str(module.__file__)).read_bytes() for module in modules)
    return hashlib.sha256(b"".join(sources)).hexdigest()


def _fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.fma(*values)

    return types.float32(types.float32, types.float32, types.float32), code


fma: Any = intrinsic(_fma)
"""``fma(a, b, c)``: float32 a b + c, rounded only once, on every machine."""


def _add_taps(
    context: Any, image: Any, at: Any, row: Any, taps: Any, first: Any, out: Any, to: Any
) -> Any:
    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        at, row, first, to = (values[k] for k in (1, 2, 4, 6))
        image, taps, out = (
            context.make_array(signature.args[k])(context, builder, values[k]).data
            for k in (0, 3, 5)
        )

        def address(array: Any, index: Any, further: int = 0) -> Any:
            return builder.gep(array, [builder.add(index, ir.Constant(index.type, further))])

        def tap(line: Any, j: int, i: int) -> Any:
            weight = builder.load(address(taps, first, 4 * j + i))
            empty = ir.Constant(_FLOAT4, ir.Undefined)
            one = builder.insert_element(empty, weight, ir.Constant(ir.IntType(32), 0))
            four = builder.shuffle_vector(one, empty, ir.Constant(_INT4, [0] * 4))
            pixel = builder.bitcast(address(image, line, 4 * i), _FLOAT4.as_pointer())
            return builder.fmul(builder.load(pixel, align=4), four)

        total, line = None, at
        for j in range(4):
            across = tap(line, j, 0)
            for i in range(1, 4):
                across = builder.fadd(across, tap(line, j, i))
            total = across if total is None else builder.fadd(total, across)
            line = builder.add(line, row)
        place = builder.bitcast(address(out, to), _FLOAT4.as_pointer())
        builder.store(total, place, align=4)
        return context.get_dummy_value()

    return types.void(image, at, row, taps, first, out, to), code


add_taps: Any = intrinsic(_add_taps)
"""``add_taps(image, at, row, taps, first, out, to)``: add 16 weighted pixels of four channels.

``out[to:to + 4] = sum_ji taps[first + 4 j + i] image[at + j row + 4 i:][:4]`` for i, j in 0 … 3.
All are float32 [n]; rows are summed first, four channels in one vector. Indices are not checked.
"""


def cubic_taps() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return the bicubic weights (A = -0.75) for every 1/32 px, as OpenCV's remap rounds them.

    Returns
    -------
    ndarray, float32 [32 * 32 * 16]
        The 16 weights (row by row) of the shift (x, y) / 32 px begin at 16 (32 y + x).
    """
    a = np.float32(-0.75)
    x = np.arange(32, dtype=np.float32) / np.float32(32)
    rest = 1 - x
    weights = np.empty((32, 4), np.float32)
    weights[:, 0] = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
    weights[:, 1] = ((a + 2) * x - (a + 3)) * x * x + 1
    weights[:, 2] = ((a + 2) * rest - (a + 3)) * rest * rest + 1
    weights[:, 3] = 1 - weights[:, 0] - weights[:, 1] - weights[:, 2]
    return (weights[:, None, :, None] * weights[None, :, None, :]).reshape(-1)
