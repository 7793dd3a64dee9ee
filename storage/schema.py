"""This module defines how arrays are stored: names, dimensions, dtypes, chunks, shards, codecs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

from foveal.storage.aligned import ALIGNED_FROM_BYTES
from foveal.storage.kinds import SAID

FORMAT_VERSION = 1
"""Goes up when an older foveal could not read a store written by this one."""

VIDEOS = "videos"
"""Group that holds one group per video."""

JOURNAL = "_foveal"
"""Folder of completion marks and quarantine records, outside the Zarr hierarchy."""

INDEX = "index.parquet"
"""One row per video, at the store's root."""

EVALUATION = "evaluation.json"
"""The latest scores of predictions, at the store's root."""

MAX_CHUNK_ITEMS = 8
MAX_SHARD_ITEMS = 128
_CHUNK_BYTES = 8 * 2**20
_SHARD_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ArraySpec:
    """One array that a stage writes, whose leading axis grows while the video is processed.

    Attributes
    ----------
    name : str
        Name in the video's group.
    dims : tuple of str
        Dimension names; the first dimension is the one that grows.
    item_shape : tuple of int
        Shape of one item (all axes but the leading one).
    dtype : numpy dtype
    axis, kind : str
        What the leading axis counts and what one item is, see `foveal.storage.kinds`.
    starts : str, optional
        For windows, the array that holds the first frame of each window.
    role : str, optional
        What the array is for, see `foveal.storage.kinds.ROLES`.
    source_frames : str, optional
        Where frames are sampled at another rate, the array of their numbers in the source.
    offset : str, optional
        Where each frame has a run of items, the array of the first item of each frame.
    attributes : mapping
        Units, description and whatever a reader without foveal needs to understand the values.
    chunk_items, shard_items : int, optional
        Items per inner chunk (the least that is read) and per shard (one object, the least that is
        written); by default up to 8 and 128, fewer where items are large.
    compress : bool
        False for features, which barely shrink and are read at random: a reader then takes single
        items straight from the disk.

    Raises
    ------
    ValueError
        The number of dimensions differs from that of an item plus 1, or a shard is not a whole
        number of chunks.
    """

    name: str
    dims: tuple[str, ...]
    item_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    chunk_items: int = 0
    shard_items: int = 0
    compress: bool = True
    axis: str = field(kw_only=True)
    kind: str = field(kw_only=True)
    starts: str | None = field(default=None, kw_only=True)
    role: str | None = field(default=None, kw_only=True)
    source_frames: str | None = field(default=None, kw_only=True)
    offset: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if len(self.dims) != 1 + len(self.item_shape):
            raise ValueError(f"{self.name}: {len(self.dims)} dims for items {self.item_shape}")
        if not self.chunk_items:
            object.__setattr__(
                self, "chunk_items", _fitting(_CHUNK_BYTES, self.item_bytes, MAX_CHUNK_ITEMS)
            )
        if not self.shard_items:
            fitting = _fitting(_SHARD_BYTES, self.item_bytes, MAX_SHARD_ITEMS)
            object.__setattr__(self, "shard_items", max(fitting, self.chunk_items))
        if self.chunk_items < 1 or self.shard_items % self.chunk_items:
            raise ValueError(
                f"{self.name}: shard_items {self.shard_items} is not a multiple of "
                f"chunk_items {self.chunk_items}"
            )

    @property
    def item_bytes(self) -> int:
        """Bytes of one uncompressed item."""
        return int(np.prod(self.item_shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def said(self) -> dict[str, str]:
        """What the array says of itself, in its attributes and in the mark."""
        return {key: getattr(self, key) for key in SAID if getattr(self, key) is not None}

    @property
    def is_aligned(self) -> bool:
        """Whether the chunks of a shard start at cache lines (see `foveal.storage.aligned`)."""
        large = self.chunk_items * self.item_bytes >= ALIGNED_FROM_BYTES
        return self.is_sharded and not self.compress and large

    @property
    def is_sharded(self) -> bool:
        """Whether one object holds several chunks."""
        return self.shard_items > self.chunk_items

    def zarr_layout(self) -> dict[str, Any]:
        """Return the arguments of `zarr.create_array` for an array that is still empty."""
        # An item axis of length 0 cannot be chunked by 0.
        item_chunk = tuple(max(1, side) for side in self.item_shape)
        return {
            "name": self.name,
            "shape": (0, *self.item_shape),
            "dtype": self.dtype,
            "chunks": (self.chunk_items, *item_chunk),
            "shards": (self.shard_items, *item_chunk) if self.is_sharded else None,
            # Last, over the stored bytes: every reader of a chunk notices a flipped bit.
            "compressors": [*([compressor(self.dtype)] if self.compress else []), Crc32cCodec()],
            "fill_value": 0,
            "dimension_names": self.dims,
            # Every shard is written, zeros too: a missing object is always damage.
            "config": {"write_empty_chunks": True},
        }


def compressor(dtype: np.dtype[Any]) -> BloscCodec:
    """Return Blosc with LZ4-HC (a core Zarr codec), with byte shuffle for values of several bytes.

    It reads over twice as fast as zstd and takes a tenth more bytes (``benchmarks/layout.py``).
    """
    shuffle = BloscShuffle.shuffle if dtype.itemsize > 1 else BloscShuffle.noshuffle
    return BloscCodec(cname="lz4hc", clevel=3, shuffle=shuffle, typesize=dtype.itemsize)


def _fitting(budget_bytes: int, item_bytes: int, most: int) -> int:
    """Return the largest power of two of items within the budget, at least 1, at most `most`."""
    items = max(1, budget_bytes // max(1, item_bytes))
    return int(min(most, 1 << (int(items).bit_length() - 1)))
