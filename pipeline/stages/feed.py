"""This module reads the input of stages, in step with the frames: the decode and stored arrays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import zarr

from foveal.pipeline.stages.base import AUDIO, DECODE, FRAMES
from foveal.pipeline.stages.threads import ahead
from foveal.pipeline.stages.write import Batch, Batches
from foveal.pipeline.video.types import ArrayBatch, AudioBatch, FrameBatch
from foveal.storage.arrays import read_array
from foveal.storage.cf import Scale
from foveal.storage.kinds import ArrayInfo
from foveal.storage.location import Location

_BATCHES_AHEAD = 2
_STEP_FRAMES = 128


def feed(
    location: Location,
    video: str,
    wanted: Collection[str],
    stored: Iterable[ArrayInfo],
    frames: int,
    decode: Callable[[], Generator[FrameBatch, None, None]] | None = None,
    listen: Callable[[], Generator[AudioBatch, None, None]] | None = None,
) -> Batches:
    """Yield batches of all inputs; a thread reads a few of them in advance.

    Items of stored arrays come as soon as the frames that they need have come. Items whose axis
    counts something else (windows, points), and sound, come after the last frame.

    Parameters
    ----------
    location : Location
        Where the store is.
    video : str
        Id of the video.
    wanted : collection of str
        Names of the inputs that stages read; `DECODE`, `FRAMES` and `AUDIO` are decoded if named.
    stored : iterable of ArrayInfo
        Complete arrays that stages read.
    frames : int
        Length of the timeline; used only if nothing is decoded.
    decode, listen : callable
        Start to decode frames and sound; called only if a stage reads them.
    """
    names = [name for name in (DECODE, FRAMES) if name in wanted]
    arrays = [_Stored(read_array(location, video, info.name), info) for info in stored]

    def merged() -> Iterator[tuple[str, Batch, int]]:
        if names and decode is not None:
            with closing(decode()) as batches:
                for batch in batches:
                    for name in names:
                        yield name, batch, batch.stop
                    for array in arrays:
                        yield from array.until(batch.stop)
        else:
            for stop in (*range(_STEP_FRAMES, frames, _STEP_FRAMES), frames):
                for array in arrays:
                    yield from array.until(stop)
        for array in arrays:
            yield from array.until(None)
        if AUDIO in wanted and listen is not None:
            with closing(listen()) as sounds:
                for sound in sounds:
                    yield AUDIO, sound, 0

    return ahead(merged(), _BATCHES_AHEAD)


class _Stored:
    """Read a complete array from its beginning to its end."""

    def __init__(self, array: zarr.Array[Any], info: ArrayInfo) -> None:
        self._array, self._info = array, info
        self._scale = Scale.of(array.attrs)
        self._step = (array.shards or array.chunks)[0]
        self._at = 0

    def until(self, frames: int | None) -> Iterator[tuple[str, Batch, int]]:
        """Yield the items that are new once this many frames have come; for None, all the rest."""
        stop = self._array.shape[0]
        if frames is not None:
            ready = self._info.items_expected(frames)
            stop = min(stop, 0 if ready is None else ready)
        while self._at < stop:
            until = min(stop, self._at + self._step)
            values = np.asarray(self._array[self._at : until])
            batch = ArrayBatch(self._info.name, self._at, values, self._scale)
            self._at = until
            yield self._info.name, batch, frames or 0
