"""One video of a store as pictures need it: which arrays are there, when, and their items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import zarr
from numpy.typing import NDArray

from foveal.errors import FovealError
from foveal.storage.arrays import read_array
from foveal.storage.cf import Scale, physical
from foveal.storage.reader import Store

T = TypeVar("T")

SECTIONS = ("frames", "flow", "fixations", "density")
"""What can be seen of a video, by the recipe's sections."""


@dataclass(frozen=True)
class Moment:
    """One frame's items.

    Attributes
    ----------
    frame : int
    items : mapping of str to ndarray
        By array name; an array that has nothing for this frame (no flow leaves the last one) is
        not in it.
    """

    frame: int
    items: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Points:
    """Fixated points of a video, sorted by frame.

    Attributes
    ----------
    offset : ndarray, int64 [frames + 1]
        Points of frame k are rows ``offset[k]`` to ``offset[k + 1] - 1``.
    x, y : ndarray, float32 [n]
        0-based pixels of the source video.
    subject : ndarray, int16 [n]
        Index into `subjects`.
    subjects : tuple of str
        The observers' names.
    """

    offset: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    subject: NDArray[np.int16]
    subjects: tuple[str, ...]


def sample(items: Sequence[T], most: int) -> list[T]:
    """Up to `most` of some items, evenly spread, the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int)
    return [items[place] for place in places]


class VideoView:
    """A video's complete arrays, opened for looking.

    Parameters
    ----------
    store : Store
    video : str

    Attributes
    ----------
    dims : dict of str to tuple of str
        Dimension names of its complete arrays.
    names : list of str
        Those arrays' names.
    flows : list of str
        Those that are optical flow.
    frames : int
        Length of the timeline.
    seconds : ndarray, float64 [frames]
        Presentation times.
    about : dict
        ``split``, ``fps``, ``source_size`` [height, width], ``source_file``.

    Raises
    ------
    StoreError
        Where there is no such video, or nothing of it is complete.
    """

    def __init__(self, store: Store, video: str) -> None:
        self._store = store
        self.video = video
        self._marks = store.marks(video)
        if "time" not in self._marks:
            raise FovealError(
                f"{store.location}: the timeline of video {video!r} is not complete yet; "
                "nothing can be shown of it before"
            )
        self.dims = {
            name: tuple(map(str, about["dims"]))
            for mark in self._marks.values()
            for name, about in mark.arrays.items()
        }
        self.names = list(self.dims)
        self.flows = sorted(name for name in self.names if name.startswith("flow_"))
        self.about: dict[str, Any] = dict(self._marks["time"].provenance["video"])
        self._open: dict[str, zarr.Array[Any]] = {}
        self.seconds: NDArray[np.float64] = np.asarray(self.array("time")[:])
        self.frames = len(self.seconds)
        if not self.frames:
            raise FovealError(f"{store.location}: video {video!r} has no frames")

    @property
    def source_size(self) -> tuple[int, int]:
        """(height, width) of the source video in pixels."""
        height, width = self.about["source_size"]
        return int(height), int(width)

    @property
    def length(self) -> str:
        """Length for people: frames, rate, seconds, size."""
        height, width = self.source_size
        return (
            f"{self.frames:,} frames · {self.about['fps']:.4g} fps · "
            f"{self.frames / self.about['fps']:.1f} s · {width}×{height}"
        )

    @cached_property
    def points(self) -> Points | None:
        """Fixations, None where they are not complete."""
        if "fixations" not in self._marks:
            return None
        subjects: Any = self.array("fixation_subject").attrs["subjects"]
        offset, x, y, subject = (
            np.asarray(self.array(f"fixation_{name}")[:])
            for name in ("offset", "x", "y", "subject")
        )
        return Points(offset, x, y, subject, tuple(map(str, subjects)))

    @property
    def missing(self) -> dict[str, str]:
        """Why something that could be shown is not there, by section of the recipe."""
        found = {}
        present = {name.split("_")[0] for name in self._marks}
        for section in SECTIONS:
            if section not in present:
                wanted = self._store.recipe.get(section)
                found[section] = (
                    "the recipe asks for it, but it is not complete for this video"
                    if wanted
                    else "not in the recipe"
                )
        return found

    def array(self, name: str) -> zarr.Array[Any]:
        """A complete array by name."""
        if name not in self._open:
            self._open[name] = read_array(self._store.location, self.video, name)
        return self._open[name]

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Items of an array in physical values: those stored as scaled integers are float32."""
        array = self.array(name)
        values = np.asarray(array[start:stop])
        return physical(values, Scale.of(array.attrs))

    def moments(self, names: Sequence[str], frames: Sequence[int]) -> Iterator[Moment]:
        """Items of some arrays at some frames, each chunk read once where `frames` ascend."""
        step = min((self.array(name).chunks[0] for name in names), default=1)
        at = 0
        while at < len(frames):
            block = frames[at] // step
            stop = at + 1
            while stop < len(frames) and frames[stop] // step == block:
                stop += 1
            first, last = min(frames[at:stop]), max(frames[at:stop])
            values = {name: self.read(name, first, last + 1) for name in names}
            for frame in frames[at:stop]:
                row = frame - first
                yield Moment(frame, {n: v[row] for n, v in values.items() if row < len(v)})
            at = stop

    def checked(self, frames: Sequence[int]) -> list[int]:
        """These frames, where the video has them all.

        Raises
        ------
        FovealError
            Naming those that it has not.
        """
        wrong = [frame for frame in frames if not 0 <= frame < self.frames]
        if wrong or not len(frames):
            raise FovealError(
                f"video {self.video!r} has frames 0 to {self.frames - 1}, "
                f"not {', '.join(map(str, wrong[:5])) or 'none'}"
            )
        return [int(frame) for frame in frames]

    def spread(self, count: int) -> list[int]:
        """Up to `count` frames spread evenly over the video."""
        count = min(count, self.frames)
        return [int((2 * n + 1) * self.frames / (2 * count)) for n in range(count)]
