"""Reading many slices at once, for training: their chunks are fetched and decoded together.

zarr-python spends about half a millisecond of bookkeeping a chunk: nothing beside 16 frames of
video, much beside one window of features. Uncompressed arrays of local stores are therefore read in
place: the shard's own index says where items lie, and one system call brings them into the result.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
from numpy.typing import NDArray
from zarr.api.asynchronous import open_array
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec, ShardingCodecIndexLocation
from zarr.core.array import AsyncArray
from zarr.core.sync import sync
from zarr.storage import FsspecStore

from foveal.errors import ChecksumError, StoreError
from foveal.storage.location import Location
from foveal.storage.marks import group_name
from foveal.storage.reader import WholeStore
from foveal.storage.scale import Scale
from foveal.storage.schema import VIDEOS

_ARRAYS_OPEN = 1024
_SHARDS_OPEN = 128
_ABSENT = 2**64 - 1


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
        Where more than 0, whole shards are read and the latest kept decoded up to so many bytes:
        right for reading that stays among few shards, wrong for random access.
    """

    def __init__(self, location: Location, cache_bytes: int = 0) -> None:
        self._location = location
        self._cache_bytes = cache_bytes
        self._forget()

    def __reduce__(self) -> tuple[Any, ...]:
        return Gatherer, (self._location, self._cache_bytes)

    def read(self, slices: Sequence[Slice]) -> list[NDArray[Any]]:
        """Read them all.

        Returns
        -------
        list of ndarray
            The items of each slice, [stop - start, ...]; float32 where the array is stored as
            integers with a scale (CF ``scale_factor``), NaN where it has no value.

        Raises
        ------
        StoreError
            Where an array is gone because a build is replacing it.
        ChecksumError
            Where a shard is missing or damaged; its key is named.
        """
        if os.getpid() != self._pid:
            self._reopen()
        return self._read_cached(slices) if self._cache_bytes else self._read(slices)

    def _read(self, slices: Sequence[Slice]) -> list[NDArray[Any]]:
        arrays = self._open({(wanted.video, wanted.array) for wanted in slices})
        values: list[Any] = [None] * len(slices)
        encoded = []
        for n, wanted in enumerate(slices):
            opened = arrays[wanted.video, wanted.array]
            if opened.plain is None:
                encoded.append(n)
            else:
                values[n] = self._read_plain(opened.plain, wanted.start, wanted.stop)

        async def decode() -> list[Any]:
            return await asyncio.gather(
                *(
                    arrays[slices[n][:2]].array.getitem(slice(slices[n].start, slices[n].stop))
                    for n in encoded
                )
            )

        if encoded:
            for n, value in zip(encoded, sync(decode()), strict=True):
                values[n] = np.asarray(value)
        for n, wanted in enumerate(slices):
            scale = arrays[wanted[:2]].scale
            if scale is not None:
                values[n] = scale.decode(values[n])
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
        """A fork leaves connections and locks to its parent."""
        if isinstance(self._location.zarr, FsspecStore) and "://" in self._location.url:
            self._location = Location(self._location.url, read_only=True)
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._arrays: OrderedDict[tuple[str, str], _Opened] = OrderedDict()
        self._shards: OrderedDict[Path, _Shard] = OrderedDict()
        self._cache: OrderedDict[Slice, NDArray[Any]] = OrderedDict()

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

    def _read_plain(self, layout: _Plain, start: int, stop: int) -> NDArray[Any]:
        values = np.empty((stop - start, *layout.item_shape), layout.dtype)
        if not values.size:
            return values
        item_bytes = values[0].nbytes
        raw = values.reshape(len(values), -1).view(np.uint8)
        for chunk, first, last in layout.chunks(start, stop):
            shard = self._shard(layout, chunk // layout.chunks_a_shard)
            offset = shard.offsets[chunk % layout.chunks_a_shard]
            into = raw[first - start : last - start]
            if offset == _ABSENT:
                values[first - start : last - start] = layout.fill_value
            else:
                skipped = (first - chunk * layout.chunk_items) * item_bytes
                shard.read(int(offset) + skipped, into)
        return values

    def _shard(self, layout: _Plain, number: int) -> _Shard:
        path = layout.folder / "c" / "/".join([str(number), *["0"] * len(layout.item_shape)])
        shard = self._shards.get(path)
        if shard is None:
            shard = self._shards[path] = _Shard(path, layout)
            while len(self._shards) > _SHARDS_OPEN:
                self._shards.popitem(last=False)
        self._shards.move_to_end(path)
        return shard


@dataclass(frozen=True)
class _Opened:
    array: AsyncArray[Any]
    plain: _Plain | None
    scale: Scale | None


async def _open_one(location: Location, video: str, name: str) -> _Opened:
    path = f"{VIDEOS}/{group_name(video)}/{name}"
    try:
        array = await open_array(store=WholeStore(location), path=path, mode="r")
    except FileNotFoundError:
        raise StoreError(
            f"{location}: array {name!r} of video {video!r} is gone; a build may be replacing it: "
            "open the store again when it has ended"
        ) from None
    return _Opened(array, _plain_layout(location, path, array), Scale.of(array.attrs))


@dataclass(frozen=True)
class _Plain:
    """An uncompressed array in a local folder."""

    folder: Path
    item_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill_value: Any
    chunk_items: int
    chunks_a_shard: int
    index_at_end: bool

    def chunks(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Chunk number, first item and end of each piece of a range."""
        for chunk in range(start // self.chunk_items, -(-stop // self.chunk_items)):
            first = chunk * self.chunk_items
            yield chunk, max(first, start), min(first + self.chunk_items, stop)


def _plain_layout(location: Location, path: str, array: AsyncArray[Any]) -> _Plain | None:
    """The layout of an array that can be read in place, None where it takes decoding."""
    codecs = array.metadata.codecs  # type: ignore[union-attr]
    if location.local is None or len(codecs) != 1 or not isinstance(codecs[0], ShardingCodec):
        return None
    sharding = codecs[0]
    native = array.dtype.itemsize == 1 or sys.byteorder == "little"
    inner, index = sharding.codecs, sharding.index_codecs
    if not (
        native
        and len(inner) == 1
        and isinstance(inner[0], BytesCodec)
        and (inner[0].endian is None or inner[0].endian.value == "little")
        and len(index) == 2
        and isinstance(index[0], BytesCodec)
        and isinstance(index[1], Crc32cCodec)
        and tuple(sharding.chunk_shape[1:]) == tuple(array.shape[1:])
    ):
        return None
    return _Plain(
        location.local / path,
        tuple(array.shape[1:]),
        array.dtype,
        array.metadata.fill_value,
        sharding.chunk_shape[0],
        array.metadata.chunk_grid.chunk_shape[0] // sharding.chunk_shape[0],  # type: ignore[union-attr]
        sharding.index_location is ShardingCodecIndexLocation.end,
    )


class _Shard:
    """A shard open for reading, its index read and checked."""

    def __init__(self, path: Path, layout: _Plain) -> None:
        self._path = path
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
        self.offsets = np.frombuffer(index, "<u8").reshape(-1, 2)[:, 0].tolist()

    def read(self, offset: int, into: NDArray[np.uint8]) -> None:
        if os.preadv(self._file, [into.data], offset) != into.nbytes:
            raise self._damaged()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def _damaged(self) -> ChecksumError:
        return ChecksumError(
            f"{self._path} is damaged; `foveal verify` lists everything that is, "
            "and a build with repair mends it"
        )
