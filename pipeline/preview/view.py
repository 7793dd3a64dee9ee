"""One video of a store as pictures and files need it: its arrays, their items, and their times."""

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
"""What a preview says is missing, by the recipe's sections, and by which arrays it is there."""


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
    """Points that a stage keeps by frame: ``<name>_offset``, ``_x``, ``_y``, maybe ``_subject``.

    Attributes
    ----------
    arrays : tuple of str
        The arrays that hold them.
    offset : ndarray, int64 [frames + 1]
        Points of frame k are rows ``offset[k]`` to ``offset[k + 1] - 1``.
    x, y : ndarray, float32 [n]
        0-based pixels of the source video.
    subject : ndarray, int16 [n]
        Index into `subjects`; zeros where observers are not told apart.
    subjects : tuple of str
        The observers' names.
    """

    arrays: tuple[str, ...]
    offset: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    subject: NDArray[np.int16]
    subjects: tuple[str, ...]

    def rows(self, start: int, stop: int) -> slice:
        """Rows of the points of frames ``start … stop - 1``."""
        return slice(int(self.offset[start]), int(self.offset[stop]))


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
    infos : dict of str to ArrayInfo
        What each complete array is, by name.
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
        Where there is no such video, or nothing of it is complete.
    FovealError
        Where its timeline is not complete, or it has no frames.
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
                "nothing can be shown of it before"
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
        """Names of the arrays of a kind, an axis or a role, sorted."""
        return select_arrays(self.infos.values(), kind, axis=axis, role=role)

    @cached_property
    def ground(self) -> str | None:
        """The pictures that other things lie upon; None where no pictures are stored."""
        pictures = self.select("picture", axis="frame")
        return next((name for name in pictures if self.infos[name].dtype == "uint8"), None)

    @cached_property
    def ground_truth_map(self) -> str | None:
        """The map of where people looked, the first by name; None where none is stored."""
        return next(iter(self.select("map", axis="frame", role="ground_truth")), None)

    def parameters(self, name: str) -> Mapping[str, Any]:
        """Parameters of the stage that made an array."""
        found: Any = self._marks[self.infos[name].stage].provenance.get("parameters", {})
        return found if isinstance(found, Mapping) else {}

    def is_by_frame(self, name: str) -> bool:
        """Whether item k of an array belongs to frame k (a pair belongs to its first frame)."""
        info = self.infos[name]
        by_axis = info.axis in ("frame", "pair")
        return by_axis and info.items == info.items_expected(self.frames)

    def is_of_kept_frames(self, name: str) -> bool:
        """Whether items are of some frames only, whose numbers are known."""
        info = self.infos[name]
        return info.axis == "frame" and info.source_frames in self.infos and info.items > 0

    def first_frames(self, name: str) -> NDArray[np.int64] | None:
        """Frame that each item of an array begins with; None where the array does not say it."""
        info = self.infos[name]
        if self.is_by_frame(name):
            return np.arange(info.items)
        if info.offset in self.infos:
            counts = np.diff(np.asarray(self.array(info.offset)[:]))
            return np.repeat(np.arange(len(counts)), counts)
        told_by = info.starts or info.source_frames
        return np.asarray(self.array(told_by)[:], np.int64) if told_by in self.infos else None

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
    def points(self) -> dict[str, Points]:
        """Points by the stage that keeps them."""
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
        """Why something that could be shown is not there, by section of the recipe."""
        return {
            section: "the recipe asks for it, but it is not complete for this video"
            if self._store.recipe.get(section)
            else "not in the recipe"
            for section, looked_for in SECTIONS.items()
            if not self.select(**looked_for)
        }

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
        """Items of some arrays at some frames, each chunk read once where `frames` ascend.

        Of an array of kept frames, a frame has the latest item that is not after it.
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
        """Samples of a run of frames and their rate; None without sound, or where frames jump."""
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
