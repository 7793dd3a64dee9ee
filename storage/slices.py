"""This module reads many slices at once, for training: chunks are fetched and decoded together.

zarr-python needs about half a millisecond of bookkeeping per chunk, as long as decoding sixteen
frames takes and far longer than reading a window of features. Shards of local stores are therefore
read directly: their own index gives the offset of each chunk, which is decoded into the result, or
read into it by one system call where it is not compressed. Shards of other stores are read by as
few requests as possible, all at once. Everything else is read by zarr.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray
from zarr.storage import FsspecStore

from foveal.storage.arrays import open_checked
from foveal.storage.cf import Scale, physical
from foveal.storage.location import Location
from foveal.storage.names import group_path
from foveal.storage.ranges import RangeReader
from foveal.storage.shards import Shard, ShardLayout, shard_layout
from foveal.storage.zarr_internals import AsyncArray, sync

_ARRAYS_OPEN = 1024
_SHARDS_OPEN = 256
"""By all gatherers of a process together: systems commonly allow a process 1024 open files."""

_LIVING: WeakSet[Gatherer] = WeakSet()

Allocate = Callable[[tuple[int, ...], np.dtype[Any]], NDArray[Any]]
Rows = Callable[[NDArray[Any]], Sequence[Any]]


class Slice(NamedTuple):
    """Items ``start … stop - 1`` of an array of a video."""

    video: str
    array: str
    start: int
    stop: int


class Gatherer:
    """Reads slices of complete arrays; may be pickled, and used after a fork.

    Parameters
    ----------
    location : Location
    cache_bytes : int
        If more than 0, whole shards are read, and the latest are kept decoded up to so many bytes:
        right for reading that stays within few shards, wrong for random access.
    """

    def __init__(self, location: Location, cache_bytes: int = 0) -> None:
        self._location = location
        self._cache_bytes = cache_bytes
        self._forget()
        _LIVING.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Gatherer, (self._location, self._cache_bytes)

    def read(
        self, slices: Sequence[Slice], allocate: Allocate = np.empty, rows: Rows = list
    ) -> list[Any]:
        """Read several slices together.

        Parameters
        ----------
        slices : sequence of Slice
            Parts of videos.
        allocate : callable
            Makes the arrays that direct reads fill, from shape and dtype.
        rows : callable
            Makes what is returned, one thing per row of an array: views of it.

        Returns
        -------
        list of ndarray, or of what `rows` makes
            The items of each slice, [stop - start, ...]. Equally large slices of one array are next
            to each other in memory where they are read directly. Integers with a scale (CF
            ``scale_factor``) come as float32, NaN where there is no value.

        Raises
        ------
        StoreError
            An array is gone because a build is replacing it.
        ChecksumError
            A shard is missing or damaged; the message names its key.
        """
        if os.getpid() != self._pid:
            self._reopen()
        with self._location.reaching():
            if self._cache_bytes:
                return [rows(values[None])[0] for values in self._read_cached(slices)]
            return self._read(slices, allocate, rows)

    def _read(
        self, slices: Sequence[Slice], allocate: Allocate = np.empty, rows: Rows = list
    ) -> list[Any]:
        arrays = self._open({(wanted.video, wanted.array) for wanted in slices})
        values: list[Any] = [None] * len(slices)
        through_zarr = []
        alike: dict[tuple[Any, ...], list[int]] = {}
        for n, (video, name, start, stop) in enumerate(slices):
            direct = arrays[video, name].direct
            if direct is None:
                through_zarr.append(n)
            else:
                scale = arrays[video, name].scale
                kind = (name, stop - start, direct.item_shape, direct.dtype, scale)
                alike.setdefault(kind, []).append(n)
        filled: list[tuple[list[int], NDArray[Any], Scale | None]] = []
        requested: list[tuple[int, NDArray[Any]]] = []
        for (_, items, item_shape, dtype, scale), group in alike.items():
            together = allocate((len(group), items, *item_shape), dtype)
            filled.append((group, together, scale))
            for n, into in zip(group, together, strict=True):
                layout = arrays[slices[n][:2]].direct
                assert layout is not None
                if layout.local:
                    self._read_direct(layout, slices[n].start, slices[n].stop, into)
                else:
                    requested.append((n, into))

        async def ask(n: int, into: NDArray[Any]) -> None:
            one = arrays[slices[n][:2]]
            assert one.direct is not None
            place = one.array.store_path.store
            await self._ranges.read(place, one.direct, slices[n].start, slices[n].stop, into)

        async def ask_all() -> list[Any]:
            _, *decoded = await asyncio.gather(
                asyncio.gather(*(ask(n, into) for n, into in requested)),
                *(
                    arrays[slices[n][:2]].array.getitem(slice(slices[n].start, slices[n].stop))
                    for n in through_zarr
                ),
            )
            return decoded

        if requested or through_zarr:
            for n, value in zip(through_zarr, sync(ask_all()), strict=True):
                read = physical(np.asarray(value), arrays[slices[n][:2]].scale)
                values[n] = rows(read[None])[0]
        for group, together, scale in filled:
            for n, row in zip(group, rows(physical(together, scale)), strict=True):
                values[n] = row
        return values

    def _read_cached(self, slices: Sequence[Slice]) -> list[NDArray[Any]]:
        arrays = self._open({(wanted.video, wanted.array) for wanted in slices})
        shards: dict[Slice, list[Slice]] = {}
        for wanted in slices:
            array = arrays[wanted.video, wanted.array].array
            step, length = (array.shards or array.chunks)[0], array.shape[0]
            first = wanted.start // step * step
            shards[wanted] = [
                Slice(wanted.video, wanted.array, at, min(at + step, length))
                for at in range(first, wanted.stop, step)
            ] or [Slice(wanted.video, wanted.array, first, first)]
        touched = {shard for group in shards.values() for shard in group}
        missing = sorted(touched - self._cache.keys())
        self._cache.update(zip(missing, self._read(missing), strict=True))
        values = []
        for wanted in slices:
            group = shards[wanted]
            parts = [
                self._cache[shard][max(0, wanted.start - shard.start) : wanted.stop - shard.start]
                for shard in group
            ]
            values.append(np.concatenate(parts))
        for shard in touched:
            self._cache.move_to_end(shard)
        held = sum(value.nbytes for value in self._cache.values())
        while held > self._cache_bytes and self._cache:
            held -= self._cache.popitem(last=False)[1].nbytes
        return values

    def _reopen(self) -> None:
        """Open everything anew after a fork, which leaves connections and locks to its parent."""
        if isinstance(self._location.zarr, FsspecStore) and "://" in self._location.url:
            self._location = Location(self._location.url, read_only=True)
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._arrays: OrderedDict[tuple[str, str], _Opened] = OrderedDict()
        self._shards: OrderedDict[tuple[str, int], Shard] = OrderedDict()
        self._cache: OrderedDict[Slice, NDArray[Any]] = OrderedDict()
        self._ranges = RangeReader()

    def _open(self, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], _Opened]:
        missing = [name for name in sorted(wanted) if name not in self._arrays]

        async def open_all() -> list[_Opened]:
            return await asyncio.gather(*(_open_one(self._location, *name) for name in missing))

        if missing:
            self._arrays.update(zip(missing, sync(open_all()), strict=True))
        found = {}
        for name in wanted:
            found[name] = self._arrays[name]
            self._arrays.move_to_end(name)
        while len(self._arrays) > max(_ARRAYS_OPEN, len(wanted)):
            self._arrays.popitem(last=False)
        return found

    def _read_direct(
        self, layout: ShardLayout, start: int, stop: int, values: NDArray[Any]
    ) -> None:
        if not values.size:
            return
        raw = values.reshape(len(values), -1).view(np.uint8)
        for chunk in range(start // layout.chunk_items, -(-stop // layout.chunk_items)):
            before = chunk * layout.chunk_items
            first, last = max(before, start), min(before + layout.chunk_items, stop)
            into = raw[first - start : last - start]
            shard = self._shard(layout, chunk // layout.chunks_per_shard)
            if not shard.read(chunk % layout.chunks_per_shard, first - before, into):
                values[first - start : last - start] = layout.fill_value

    def _shard(self, layout: ShardLayout, number: int) -> Shard:
        key = (layout.folder, number)
        shard = self._shards.get(key)
        if shard is None:
            shard = self._shards[key] = Shard(layout, number)
            while len(self._shards) > max(1, _SHARDS_OPEN // len(_LIVING)):
                self._shards.popitem(last=False)
        self._shards.move_to_end(key)
        return shard


@dataclass(frozen=True)
class _Opened:
    array: AsyncArray[Any]
    direct: ShardLayout | None
    scale: Scale | None


async def _open_one(location: Location, video: str, name: str) -> _Opened:
    array = await open_checked(location, video, name)
    path = f"{group_path(video)}/{name}"
    return _Opened(array, shard_layout(location, path, array), Scale.of(array.attrs))
