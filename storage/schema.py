"""How arrays lie in the store: names, dimensions, dtypes, chunks, shards, codecs, attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FORMAT_VERSION = 1

CHUNK_ITEMS = 16
"""Items (frames, pairs, maps) in an inner chunk: the least that is read."""

SHARD_ITEMS = 128
"""Items in a shard: one object on disk, the least that is written."""


@dataclass(frozen=True)
class ArraySpec:
    """One array a stage writes, whose leading axis grows while the video is processed.

    Attributes
    ----------
    name : str
        Name in the video's group.
    dims : tuple of str
        Dimension names; the first is the one that grows.
    item_shape : tuple of int
        Shape of one item (all axes but the leading one).
    dtype : numpy dtype
    attributes : mapping
        Units, description and whatever a reader without foveal needs to understand the values.
    chunk_items, shard_items : int
        Items an inner chunk and a shard hold; ``shard_items`` is a multiple of ``chunk_items``.
    """

    name: str
    dims: tuple[str, ...]
    item_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    chunk_items: int = CHUNK_ITEMS
    shard_items: int = SHARD_ITEMS

    def __post_init__(self) -> None:
        if len(self.dims) != 1 + len(self.item_shape):
            raise ValueError(f"{self.name}: {len(self.dims)} dims for items {self.item_shape}")
        if self.chunk_items < 1 or self.shard_items % self.chunk_items:
            raise ValueError(
                f"{self.name}: shard_items {self.shard_items} is no multiple of "
                f"chunk_items {self.chunk_items}"
            )

    @property
    def item_bytes(self) -> int:
        """Bytes of one uncompressed item."""
        return int(np.prod(self.item_shape, dtype=np.int64)) * self.dtype.itemsize
