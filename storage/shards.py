"""Shards of a local store, read without zarr: their own index says where a chunk lies."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
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
from foveal.storage.location import Location
from foveal.storage.zarr_internals import ArrayV3Metadata, AsyncArray

ABSENT = 2**64 - 1
"""Offset of a chunk that was never written."""


@dataclass(frozen=True)
class ShardLayout:
    """A sharded array in a local folder whose chunks are plain or Blosc."""

    folder: str
    item_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill_value: Any
    chunk_items: int
    chunks_a_shard: int
    index_at_end: bool
    compressed: bool


def shard_layout(location: Location, path: str, array: AsyncArray[Any]) -> ShardLayout | None:
    """The layout of an array that can be read directly, None where it takes zarr."""
    metadata = array.metadata
    if not isinstance(metadata, ArrayV3Metadata) or location.local is None:
        return None
    if len(metadata.codecs) != 1 or not isinstance(metadata.codecs[0], ShardingCodec):
        return None
    sharding = metadata.codecs[0]
    inner, index = sharding.codecs, sharding.index_codecs
    little = sys.byteorder == "little" and isinstance(inner[0], BytesCodec)
    if not (
        little
        and inner[0].to_dict().get("configuration", {}) in ({}, {"endian": "little"})
        and [type(codec) for codec in inner[1:]] in ([], [BloscCodec])
        and [type(codec) for codec in index] == [BytesCodec, Crc32cCodec]
        and tuple(sharding.chunk_shape[1:]) == tuple(array.shape[1:])
    ):
        return None
    shard_items = (array.shards or array.chunks)[0]
    return ShardLayout(
        str(location.local / path),
        tuple(array.shape[1:]),
        array.dtype,
        metadata.fill_value,
        sharding.chunk_shape[0],
        shard_items // sharding.chunk_shape[0],
        sharding.index_location is ShardingCodecIndexLocation.end,
        len(inner) > 1,
    )


class Shard:
    """A shard open for reading, its index read and checked."""

    def __init__(self, layout: ShardLayout, number: int) -> None:
        self._path = path = "/".join(
            [layout.folder, "c", str(number), *"0" * len(layout.item_shape)]
        )
        try:
            self._file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise ChecksumError(
                f"{path} is missing, though its array was complete; "
                "`foveal verify` lists everything that is"
            ) from None
        index_bytes = 16 * layout.chunks_a_shard
        at = os.fstat(self._file).st_size - index_bytes - 4 if layout.index_at_end else 0
        content = os.pread(self._file, index_bytes + 4, max(0, at))
        index, checksum = content[:-4], content[-4:]
        if at < 0 or google_crc32c.value(index) != int.from_bytes(checksum, "little"):
            raise self._damaged()
        self.index: list[list[int]] = np.frombuffer(index, "<u8").reshape(-1, 2).tolist()

    def read(self, offset: int, into: NDArray[np.uint8]) -> None:
        """Bring stored bytes into an array."""
        if os.preadv(self._file, [into.data], offset) != into.nbytes:
            raise self._damaged()

    def decode(self, offset: int, length: int, into: NDArray[np.uint8]) -> None:
        """Decode one Blosc chunk into an array of its size."""
        encoded = os.pread(self._file, length, offset)
        # Blosc's header names the decoded size in bytes 4 … 7.
        if int.from_bytes(encoded[4:8], "little") != into.nbytes:
            raise self._damaged()
        try:
            blosc.decompress(encoded, into)
        except (RuntimeError, ValueError):
            raise self._damaged() from None

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def _damaged(self) -> ChecksumError:
        return ChecksumError(
            f"{self._path} is damaged; `foveal verify` lists everything that is, "
            "and a build with repair mends it"
        )
