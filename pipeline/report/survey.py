"""What the report says of a store: stages as the marks tell, pictures from some videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError, StoreError
from foveal.pipeline.preview.panels import Picture, heat, resized
from foveal.pipeline.preview.view import VideoView, sample
from foveal.storage.marks import Mark
from foveal.storage.reader import Store
from foveal.storage.statistics import MAGNITUDE_EDGES_PX

Journal = Mapping[str, Mapping[str, Mark]]
"""Marks by video and stage."""

CARDS = 48
"""Videos that get pictures and curves, at most."""

MOMENTS = 32
"""Frames of each such video that are read, at most."""

COVERED = 0.1
"""A place is covered where density exceeds this share of the frame's peak."""

CARD_WIDTH_PX = 240
_BIAS_SIZE = (90, 160)


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
    by_random_weights : int
        Videos in which an untrained network computed it.
    """

    name: str
    videos: int = 0
    frames: int = 0
    compute_seconds: float = 0.0
    stored_bytes: int = 0
    devices: Counter[str] = field(default_factory=Counter)
    parameters: list[Mapping[str, Any]] = field(default_factory=list)
    by_random_weights: int = 0


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
class Figures:
    """Statistics to be shown.

    Attributes
    ----------
    scope : str
        What they were computed on, for people.
    bias : ndarray, float64 [height, width], or None
        Mean density, each frame weighing the same; stretched to one shape.
    magnitudes : dict of str to ndarray, int64 [bins]
        Pixels by length of motion, by flow array; bins of `MAGNITUDE_EDGES_PX`.
    points : ndarray, int64 [most + 1]
        Frames by their number of fixated points.
    """

    scope: str
    bias: NDArray[np.float64] | None
    magnitudes: dict[str, NDArray[np.int64]]
    points: NDArray[np.int64]


def stored_figures(store: Store) -> Figures | None:
    """Statistics kept in the store, of train or of all; None where none are or they are old."""
    for split in ("train", None):
        try:
            kept = store.statistics(split)
        except StoreError:
            continue
        if not kept.attrs["up_to_date"]:
            continue
        count = len(kept.attrs["videos"])
        kind = "train videos" if split else "videos"
        return Figures(
            f"all {count:,} {kind}, every frame; kept in the store as statistics/{split or 'all'}",
            kept["centre_bias"].values if "centre_bias" in kept else None,
            {
                str(name).removesuffix("_magnitude"): kept[name].values
                for name in kept.data_vars
                if str(name).endswith("_magnitude")
            },
            kept["fixations_per_frame"].values
            if "fixations_per_frame" in kept
            else np.zeros(0, int),
        )
    return None


def _exact_by(store: Store) -> str:
    """Which command makes the statistics that the store lacks, or that no longer hold."""
    trained = (store.videos.split == "train").any()
    command = f"`foveal statistics {store.location}{'' if trained else ' --split all'}`"
    try:
        store.statistics("train" if trained else None)
    except StoreError:
        return f"{command} computes them on every frame and keeps them in the store"
    return f"Those in the store are out of date: {command} computes them anew, on every frame"


def stage_summaries(journal: Journal) -> list[StageSummary]:
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
            stage.by_random_weights += mark.random_weights
            parameters = mark.provenance.get("parameters", {})
            if parameters not in stage.parameters:
                stage.parameters.append(parameters)
    return sorted(found.values(), key=lambda stage: (-stage.compute_seconds, stage.name))


def device(mark: Mark) -> str:
    """What computed a stage; stages that do not say ran on the CPU."""
    return str(mark.provenance.get("device", "cpu"))


def excluded_samples(journal: Journal) -> tuple[Counter[str], int]:
    """Gaze samples left out of fixations, by reason, and how many samples were read in all."""
    counts: Counter[str] = Counter()
    read = 0
    for marks in journal.values():
        if "fixations" in marks:
            provenance = marks["fixations"].provenance
            counts.update(provenance.get("excluded_samples", {}))
            read += provenance.get("samples_read", 0)
    return +counts, read


def survey(store: Store) -> tuple[list[Card], Figures]:
    """Look into a sample of videos, evenly spread over the store.

    Figures are the store's own where it keeps them and they still hold; else those of the sample's
    train videos, or of the whole sample where nothing in it is for training.
    """
    names = [str(name) for name, stages in store.videos.stages.items() if "time" in stages]
    chosen = sample(names, CARDS)
    splits = store.videos.split.to_dict()
    trained = [name for name in chosen if splits[name] == "train"]
    counted = set(trained or chosen)
    sums = _Sums()
    cards = [_card(store, name, sums if name in counted else None) for name in chosen]
    kind = "train video" if trained else "video"
    scope = (
        f"{len(counted)} {kind}{'' if len(counted) == 1 else 's'}; "
        f"density and motion at up to {MOMENTS} frames of each"
    )
    return cards, stored_figures(store) or sums.figures(f"{scope}. {_exact_by(store)}")


class _Sums:
    """Sums over sampled frames."""

    def __init__(self) -> None:
        self._maps = 0
        self._bias = np.zeros(_BIAS_SIZE)
        self._magnitudes: dict[str, NDArray[np.int64]] = {}
        self._points = np.zeros(0, np.int64)

    def add_density(self, density: NDArray[np.float32]) -> None:
        if density.any():
            small = resized(density, _BIAS_SIZE)
            self._maps += 1
            self._bias += small / small.sum()

    def add_motion(self, name: str, magnitude: NDArray[np.float32]) -> None:
        counts = np.histogram(magnitude, MAGNITUDE_EDGES_PX)[0]
        self._magnitudes[name] = self._magnitudes.get(name, 0) + counts

    def add_points(self, offset: NDArray[np.int64]) -> None:
        counts = np.bincount(np.diff(offset), minlength=len(self._points))
        counts[: len(self._points)] += self._points
        self._points = counts

    def figures(self, scope: str) -> Figures:
        bias = self._bias / self._maps if self._maps else None
        return Figures(scope, bias, dict(sorted(self._magnitudes.items())), self._points)


def _card(store: Store, video: str, sums: _Sums | None) -> Card:
    try:
        view = VideoView(store, video)
        caption = view.length
        if view.about.get("split"):
            caption = f"{view.about['split']} · {caption}"
        return _read_card(view, caption, sums)
    except FovealError as error:
        return Card(video, "", problem=str(error))


def _read_card(view: VideoView, caption: str, sums: _Sums | None) -> Card:
    frames = sample(range(view.frames), MOMENTS)
    curves: dict[str, list[float]] = {}
    names = [name for name in ("density", *view.flows) if name in view.names]
    for moment in view.moments(names, frames):
        for name, values in moment.items.items():
            item = values.astype(np.float32)
            if name == "density":
                curve = float((item > COVERED * item.max()).mean()) if item.any() else 0.0
                if sums:
                    sums.add_density(item)
            else:
                magnitude = np.hypot(item[..., 0], item[..., 1])
                magnitude = magnitude[np.isfinite(magnitude)]
                curve = float(magnitude.mean()) if magnitude.size else 0.0
                if sums:
                    sums.add_motion(name, magnitude)
            curves.setdefault(name, []).append(curve)
    if sums and view.points is not None:
        sums.add_points(view.points.offset)
    seconds = [float(view.seconds[frame]) for frame in frames]
    return Card(view.video, caption, _thumbnail(view), seconds, curves)


def _thumbnail(view: VideoView) -> Picture | None:
    """The middle frame, and beside it the same under its density; what there is of the two."""
    height, width = view.source_size
    size = (max(2, round(CARD_WIDTH_PX * height / width)), CARD_WIDTH_PX)
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
