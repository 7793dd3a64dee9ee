"""This module shows many videos as one lazy array, for dask on one machine or on a cluster.

dask reads the way `foveal.torch.Clips` does: a slice reads only the chunks that it needs, and
the slices of a batch are read together, in one task.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from numpy.typing import NDArray

from foveal.errors import StoreError
from foveal.storage.cf import Scale
from foveal.storage.location import Location
from foveal.storage.marks import Mark
from foveal.storage.slices import Gatherer, Slice

if TYPE_CHECKING:
    from foveal.storage.reader import Store

_READERS_PER_THREAD = 8
_OPEN = threading.local()


@dataclass(frozen=True)
class Joined:
    """One array of many videos end to end, which dask slices and sends to its workers.

    Attributes
    ----------
    location : Location
    name : str
    token : str
        Hash of the fingerprints, so that an array built anew is opened anew.
    videos : tuple of str
        Ids, in order.
    first : tuple of int
        Number of each video's first item in the whole, and at the end the number of all items.
    item_shape : tuple of int
    dtype : numpy dtype
        Of physical values.
    """

    location: Location
    name: str
    token: str
    videos: tuple[str, ...]
    first: tuple[int, ...]
    item_shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole: all items, then the sides of one item."""
        return self.first[-1], *self.item_shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return items by a slice, a number or an array of numbers, cut by the other indices."""
        leading, *others = key if isinstance(key, tuple) else (key,)
        span = leading.indices(self.first[-1]) if isinstance(leading, slice) else None
        numbers = leading if span is None else np.arange(*span)
        wanted = np.atleast_1d(np.asarray(numbers, np.int64))
        sorted_once, place = np.unique(wanted, return_inverse=True)
        # A run of consecutive items is one slice.
        ends = np.flatnonzero(np.diff(sorted_once) != 1) + 1
        runs = [run for run in np.split(sorted_once, ends) if len(run)]
        parts = self.read([part for run in runs for part in self._slices(run[0], run[-1] + 1)])
        if not parts:
            values = np.empty((0, *self.item_shape), self.dtype)
        else:
            values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if len(wanted) != len(values) or (np.diff(place) != 1).any():
            values = values[place]
        return np.asarray(values[(0 if np.ndim(numbers) == 0 else slice(None), *others)])

    def read(self, slices: Sequence[Slice]) -> list[NDArray[Any]]:
        """Read several slices together, each as its own array [items, …]."""
        values: list[NDArray[Any]] = self._reader().read(slices)
        return values

    def read_alike(self, slices: Sequence[Slice]) -> NDArray[Any]:
        """Read equally long slices as one array [n, items, …], if possible without a copy."""
        rows: list[tuple[NDArray[Any], int]] = self._reader().read(slices, rows=_numbered)
        first = rows[0][0]
        if len(first) == len(rows) and all(
            whole is first and n == place for place, (whole, n) in enumerate(rows)
        ):
            return first
        return np.stack([whole[n] for whole, n in rows])

    def _reader(self) -> Gatherer:
        """Return this thread's reader: dask unpickles a new `Joined` for every task."""
        readers: OrderedDict[tuple[str, str], Gatherer]
        readers = _OPEN.__dict__.setdefault("readers", OrderedDict())
        key = (self.location.url, self.token)
        if key not in readers:
            readers[key] = Gatherer(self.location)
        readers.move_to_end(key)
        while len(readers) > _READERS_PER_THREAD:
            readers.popitem(last=False)
        return readers[key]

    def _slices(self, start: int, stop: int) -> list[Slice]:
        begin = int(np.searchsorted(self.first, start, side="right")) - 1
        end = int(np.searchsorted(self.first, stop, side="left"))
        return [
            Slice(
                self.videos[n],
                self.name,
                max(start, self.first[n]) - self.first[n],
                min(stop, self.first[n + 1]) - self.first[n],
            )
            for n in range(begin, end)
            if self.first[n + 1] > self.first[n]
        ]


def _numbered(together: NDArray[Any]) -> list[tuple[NDArray[Any], int]]:
    return [(together, row) for row in range(len(together))]


def concatenated(store: Store, name: str, videos: Sequence[str]) -> xr.DataArray:
    """Return one array of these videos end to end; see `Store.lazy`."""
    joined, stages = _join(store, name, videos)
    lengths = np.diff(joined.first)
    about = next(iter(stages.values())).arrays[name]
    shard = store.array(joined.videos[0], name)
    step = (shard.shards or shard.chunks)[0]
    leading = [
        part
        for length in lengths.tolist()
        for part in ([step] * (length // step) + [length % step] * bool(length % step) or [0])
    ]
    values: Any = da.from_array(  # type: ignore[no-untyped-call]
        joined,
        chunks=(tuple(leading), *((side,) for side in joined.item_shape)),
        name=f"{name}-{joined.token}",
        meta=np.empty((0,) * joined.ndim, joined.dtype),
    )
    along = about["dims"][0]
    return xr.DataArray(
        values,
        dims=about["dims"],
        coords={
            "video": (along, np.repeat(np.array(joined.videos, dtype=str), lengths)),
            "index_in_video": (along, np.concatenate([np.arange(n) for n in lengths])),
        },
        name=name,
        attrs={**_attributes(shard), "left_out": [v for v in videos if v not in stages]},
    )


def clips_of(
    store: Store, name: str, clips: Sequence[tuple[str, int]], items: int, batch: int
) -> xr.DataArray:
    """Return clips of one array, one dask chunk per batch; see `Store.lazy`."""
    if items < 1 or batch < 1 or not len(clips):
        raise StoreError(
            f"{len(clips)} clips of {items} items, {batch} per batch: each must be at least 1"
        )
    joined, stages = _join(store, name, list(dict.fromkeys(video for video, _ in clips)))
    place = {video: n for n, video in enumerate(joined.videos)}
    for video, start in clips:
        if video not in place:
            raise StoreError(f"{store.location}: video {video!r} has no complete array {name!r}")
        there = joined.first[place[video] + 1] - joined.first[place[video]]
        if not 0 <= start <= there - items:
            raise StoreError(
                f"{store.location}: {name} of {video} has {there} items: a clip of {items} items "
                f"cannot begin at {start}"
            )
    table = np.array([(place[video], start) for video, start in clips], np.int64)
    numbers: Any = da.from_array(table, chunks=(batch, 2))  # type: ignore[no-untyped-call]
    values = numbers.map_blocks(
        _read_clips,
        joined,
        items,
        dtype=joined.dtype,
        drop_axis=1,
        new_axis=list(range(1, 1 + joined.ndim)),
        chunks=(numbers.chunks[0], items, *joined.item_shape),
        meta=np.empty((0,) * (1 + joined.ndim), joined.dtype),
    )
    about = next(iter(stages.values())).arrays[name]
    return xr.DataArray(
        values,
        dims=("clip", *about["dims"]),
        coords={
            "video": ("clip", np.array([video for video, _ in clips], dtype=str)),
            "start": ("clip", table[:, 1]),
        },
        name=name,
        attrs=_attributes(store.array(joined.videos[0], name)),
    )


def _read_clips(table: NDArray[np.int64], joined: Joined, items: int) -> NDArray[Any]:
    """Read clips [n, items, …]; each row of the table holds a video's number and a first item."""
    slices = [
        Slice(joined.videos[video], joined.name, start, start + items)
        for video, start in table.tolist()
    ]
    return joined.read_alike(slices)


def _join(store: Store, name: str, videos: Sequence[str]) -> tuple[Joined, Mapping[str, Mark]]:
    """Return the videos that have an array of one size, and the marks of its stage by video."""
    marks = store.journal(videos)
    stages = {
        video: mark
        for video in videos
        for mark in marks.get(video, {}).values()
        if name in mark.arrays
    }
    if not stages:
        there = sorted(
            {array for group in marks.values() for mark in group.values() for array in mark.arrays}
        )
        raise StoreError(
            f"{store.location}: none of these {len(videos)} videos has a complete array {name!r}; "
            f"there are {', '.join(there) or 'none at all'}"
        )
    kinds: dict[tuple[Any, ...], str] = {}
    for video, mark in stages.items():
        about = mark.arrays[name]
        kinds.setdefault((*about["shape"][1:], about["dtype"]), video)
    if len(kinds) > 1:
        sizes = "; ".join(f"{video}: {kind}" for kind, video in list(kinds.items())[:4])
        raise StoreError(
            f"{store.location}: {name} differs in size or dtype between videos ({sizes}); "
            "choose videos of one size, or read them one by one"
        )
    array = store.array(next(iter(stages)), name)
    lengths = [int(mark.arrays[name]["shape"][0]) for mark in stages.values()]
    scaled = Scale.of(array.attrs) is not None
    joined = Joined(
        store.location,
        name,
        tokenize(str(store.location), name, [(v, m.fingerprint) for v, m in stages.items()]),
        tuple(stages),
        (0, *(int(end) for end in np.cumsum(lengths))),
        tuple(array.shape[1:]),
        np.dtype(np.float32) if scaled else np.dtype(array.dtype),
    )
    return joined, stages


def _attributes(array: Any) -> dict[str, Any]:
    return {key: value for key, value in array.attrs.items() if key in ("long_name", "units")}
