"""Check of MATLAB v5 files before SciPy reads them.

SciPy trusts the tags of such a file: an unknown type crashes the whole process. So every tag is
checked first, and compressed parts are inflated to their end, where a checksum shows whether they
are whole. Source: "MAT-File Format", The MathWorks.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

_HEADERS = (b"\x00\x01IM", b"\x01\x00MI")
_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13))
_TEXT = frozenset((16, 17, 18))
_CELL, _STRUCTURE, _OBJECT, _CHARACTERS, _SPARSE = 1, 2, 3, 4, 5
_BEFORE_MATRICES = {_CELL: 3, _STRUCTURE: 5, _OBJECT: 6}
"""Number of elements before the arrays that an array consists of, by its class."""
_LARGEST_CLASS = 15
_COMPLEX = 1 << 11

Element = tuple[int, int, int]
"""Type of an element, and the bytes at which its content starts and ends."""


def plain_v5(data: bytes, max_bytes: int) -> bytes:
    """Inflate a file's compressed parts and check every tag of it.

    Parameters
    ----------
    data : bytes
        Content of the file.
    max_bytes : int
        Largest size once inflated.

    Returns
    -------
    bytes
        The same file without compression.

    Raises
    ------
    ValueError
        It is no such file, is damaged, or inflates to more than `max_bytes`.
    """
    if data[124:_HEADER_BYTES] not in _HEADERS:
        raise ValueError("it is neither of version 5 nor of version 7.3")
    order = "<" if data[126:_HEADER_BYTES] == b"IM" else ">"
    parts, left, at = [data[:_HEADER_BYTES]], max_bytes, _HEADER_BYTES
    while at < len(data):
        kind, start, end, after = _element(data, at, len(data), order)
        part = data[at:after]
        if kind == _COMPRESSED:
            part, after = _inflated(data[start:end], left), end
        left -= len(part)
        for inner in _elements(part, 0, len(part), order):
            if inner[0] != _MATRIX:
                raise ValueError(f"an element of type {inner[0]} in place of a variable")
            _check(part, inner, order)
        parts.append(part)
        at = after
    return b"".join(parts)


def _inflated(data: bytes, max_bytes: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        found = inflate.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(found) > max_bytes:
        raise ValueError("it inflates to more than is read")
    if not inflate.eof:
        raise ValueError("a compressed variable is cut")
    return found


def _element(data: bytes, at: int, end: int, order: str) -> tuple[int, int, int, int]:
    """Type, start and end of an element, and the start of the next one."""
    if at + 8 > end:
        raise ValueError(f"the file is cut at byte {at}")
    kind, size = struct.unpack_from(order + "II", data, at)
    if small := kind >> 16:
        kind, start, size, after = kind & 0xFFFF, at + 4, small, at + 8
    else:
        start = at + 8
        after = min(start + size + -size % 8, end)
    if start + size > after:
        raise ValueError(f"an element at byte {at} is longer than what holds it")
    return kind, start, start + size, after


def _elements(data: bytes, at: int, end: int, order: str) -> Iterator[Element]:
    while at < end:
        kind, start, stop, at = _element(data, at, end, order)
        yield kind, start, stop


def _check(data: bytes, matrix: Element, order: str) -> None:
    """Check an array and the arrays that it consists of."""
    parts = list(_elements(data, *matrix[1:], order))
    if not parts:
        return
    kinds = [kind for kind, _, _ in parts]
    sizes = [end - start for _, start, end in parts]
    if kinds[:3] != [6, 5, 1] or sizes[0] != 8 or sizes[1] < 8 or sizes[1] % 4:
        raise ValueError("an array without flags, dimensions or name")
    (flags,) = struct.unpack_from(order + "I", data, parts[0][1])
    shape = struct.unpack_from(f"{order}{sizes[1] // 4}i", data, parts[1][1])
    kind, count = flags & 0xFF, math.prod(shape)
    if min(shape) < 0:
        raise ValueError(f"an array of shape {shape}")
    if not 0 < kind <= _LARGEST_CLASS:
        raise ValueError(f"an array of class {kind}, which is not read")
    before = _BEFORE_MATRICES.get(kind)
    if before is None:
        needed = (6 if kind == _SPARSE else 4) + bool(flags & _COMPLEX)
        allowed = _NUMBERS | _TEXT if kind == _CHARACTERS else _NUMBERS
        fits = kind != _CHARACTERS or count <= sum(sizes[3:])
        if len(parts) < needed or not allowed.issuperset(kinds) or not fits:
            raise ValueError(f"an array of class {kind} with elements of types {kinds}")
    elif {*kinds[before:]} - {_MATRIX} or _MATRIX in kinds[:before]:
        raise ValueError(f"an array of class {kind} with elements of types {kinds[:20]}")
    elif count > max(1, len(parts) - before):
        raise ValueError(f"an array of {count} arrays, of which {len(parts) - before} are there")
    else:
        for part in parts[before:]:
            _check(data, part, order)
