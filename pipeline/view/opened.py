"""Videos that the viewer has open, and a cache of the chunks that were decoded last."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from foveal.errors import StoreError
from foveal.pipeline.preview.view import VideoView
from foveal.storage.location import Location
from foveal.storage.reader import Store
from foveal.storage.slices import Gatherer, Slice

T = TypeVar("T")

_VIDEOS_OPEN = 16
_DECODED_BYTES = 192 * 2**20


class Changed(StoreError):
    """A build has replaced arrays of the video since the page asked for its manifest."""


class Latest(Generic[T]):
    """A cache of the latest values up to a total size, for several threads.

    Parameters
    ----------
    most : int
        Largest sum of the sizes of all values.
    size : callable
        Gives the size of a value; by default each value counts 1.
    """

    def __init__(self, most: int, size: Callable[[T], int] = lambda value: 1) -> None:
        self._most, self._size = most, size
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of `key`; call `make` where there is none."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        self.put(key, value)
        return value

    def put(self, key: Hashable, value: T) -> None:
        """Keep `value` for `key` in place of a former one."""
        with self._lock:
            if key in self._kept:
                self._held -= self._size(self._kept.pop(key))
            self._kept[key] = value
            self._held += self._size(value)
            while self._held > self._most and len(self._kept) > 1:
                self._held -= self._size(self._kept.popitem(last=False)[1])

    def peek(self, key: Hashable) -> T | None:
        """Return the value of `key`; None where there is none."""
        with self._lock:
            return self._kept.get(key)


class Video:
    """A video at one version of its arrays.

    Parameters
    ----------
    view : VideoView
    version : str
        Text that changes whenever a stage of the video is computed again or becomes complete.
    location : Location
    """

    def __init__(self, view: VideoView, version: str, location: Location) -> None:
        self.view, self.version = view, version
        self._results: Latest[Any] = Latest(4000)
        self._gatherer = Gatherer(location)
        self._gathering = threading.Lock()

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the small result of `key` for this version; the first call uses `make`."""
        value: T = self._results.get(key, make)
        return value

    def read_many(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read items `start` to `stop` - 1 of the array `name`, quickly and without a cache."""
        with self._gathering:
            (values,) = self._gatherer.read([Slice(self.view.video, name, start, stop)])
        return np.asarray(values)


class OpenVideos:
    """Videos of a store, opened on demand.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._videos: Latest[Video] = Latest(_VIDEOS_OPEN)
        self._decoded: Latest[NDArray[Any]] = Latest(_DECODED_BYTES, lambda part: part.nbytes)

    def current(self, video: str) -> Video:
        """Open the video of the id `video` as the store has it now.

        Raises
        ------
        StoreError, FovealError
            There is no such video, or its timeline is not complete.
        """
        version = self._version(video)
        kept = self._videos.peek(video)
        if kept is None or kept.version != version:
            kept = Video(VideoView(self.store, video), version, self.store.location)
            self._videos.put(video, kept)
        return kept

    def at(self, video: str, version: str) -> Video:
        """Return the video of the id `video` at the `version` that the page knows.

        Raises
        ------
        Changed
            A build has replaced something since.
        """
        kept = self._videos.peek(video)
        if kept is None or kept.version != version:
            kept = self.current(video)
        if kept.version != version:
            raise Changed(f"video {video!r} has changed; the page loads it again")
        return kept

    def read(self, video: Video, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read items `start` to `stop` - 1 of the array `name` of `video`; keep whole chunks."""
        view = video.view
        items, step = view.infos[name].items, view.array(name).chunks[0]
        parts = []
        for chunk in range(start // step, -(-min(stop, items) // step)):
            first, last = chunk * step, min(items, (chunk + 1) * step)

            def decode(first: int = first, last: int = last) -> NDArray[Any]:
                return view.read(name, first, last)

            part = self._decoded.get((view.video, video.version, name, chunk), decode)
            parts.append(part[max(0, start - first) : stop - first])
        empty = np.empty((0, *view.infos[name].item_shape), view.infos[name].dtype)
        return np.concatenate(parts) if parts else empty

    def _version(self, video: str) -> str:
        marks = self.store.marks(video)
        prints = {stage: mark.fingerprint for stage, mark in sorted(marks.items())}
        times = [str(mark.provenance.get("completed_at", "")) for mark in marks.values()]
        content = json.dumps([str(self.store.location), prints, sorted(times)])
        return hashlib.sha256(content.encode()).hexdigest()[:16]
