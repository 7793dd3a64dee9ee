"""One video of a store, opened for drawing and export: its arrays, their items, and their times."""

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
from foveal.storage.kinds import select_arrays
from foveal.storage.marks import infos_of
from foveal.storage.reader import Store

T = TypeVar("T")

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "frames": {"kind": "picture"},
    "flow": {"kind": "flow"},
    "fixations": {"kind": "points"},
    "density": {"kind": "map", "role": "ground_truth"},
}
"""What a preview should show, by section of the recipe, and the arrays that show it."""


@dataclass(frozen=True)
class Moment:
    """The items of one frame.

    Attributes
    ----------
    frame : int
        Frame number, counted from 0.
    items : mapping of str to ndarray
        Items by array name. An array without an item of this frame is not in it, such as flow at
        the last frame.
    """

    frame: int
    items: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Points:
    """Points that a stage keeps by frame: ``<name>_offset``, ``_x``, ``_y``, maybe ``_subject``.

    Attributes
    ----------
    arrays : tuple of str
        The arrays that hold them.
    offset : ndarray, int64 [frames + 1]
        Points of frame k are rows ``offset[k]`` to ``offset[k + 1] - 1``.
    x, y : ndarray, float32 [n]
        Pixels of the source video, counted from 0.
    subject : ndarray, int16 [n]
        Index into `subjects`; zeros where the observer is not known.
    subjects : tuple of str
        Observer ids.
    """

    arrays: tuple[str, ...]
    offset: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    subject: NDArray[np.int16]
    subjects: tuple[str, ...]

    def rows(self, start: int, stop: int) -> slice:
        """Select the rows of the points of frames `start` to `stop` - 1."""
        return slice(int(self.offset[start]), int(self.offset[stop]))


def sample(items: Sequence[T], most: int) -> list[T]:
    """Choose up to `most` of `items`, evenly spaced, including the first and the last."""
    places = np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int)
    return [items[place] for place in places]


class VideoView:
    """The complete arrays of a video.

    Parameters
    ----------
    store : Store
    video : str
        Id of the video.

    Attributes
    ----------
    infos : dict of str to ArrayInfo
        Description of each complete array, by name.
    untrained : list of str
        Stages that a network with random weights computed.
    frames : int
        Length of the timeline.
    seconds : ndarray, float64 [frames]
        Presentation times.
    about : dict
        ``split``, ``fps``, ``source_size`` [height, width], ``source_file``.

    Raises
    ------
    StoreError
        There is no such video, or nothing of it is complete.
    FovealError
        Its timeline is not complete, or it has no frames.
    """

    def __init__(self, store: Store, video: str) -> None:
        self._store = store
        self.video = video
        marks = store.marks(video)
        self._marks = marks
        self.infos = infos_of(marks)
        self.untrained = sorted(mark.stage for mark in marks.values() if mark.random_weights)
        timeline = next(iter(self.select(role="timeline")), None)
        if timeline is None:
            raise FovealError(
                f"{store.location}: the timeline of video {video!r} is not complete yet; "
                "build it first, then the video can be shown"
            )
        stage = self.infos[timeline].stage
        self.about: dict[str, Any] = dict(marks[stage].provenance["video"])
        self._open: dict[str, zarr.Array[Any]] = {}
        self._held: dict[str, tuple[int, NDArray[Any]]] = {}
        self.seconds: NDArray[np.float64] = np.asarray(self.array(timeline)[:])
        self.frames = len(self.seconds)
        if not self.frames:
            raise FovealError(f"{store.location}: video {video!r} has no frames")

    def select(
        self, kind: str | None = None, *, axis: str | None = None, role: str | None = None
    ) -> list[str]:
        """List the names of the arrays of a `kind`, an `axis` or a `role`, sorted."""
        return select_arrays(self.infos.values(), kind, axis=axis, role=role)

    @cached_property
    def ground(self) -> str | None:
        """Array of the pictures that maps and points are drawn on; None where there is none."""
        pictures = self.select("picture", axis="frame")
        return next((name for name in pictures if self.infos[name].dtype == "uint8"), None)

    @cached_property
    def ground_truth_map(self) -> str | None:
        """Array of the ground truth map, the first by name; None where there is none."""
        return next(iter(self.select("map", axis="frame", role="ground_truth")), None)

    def parameters(self, name: str) -> Mapping[str, Any]:
        """Give the parameters of the stage that made the array `name`."""
        found: Any = self._marks[self.infos[name].stage].provenance.get("parameters", {})
        return found if isinstance(found, Mapping) else {}

    def is_by_frame(self, name: str) -> bool:
        """Whether item k of the array `name` belongs to frame k (a pair to its first frame)."""
        info = self.infos[name]
        by_axis = info.axis in ("frame", "pair")
        return by_axis and info.items == info.items_expected(self.frames)

    def is_of_kept_frames(self, name: str) -> bool:
        """Whether the array `name` has items of some frames only, whose numbers are stored."""
        info = self.infos[name]
        return info.axis == "frame" and info.source_frames in self.infos and info.items > 0

    def first_frames(self, name: str) -> NDArray[np.int64] | None:
        """Find the first frame of each item of the array `name`; None where it is not stored."""
        info = self.infos[name]
        if self.is_by_frame(name):
            return np.arange(info.items)
        if info.offset in self.infos:
            counts = np.diff(np.asarray(self.array(info.offset)[:]))
            return np.repeat(np.arange(len(counts)), counts)
        starts = info.starts or info.source_frames
        return np.asarray(self.array(starts)[:], np.int64) if starts in self.infos else None

    @property
    def source_size(self) -> tuple[int, int]:
        """Size of the source video: (height, width) in pixels."""
        height, width = self.about["source_size"]
        return int(height), int(width)

    @property
    def length(self) -> str:
        """Frames, rate, seconds and size in a line for people."""
        height, width = self.source_size
        return (
            f"{self.frames:,} frames · {self.about['fps']:.4g} fps · "
            f"{self.frames / self.about['fps']:.1f} s · {width}×{height}"
        )

    @cached_property
    def points(self) -> dict[str, Points]:
        """Points by the stage that made them."""
        columns: dict[str, dict[str, str]] = {}
        for axis in ("point", "frame_plus_1"):
            for name in self.select(axis=axis):
                columns.setdefault(self.infos[name].stage, {})[name.rpartition("_")[2]] = name
        return {
            stage: self._points(names)
            for stage, names in columns.items()
            if {"offset", "x", "y"} <= names.keys()
        }

    def _points(self, names: Mapping[str, str]) -> Points:
        offset, x, y = (np.asarray(self.array(names[each])[:]) for each in ("offset", "x", "y"))
        subject: NDArray[np.int16] = np.zeros(len(x), np.int16)
        subjects: tuple[str, ...] = ("all",)
        if "subject" in names:
            subject = np.asarray(self.array(names["subject"])[:])
            given: Any = self.array(names["subject"]).attrs.get("subjects", ())
            there = range(int(subject.max(initial=-1)) + 1)
            subjects = tuple(map(str, given or there))
        return Points(tuple(names.values()), offset, x, y, subject, subjects)

    @property
    def missing(self) -> dict[str, str]:
        """Reasons why something is not there that could be shown, by section of the recipe."""
        return {
            section: "the recipe asks for it, but it is not complete for this video"
            if self._store.recipe.get(section)
            else "not in the recipe"
            for section, looked_for in SECTIONS.items()
            if not self.select(**looked_for)
        }

    def array(self, name: str) -> zarr.Array[Any]:
        """Open the complete array `name`."""
        if name not in self._open:
            self._open[name] = read_array(self._store.location, self.video, name)
        return self._open[name]

    def read(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read items `start` to `stop` - 1 of the array `name`; scaled integers become float32."""
        array = self.array(name)
        return physical(np.asarray(array[start:stop]), Scale.of(array.attrs))

    def moments(self, names: Sequence[str], frames: Sequence[int]) -> Iterator[Moment]:
        """Read the items of the arrays `names` at `frames`; ascending frames read a chunk once.

        Of an array of kept frames, a frame gets the latest item that is not after it.
        """
        kept = {name: self._kept(name) for name in names if self.is_of_kept_frames(name)}
        step = min((self.array(name).chunks[0] for name in names), default=1)
        at = 0
        while at < len(frames):
            block = frames[at] // step
            stop = at + 1
            while stop < len(frames) and frames[stop] // step == block:
                stop += 1
            first, last = min(frames[at:stop]), max(frames[at:stop])
            values = {name: self.read(name, first, last + 1) for name in names if name not in kept}
            for frame in frames[at:stop]:
                row = frame - first
                items = {n: v[row] for n, v in values.items() if row < len(v)}
                yield Moment(frame, items | {n: self._latest(n, k, frame) for n, k in kept.items()})
            at = stop

    def _kept(self, name: str) -> NDArray[np.int64]:
        return np.asarray(self.array(str(self.infos[name].source_frames))[:], np.int64)

    def _latest(self, name: str, kept: NDArray[np.int64], frame: int) -> NDArray[Any]:
        item = max(0, int(kept.searchsorted(frame, side="right")) - 1)
        if self._held.get(name, (-1,))[0] != item:
            self._held[name] = (item, self.read(name, item, item + 1)[0])
        return self._held[name][1]

    def sound(self, frames: Sequence[int]) -> tuple[NDArray[np.float32], int] | None:
        """Read the sound of consecutive `frames`: samples and rate in Hz; None without sound."""
        waveforms = self.select("waveform", axis="sample")
        name = next((each for each in waveforms if self.infos[each].offset in self.infos), None)
        if name is None or (np.diff(frames) != 1).any():
            return None
        rate_hz = self.array(name).attrs.get("rate_hz")
        offset = np.asarray(self.array(str(self.infos[name].offset))[:])
        first, last = int(offset[frames[0]]), int(offset[frames[-1] + 1])
        if not isinstance(rate_hz, int) or first == last:
            return None
        return self.read(name, first, last).astype(np.float32, copy=False), rate_hz

    def checked(self, frames: Sequence[int]) -> list[int]:
        """Return `frames` where the video has all of them; else raise FovealError."""
        wrong = [frame for frame in frames if not 0 <= frame < self.frames]
        if wrong or not len(frames):
            raise FovealError(
                f"video {self.video!r} has frames 0 to {self.frames - 1}, "
                f"not {', '.join(map(str, wrong[:5])) or 'none'}"
            )
        return [int(frame) for frame in frames]

    def spread(self, count: int) -> list[int]:
        """Choose up to `count` frames, evenly spaced over the video."""
        count = min(count, self.frames)
        return [int((2 * n + 1) * self.frames / (2 * count)) for n in range(count)]
