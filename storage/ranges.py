"""This module reads slices of shards in object stores by few requests, often one per shard.

zarr asks for a shard's index each time, and then for one chunk after the other, so that a link with
latency costs as many round trips. Here indexes are kept, and neighbouring chunks are one request.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

import numpy as np
from fastcrc.crc32 import iscsi as crc32c
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest, RangeByteRequest, Store, SuffixByteRequest

from foveal.storage.aligned import ABSENT, CRC_BYTES
from foveal.storage.arrays import damaged
from foveal.storage.shards import ShardLayout, decode_chunk
from foveal.storage.zarr_internals import default_buffer_prototype

_INDEXES_KEPT = 4096
_GAP_BYTES = 2**16
"""Chunks at most so far apart are one request: the gap arrives sooner than another reply."""

Index = NDArray[np.uint64]


class RangeReader:
    """Reads slices of sharded arrays by byte ranges; keeps the indexes of the latest shards."""

    def __init__(self) -> None:
        self._indexes: OrderedDict[str, asyncio.Future[Index]] = OrderedDict()

    async def read(
        self, store: Store, layout: ShardLayout, start: int, stop: int, into: NDArray[Any]
    ) -> None:
        """Read items ``start … stop - 1`` of an array into another array.

        Parameters
        ----------
        store : Store
            A store that raises for missing shards.
        layout : ShardLayout
        start, stop : int
            First item, and the item after the last one.
        into : ndarray, [stop - start, ...]
            Is filled.

        Raises
        ------
        ChecksumError
            A shard is missing or damaged.
        """
        if not into.size:
            return
        shard_items = layout.chunk_items * layout.chunks_per_shard
        await asyncio.gather(
            *(
                self._read_shard(store, layout, number, start, stop, into)
                for number in range(start // shard_items, -(-stop // shard_items))
            )
        )

    async def _read_shard(
        self,
        store: Store,
        layout: ShardLayout,
        number: int,
        start: int,
        stop: int,
        into: NDArray[Any],
    ) -> None:
        key = layout.key(number)
        first_chunk = number * layout.chunks_per_shard
        begin = max(start // layout.chunk_items, first_chunk)
        end = min(-(-stop // layout.chunk_items), first_chunk + layout.chunks_per_shard)
        try:
            index = (await self._index(store, layout, key)).tolist()
            wanted = {chunk: index[chunk - first_chunk] for chunk in range(begin, end)}
            there = [(at, size, n) for n, (at, size) in wanted.items() if at != ABSENT]
            ranges = _merged(sorted(there))
            contents = await asyncio.gather(
                *(_get(store, key, RangeByteRequest(lo, hi)) for lo, hi, _ in ranges)
            )

            def decode() -> None:
                raw = into.reshape(len(into), -1).view(np.uint8)
                for (lo, hi, chunks), content in zip(ranges, contents, strict=True):
                    if len(content) != hi - lo:
                        raise ValueError("it is cut short")
                    for at, size, chunk in chunks:
                        encoded = content[at - lo : at - lo + size]
                        _place(layout, chunk, encoded, start, stop, raw)

            for chunk in wanted.keys() - {n for *_, n in there}:
                before = max(chunk * layout.chunk_items, start)
                into[before - start : (chunk + 1) * layout.chunk_items - start] = layout.fill_value
            await asyncio.to_thread(decode)
        except (RuntimeError, ValueError, OverflowError) as error:
            self._indexes.pop(key, None)
            raise damaged(key, error) from error

    async def _index(self, store: Store, layout: ShardLayout, key: str) -> Index:
        found = self._indexes.get(key)
        if found is None:
            # The future is kept, so that concurrent readers wait for the same reply.
            found = self._indexes[key] = asyncio.ensure_future(_read_index(store, layout, key))
            while len(self._indexes) > _INDEXES_KEPT:
                self._indexes.popitem(last=False)
        self._indexes.move_to_end(key)
        try:
            return await found
        except BaseException:
            self._indexes.pop(key, None)
            raise


async def _read_index(store: Store, layout: ShardLayout, key: str) -> Index:
    size = 16 * layout.chunks_per_shard + CRC_BYTES
    part = SuffixByteRequest(size) if layout.index_at_end else RangeByteRequest(0, size)
    content = (await _get(store, key, part)).tobytes()
    index, checksum = content[:-CRC_BYTES], content[-CRC_BYTES:]
    if len(content) != size or crc32c(index) != int.from_bytes(checksum, "little"):
        raise ValueError("the checksum of its index differs")
    return np.frombuffer(index, "<u8").reshape(-1, 2)


async def _get(store: Store, key: str, part: ByteRequest) -> NDArray[np.uint8]:
    value = await store.get(key, default_buffer_prototype(), part)
    if value is None:
        raise ValueError("it is missing")
    return np.frombuffer(value.to_bytes(), np.uint8)


_Chunks = list[tuple[int, int, int]]
"""Offset, size and number of chunks."""


def _merged(chunks: _Chunks) -> list[tuple[int, int, _Chunks]]:
    """Return ranges that cover chunks close to each other, and the chunks in each range."""
    ranges: list[tuple[int, int, _Chunks]] = []
    for chunk in chunks:
        at, size, _ = chunk
        if ranges and at - ranges[-1][1] <= _GAP_BYTES:
            lo, hi, inside = ranges[-1]
            ranges[-1] = (lo, max(hi, at + size), [*inside, chunk])
        else:
            ranges.append((at, at + size, [chunk]))
    return ranges


def _place(
    layout: ShardLayout,
    chunk: int,
    encoded: NDArray[np.uint8],
    start: int,
    stop: int,
    raw: NDArray[np.uint8],
) -> None:
    """Decode a chunk, and copy its wanted items to their rows."""
    before = chunk * layout.chunk_items
    first, last = max(before, start), min(before + layout.chunk_items, stop)
    into = raw[first - start : last - start]
    if into.nbytes == layout.chunk_bytes:
        decode_chunk(layout, encoded, into)
        return
    whole = np.empty((layout.chunk_items, raw.shape[1]), np.uint8)
    decode_chunk(layout, encoded, whole)
    into[:] = whole[first - before : last - before]
