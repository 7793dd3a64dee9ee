"""This module reads shards of local stores without zarr, by the shard's own index.

A chunk that is followed by a CRC-32C, as every chunk is that foveal writes now, is compared with it
before its bytes are used.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastcrc.crc32 import iscsi as crc32c
from numcodecs import blosc  # type: ignore[import-untyped]
from numpy.typing import NDArray
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    ShardingCodec,
    ShardingCodecIndexLocation,
)

from foveal.errors import ChecksumError
from foveal.storage.aligned import ABSENT, CRC_BYTES
from foveal.storage.arrays import MEND, damaged
from foveal.storage.location import Location
from foveal.storage.zarr_internals import ArrayV3Metadata, AsyncArray

_UNDERSTOOD: tuple[list[type], ...] = ([], [BloscCodec], [Crc32cCodec], [BloscCodec, Crc32cCodec])
"""Codecs of a chunk, after the byte order, that this module can decode."""

# Without O_NONBLOCK a pipe in place of a shard would block; without O_BINARY Windows reads text.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

_turn = threading.Lock()
"""Held while a file is read in two steps, where the system cannot do it in one."""


@dataclass(frozen=True)
class ShardLayout:
    """A sharded array whose chunks are plain or compressed by Blosc.

    Attributes
    ----------
    folder : str
        The array's folder on this machine, or its path in the store where `local` is False.
    item_shape : tuple of int
    dtype : numpy dtype
    fill_value : scalar
        The value of chunks that were never written.
    chunk_items, chunks_per_shard : int
        Items per chunk and chunks per shard.
    index_at_end : bool
        Whether a shard's index is at its end, else at its start.
    compressed, checked : bool
        Whether chunks are compressed by Blosc, and whether a CRC-32C follows each.
    chunk_bytes : int
        Bytes of a decoded chunk.
    local : bool
        Whether `folder` is a folder of this machine.
    """

    folder: str
    item_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill_value: Any
    chunk_items: int
    chunks_per_shard: int
    index_at_end: bool
    compressed: bool
    checked: bool
    chunk_bytes: int
    local: bool

    def key(self, number: int) -> str:
        """Return the path of a shard, by its number."""
        return "/".join([self.folder, "c", str(number), *"0" * len(self.item_shape)])


def shard_layout(location: Location, path: str, array: AsyncArray[Any]) -> ShardLayout | None:
    """Return the layout of an array that can be read directly, None where only zarr can read it."""
    metadata = array.metadata
    if not isinstance(metadata, ArrayV3Metadata):
        return None
    if len(metadata.codecs) != 1 or not isinstance(metadata.codecs[0], ShardingCodec):
        return None
    sharding = metadata.codecs[0]
    inner, index = sharding.codecs, sharding.index_codecs
    little = sys.byteorder == "little" and isinstance(inner[0], BytesCodec)
    if not (
        little
        and inner[0].to_dict().get("configuration", {}) in ({}, {"endian": "little"})
        and [type(codec) for codec in inner[1:]] in _UNDERSTOOD
        and [type(codec) for codec in index] == [BytesCodec, Crc32cCodec]
        and tuple(sharding.chunk_shape[1:]) == tuple(array.shape[1:])
    ):
        return None
    shard_items = (array.shards or array.chunks)[0]
    return ShardLayout(
        path if location.local is None else str(location.local / path),
        tuple(array.shape[1:]),
        array.dtype,
        metadata.fill_value,
        sharding.chunk_shape[0],
        shard_items // sharding.chunk_shape[0],
        sharding.index_location is ShardingCodecIndexLocation.end,
        BloscCodec in map(type, inner),
        Crc32cCodec in map(type, inner),
        int(np.prod(sharding.chunk_shape, dtype=np.int64)) * array.dtype.itemsize,
        location.local is not None,
    )


class Shard:
    """A shard open for reading, with its index read and checked.

    Parameters
    ----------
    layout : ShardLayout
    number : int

    Raises
    ------
    ChecksumError
        The shard is missing, or its index is damaged.
    """

    def __init__(self, layout: ShardLayout, number: int) -> None:
        self._path = path = layout.key(number)
        try:
            self._file = os.open(path, _FLAGS)
            index_bytes = 16 * layout.chunks_per_shard
            at = os.fstat(self._file).st_size - index_bytes - 4 if layout.index_at_end else 0
            content = _read_at(self._file, index_bytes + 4, max(0, at))
        except FileNotFoundError:
            raise ChecksumError(
                f"{path} is missing, although its array was complete; {MEND}"
            ) from None
        except OSError as error:
            raise damaged(path, error) from error
        index, checksum = content[:-4], content[-4:]
        if at < 0 or crc32c(index) != int.from_bytes(checksum, "little"):
            raise damaged(path, ValueError("the checksum of its index differs"))
        self._layout = layout
        self.index: list[list[int]] = np.frombuffer(index, "<u8").reshape(-1, 2).tolist()

    def read(self, chunk: int, first: int, into: NDArray[np.uint8]) -> bool:
        """Read items of one chunk into an array.

        Parameters
        ----------
        chunk : int
            Number of the chunk in the shard.
        first : int
            First wanted item, counted from the start of the chunk.
        into : ndarray of uint8, [items, bytes per item]
            Is filled.

        Returns
        -------
        bool
            False where the chunk was never written.

        Raises
        ------
        ChecksumError
            The chunk is damaged.
        """
        offset, length = self.index[chunk]
        if offset == ABSENT:
            return False
        layout = self._layout
        try:
            if into.nbytes == layout.chunk_bytes:
                self._whole(offset, length, into)
            elif layout.compressed or layout.checked:
                whole = np.empty((layout.chunk_items, into.shape[1]), np.uint8)
                self._whole(offset, length, whole)
                into[:] = whole[first : first + len(into)]
            else:
                self._plain(offset + first * into.shape[1], [into.data], into.nbytes)
        except (OSError, RuntimeError, ValueError, OverflowError) as error:
            raise damaged(self._path, error) from None
        return True

    def _whole(self, offset: int, length: int, into: NDArray[np.uint8]) -> None:
        if self._layout.compressed:
            encoded = np.frombuffer(_read_at(self._file, length, offset), np.uint8)
            decode_chunk(self._layout, encoded, into)
        elif self._layout.checked:
            behind = bytearray(CRC_BYTES)
            self._plain(offset, [into.data, behind], into.nbytes + CRC_BYTES)
            _compare(into, behind)
        else:
            self._plain(offset, [into.data], into.nbytes)

    def _plain(self, offset: int, into: list[Any], wanted_bytes: int) -> None:
        if _read_into(self._file, into, offset) != wanted_bytes:
            raise ValueError("it is cut short")

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


def _read_at(file: int, length: int, offset: int) -> bytes:
    """Read bytes of an open file from a place in it, also on Windows, which lacks `os.pread`."""
    if hasattr(os, "pread"):
        return os.pread(file, length, offset)
    with _turn:
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, length)


def _read_into(file: int, into: list[Any], offset: int) -> int:
    """Fill buffers one after the other from a place in an open file; returns the bytes read."""
    if hasattr(os, "preadv"):
        return os.preadv(file, into, offset)
    parts = [memoryview(part).cast("B") for part in into]
    content = _read_at(file, sum(part.nbytes for part in parts), offset)
    at = 0
    for part in parts:
        found = content[at : at + part.nbytes]
        part[: len(found)] = found
        at += part.nbytes
    return len(content)


def decode_chunk(layout: ShardLayout, encoded: NDArray[np.uint8], into: NDArray[np.uint8]) -> None:
    """Check the bytes of a whole chunk, and decode them into an array.

    Raises
    ------
    ValueError, RuntimeError
        The bytes are not what was written.
    """
    if layout.checked:
        encoded, checksum = encoded[:-CRC_BYTES], encoded[-CRC_BYTES:]
        _compare(encoded, checksum.tobytes())
    if not layout.compressed:
        into[:] = encoded.reshape(into.shape)
        return
    # Blosc's header names the decoded size in bytes 4 … 7.
    if int.from_bytes(encoded[4:8].tobytes(), "little") != into.nbytes:
        raise ValueError("its decoded size is wrong")
    blosc.decompress(encoded, into)


def _compare(values: NDArray[np.uint8], checksum: bytes | bytearray) -> None:
    if crc32c(values.data) != int.from_bytes(checksum, "little"):
        raise ValueError("a checksum differs")
