"""This module reads TensorFlow checkpoints without TensorFlow.

A checkpoint has two kinds of files. ``model.ckpt.index`` is a sorted-string table (LevelDB's
format: prefix-compressed entries in blocks, a footer that points to a block of blocks) whose values
are ``BundleEntryProto`` messages; ``model.ckpt.data-00000-of-00001`` holds the tensors' bytes.
Sources: ``tensorflow/core/util/tensor_bundle`` and ``tensorflow/core/lib/io/table``. No code in the
files runs, every offset is checked before it is used, and every checksum is verified.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.errors import MissingDependency

TABLE_MAGIC = 0xDB4775248B80FB57
"""Last eight bytes of an index, little-endian."""

FOOTER_BYTES = 48
MAX_INDEX_BYTES = 64 << 20
_FLOAT32 = 1
_CRC_MASK_DELTA = 0xA282EAD8


@dataclass(frozen=True)
class Entry:
    """One tensor: its type, where in which data file its bytes are, and their masked CRC-32C."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int | None


def read_checkpoint(prefix: Path) -> dict[str, NDArray[np.float32]]:
    """Read every float32 tensor of a checkpoint.

    Parameters
    ----------
    prefix : Path
        The checkpoint as TensorFlow names it (``…/model.ckpt``) or its ``.index`` file.

    Returns
    -------
    dict of str to ndarray, float32
        Tensors by name.

    Raises
    ------
    MissingDependency
        A file is missing, damaged, or of another kind.
    """
    if prefix.suffix == ".index":
        prefix = prefix.with_suffix("")
    index = Path(f"{prefix}.index")
    entries, shards = read_index(index)
    paths = [Path(f"{prefix}.data-{n:05d}-of-{shards:05d}") for n in range(shards)]
    for path in paths:
        if not path.is_file():
            raise MissingDependency(f"{path} is missing; put it into the folder of {index.name}")
    sizes = [path.stat().st_size for path in paths]
    tensors = {}
    for name, entry in entries.items():
        if entry.dtype != _FLOAT32:
            continue
        if entry.size != 4 * math.prod(entry.shape):
            raise MissingDependency(f"{name} of shape {entry.shape} cannot have {entry.size} bytes")
        if not 0 <= entry.shard < shards or entry.offset + entry.size > sizes[entry.shard]:
            raise MissingDependency(
                f"{name} is outside the data files of {prefix}; fetch them again"
            )
        with paths[entry.shard].open("rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.size)
        if entry.crc is not None and masked_crc32c(data) != entry.crc:
            raise MissingDependency(f"{name} in {prefix} has a wrong checksum; fetch it again")
        tensors[name] = np.frombuffer(data, "<f4").reshape(entry.shape).astype(np.float32)
    return tensors


def read_index(path: Path) -> tuple[dict[str, Entry], int]:
    """Read the ``.index`` file at `path`: its entries by name, and the number of data files.

    Raises
    ------
    MissingDependency
        The file is missing, damaged or not an index.
    """
    if not path.is_file():
        raise MissingDependency(f"{path} is missing")
    size = path.stat().st_size
    if not FOOTER_BYTES <= size <= MAX_INDEX_BYTES:
        raise MissingDependency(
            f"{path} has {size} bytes; an index has {FOOTER_BYTES} to {MAX_INDEX_BYTES}"
        )
    table = path.read_bytes()
    footer = table[-FOOTER_BYTES:]
    if struct.unpack("<Q", footer[-8:])[0] != TABLE_MAGIC:
        raise MissingDependency(f"{path} is not a TensorFlow checkpoint index (magic number)")
    try:
        _, at = _handle(footer, 0)
        index_block, _ = _handle(footer, at)
        entries: dict[str, Entry] = {}
        shards = 0
        for _, handle in _block(table, index_block):
            for key, value in _block(table, _handle(handle, 0)[0]):
                if not key:
                    shards = _shards(value)
                else:
                    entries[key.decode()] = _entry(value)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise MissingDependency(f"{path} is damaged ({error}); fetch it again") from error
    if not 1 <= shards <= 99999:
        raise MissingDependency(f"{path} names {shards} data files; allowed are 1 to 99999")
    return entries, shards


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError("a varint of more than 64 bits")


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Return offset and size of a block, and where the next field begins."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(table: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a block: contents, a compression byte, masked CRC-32C of both."""
    offset, size = handle
    end = offset + size
    if end + 5 > len(table):
        raise IndexError("a block outside the file")
    if table[end]:
        raise MissingDependency(
            "the index is compressed, which TensorFlow never does; save the checkpoint again"
        )
    if masked_crc32c(table[offset : end + 1]) != struct.unpack_from("<I", table, end + 1)[0]:
        raise MissingDependency("a block of the index has a wrong checksum; fetch it again")
    (restarts,) = struct.unpack_from("<I", table, end - 4)
    entries_end = end - 4 * (restarts + 1)
    key, at = b"", offset
    while at < entries_end:
        shared, at = _varint(table, at)
        own, at = _varint(table, at)
        value, at = _varint(table, at)
        if shared > len(key) or at + own + value > entries_end:
            raise IndexError("an entry outside its block")
        key = key[:shared] + table[at : at + own]
        at += own
        yield key, table[at : at + value]
        at += value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield field numbers and raw values of a protocol buffer."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise IndexError(f"protocol buffer field of kind {kind}")
        if at + size > len(message):
            raise IndexError("a field outside its message")
        yield tag >> 3, message[at : at + size]
        at += size


def _shards(message: bytes) -> int:
    header = {field: value for field, value in _fields(message) if isinstance(value, int)}
    if header.get(2, 0) != 0:
        raise MissingDependency("big-endian checkpoints are not read")
    return header.get(1, 0)


def _entry(message: bytes) -> Entry:
    """Parse a ``BundleEntryProto``.

    Its fields: dtype 1, shape 2, shard 3, offset 4, size 5, crc32c 6, slices 7.
    """
    numbers: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    crc = None
    for field, value in _fields(message):
        if isinstance(value, int):
            numbers[field] = value
        elif field == 2:
            shape = tuple(
                next((n for f, n in _fields(dim) if f == 1 and isinstance(n, int)), 0)
                for f, dim in _fields(value)
                if f == 2 and isinstance(dim, bytes)
            )
        elif field == 6:
            (crc,) = struct.unpack("<I", value)
        elif field == 7:
            raise MissingDependency("partitioned variables are not read; save them whole")
    return Entry(
        dtype=numbers.get(1, 0),
        shape=shape,
        shard=numbers.get(3, 0),
        offset=numbers.get(4, 0),
        size=numbers.get(5, 0),
        crc=crc,
    )


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data`, masked as LevelDB and TensorFlow store it."""
    from fastcrc.crc32 import iscsi

    crc = iscsi(data)
    return (((crc >> 15) | (crc << 17)) + _CRC_MASK_DELTA) & 0xFFFFFFFF
