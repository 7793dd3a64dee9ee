"""What stages read, in step with the frames: the decode and arrays that are complete already."""

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
    """Batches of all inputs, read in a thread that runs ahead by a few.

    Items of stored arrays come as soon as the frames that they need have come; those whose axis
    counts something else (windows, points), and sound, after the last frame.

    Parameters
    ----------
    location : Location
    video : str
    wanted : collection of str
        Inputs that are read: of `DECODE`, `FRAMES` and `AUDIO`, those that are in it are brought.
    stored : iterable of ArrayInfo
        Complete arrays that are read.
    frames : int
        Length of the timeline; counts only where nothing is decoded.
    decode, listen : callable
        Start the decode of frames and of sound; called where any stage reads them.
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
    """A complete array, read from its beginning to its end."""

    def __init__(self, array: zarr.Array[Any], info: ArrayInfo) -> None:
        self._array, self._info = array, info
        self._scale = Scale.of(array.attrs)
        self._step = (array.shards or array.chunks)[0]
        self._at = 0

    def until(self, frames: int | None) -> Iterator[tuple[str, Batch, int]]:
        """What is new once so many frames have come; the whole rest for None."""
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
