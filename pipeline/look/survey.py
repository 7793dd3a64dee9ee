"""What the report says of a store: stages as the marks tell, pictures from some videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError
from foveal.pipeline.look.panels import Picture, heat, resized
from foveal.pipeline.look.view import VideoView, sample
from foveal.storage.marks import Mark
from foveal.storage.reader import Store

CARDS = 48
"""Videos that get pictures and curves, at most."""

MOMENTS = 32
"""Frames of each such video that are read, at most."""

COVERED = 0.1
"""A place is covered where density exceeds this share of the frame's peak."""

_CARD_WIDTH_PX = 240
_BIAS_SIZE = (90, 160)
_SPEED_BINS = 40
_FLOW_POINTS = 4096


@dataclass
class StageSummary:
    """One stage over all videos.

    Attributes
    ----------
    name : str
    videos, frames : int
        Videos in which it is complete, and their length together.
    compute_seconds : float
        Spent computing, decoding and writing aside.
    stored_bytes : int
    devices : counter of str
        Videos by the device that computed them.
    parameters : list of dict
        Its settings; more than one entry where videos differ.
    """

    name: str
    videos: int = 0
    frames: int = 0
    compute_seconds: float = 0.0
    stored_bytes: int = 0
    devices: Counter[str] = field(default_factory=Counter)
    parameters: list[Mapping[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Card:
    """A video at a glance.

    Attributes
    ----------
    video : str
    caption : str
    picture : Picture or None
        A frame, and density upon it.
    seconds : list of float
        When the curves were sampled.
    curves : dict of str to list of float
        ``density`` (share of the picture that is covered) and each flow (mean magnitude, pixels).
    problem : str
        Why it could not be read; empty otherwise.
    """

    video: str
    caption: str
    picture: Picture | None = None
    seconds: list[float] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    problem: str = ""


@dataclass
class Sampled:
    """Statistics of a sample.

    Attributes
    ----------
    scope : str
        What they were computed on, for people.
    bias : ndarray, float64 [90, 160], or None
        Mean density, each frame weighing the same; stretched to one shape.
    speeds : dict of str to ndarray
        Magnitudes by flow array, pixels of its grid.
    points : list of int
        Fixated points of each frame.
    """

    scope: str = ""
    bias: NDArray[np.float64] | None = None
    speeds: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    points: list[int] = field(default_factory=list)


def stage_summaries(journal: Mapping[str, Mapping[str, Mark]]) -> list[StageSummary]:
    """Every stage of a store, the one that took longest first."""
    found: dict[str, StageSummary] = {}
    for marks in journal.values():
        frames = marks["time"].arrays["time"]["shape"][0] if "time" in marks else 0
        for name, mark in marks.items():
            stage = found.setdefault(name, StageSummary(name))
            stage.videos += 1
            stage.frames += frames
            stage.compute_seconds += mark.provenance.get("compute_seconds", 0.0)
            stage.stored_bytes += mark.stored_bytes
            stage.devices[device(mark)] += 1
            parameters = mark.provenance.get("parameters", {})
            if parameters not in stage.parameters:
                stage.parameters.append(parameters)
    return sorted(found.values(), key=lambda stage: (-stage.compute_seconds, stage.name))


def device(mark: Mark) -> str:
    """What computed a stage; stages that do not say ran on the CPU."""
    return str(mark.provenance.get("device", "cpu"))


def excluded_samples(journal: Mapping[str, Mapping[str, Mark]]) -> tuple[Counter[str], int]:
    """Gaze samples left out of fixations, by reason, and how many samples were read in all."""
    counts: Counter[str] = Counter()
    read = 0
    for marks in journal.values():
        if "fixations" in marks:
            provenance = marks["fixations"].provenance
            counts.update(provenance.get("excluded_samples", {}))
            read += provenance.get("samples_read", 0)
    return +counts, read


def survey(store: Store) -> tuple[list[Card], Sampled]:
    """Look into a sample of videos, evenly spread over the store.

    Statistics are those of the sample's train videos where the store has splits.
    """
    names = [str(name) for name, stages in store.videos.stages.items() if "time" in stages]
    chosen = sample(names, CARDS)
    splits = store.videos.split.to_dict()
    trained = [name for name in chosen if splits[name] == "train"]
    counted = set(trained or chosen)
    collected = _Collected()
    cards = [_card(store, name, collected if name in counted else None) for name in chosen]
    kind = "train video" if trained else "video"
    scope = f"{len(counted)} {kind}{'s' if len(counted) != 1 else ''}"
    return cards, collected.result(f"{scope}, up to {MOMENTS} frames of each")


class _Collected:
    """Sums over sampled frames."""

    def __init__(self) -> None:
        self._maps = 0
        self._bias = np.zeros(_BIAS_SIZE)
        self._speeds: dict[str, list[NDArray[np.float32]]] = {}
        self._points: list[int] = []

    def density(self, density: NDArray[np.float32]) -> None:
        total = density.sum()
        if total > 0:
            self._maps += 1
            small = resized(density, _BIAS_SIZE)
            self._bias += small / small.sum()

    def speed(self, name: str, speed: NDArray[np.float32]) -> None:
        flat = speed[np.isfinite(speed)]
        self._speeds.setdefault(name, []).append(flat[:: max(1, len(flat) // _FLOW_POINTS)])

    def points(self, counts: Iterable[int]) -> None:
        self._points.extend(map(int, counts))

    def result(self, scope: str) -> Sampled:
        return Sampled(
            scope,
            self._bias / self._maps if self._maps else None,
            {name: np.concatenate(parts) for name, parts in sorted(self._speeds.items())},
            self._points,
        )


def _card(store: Store, video: str, collected: _Collected | None) -> Card:
    try:
        view = VideoView(store, video)
        caption = view.length
        if view.about.get("split"):
            caption = f"{view.about['split']} · {caption}"
        return _read_card(view, caption, collected)
    except FovealError as error:
        return Card(video, "", problem=str(error))


def _read_card(view: VideoView, caption: str, collected: _Collected | None) -> Card:
    frames = sample(range(view.frames), MOMENTS)
    curves: dict[str, list[float]] = {}
    names = [name for name in ("density", *view.flows) if name in view.names]
    for moment in view.moments(names, frames):
        for name, values in moment.items.items():
            item = values.astype(np.float32)
            if name == "density":
                peak = item.max()
                curve = float((item > COVERED * peak).mean()) if peak > 0 else 0.0
                if collected:
                    collected.density(item)
            else:
                speed = np.hypot(item[..., 0], item[..., 1])
                curve = float(np.nanmean(speed))
                if collected:
                    collected.speed(name, speed)
            curves.setdefault(name, []).append(curve)
    if collected and view.points is not None:
        collected.points(np.diff(view.points.offset))
    seconds = [float(view.seconds[frame]) for frame in frames]
    return Card(view.video, caption, _thumbnail(view), seconds, curves)


def _thumbnail(view: VideoView) -> Picture | None:
    """The middle frame, and beside it the same under its density; what there is of the two."""
    height, width = view.source_size
    size = (max(2, round(_CARD_WIDTH_PX * height / width)), _CARD_WIDTH_PX)
    names = [name for name in ("frames", "density") if name in view.names]
    if not names:
        return None
    moment = next(view.moments(names, [view.frames // 2]))
    halves = []
    if "frames" in moment.items:
        halves.append(resized(moment.items["frames"], size))
    if "density" in moment.items:
        density = moment.items["density"].astype(np.float32)
        ground = halves[0] // 2 if halves else np.full((*size, 3), 40, np.uint8)
        halves.append(heat(ground, resized(density / max(density.max(), np.float32(1e-12)), size)))
    return np.concatenate(halves, axis=1)
