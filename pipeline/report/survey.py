"""Pictures, curves and figures from a sample of a store's videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError, StoreError
from foveal.pipeline.preview.panels import Picture, as_map, backdrop, drawn_as, heat, resized
from foveal.pipeline.preview.view import Moment, VideoView, sample
from foveal.storage.reader import Store
from foveal.storage.statistics import MAGNITUDE_EDGES_PX

CARDS = 48
"""Videos that get pictures and curves, at most."""

MOMENTS = 32
"""Frames of each such video that are read, at most."""

COVERED = 0.1
"""A place is covered where density exceeds this share of the frame's peak."""

PREDICTIONS = 5
"""Predictions that each such video is shown under, at most."""

SHOT_WIDTH_PX = 240
_BIAS_SIZE = (90, 160)


@dataclass(frozen=True)
class Shot:
    """A picture of the page, its caption, and what readers that do not see are told."""

    picture: Picture
    caption: str
    alt: str
    lossless: bool = False

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.picture.shape[0])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.picture.shape[1])


@dataclass(frozen=True)
class Curve:
    """A curve without axes, from 0 to its own maximum, in a drawing of 100 x 24.

    Attributes
    ----------
    what, extent : str
        What it shows, and from what to what.
    points : str
        ``x,y x,y …`` of the line.
    last : str
        Where it ends, from the left.
    """

    what: str
    extent: str
    points: str
    last: str


@dataclass(frozen=True)
class Card:
    """A video at a glance.

    Attributes
    ----------
    video : str
    caption : str
    shots : list of Shot
        The middle frame: alone, under the density, under each prediction.
    curves : list of Curve
        Share of the picture that density covers, and mean magnitude of each flow.
    problem : str
        Why it could not be read; empty otherwise.
    """

    video: str
    caption: str = ""
    shots: list[Shot] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
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


def survey(store: Store) -> tuple[list[Card], Figures]:
    """Look into a sample of videos, evenly spread over the store.

    Figures are the store's own where it keeps them and they still hold; else those of the sample's
    train videos, or of the whole sample where nothing in it is for training.
    """
    names = store.select() if (store.videos.frames > 0).any() else []
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
        return Card(video, problem=str(error))


def _read_card(view: VideoView, caption: str, sums: _Sums | None) -> Card:
    frames = sample(range(view.frames), MOMENTS)
    flows = [name for name in sorted(view.infos) if drawn_as(view, name) == "flow"]
    truth = view.ground_truth_map
    values: dict[str, list[float]] = {}
    for moment in view.moments([*([truth] if truth else []), *flows], frames):
        for name, stored in moment.items.items():
            item = stored.astype(np.float32)
            if name == truth:
                value = float((item > COVERED * item.max()).mean()) if item.any() else 0.0
                if sums:
                    sums.add_density(item)
            else:
                magnitude = np.hypot(item[..., 0], item[..., 1])
                magnitude = magnitude[np.isfinite(magnitude)]
                value = float(magnitude.mean()) if magnitude.size else 0.0
                if sums:
                    sums.add_motion(name, magnitude)
            values.setdefault(name, []).append(value)
    if sums:
        for points in view.points.values():
            sums.add_points(points.offset)
    curves = []
    for name, line in values.items():
        covers = name == truth
        what = f"{name} {'covers' if covers else 'moves'}"
        low, high = min(line), max(line)
        extent = f"{low:.1%} to {high:.1%}" if covers else f"{low:.2f} to {high:.2f} px"
        curves.append(_curve(what, extent, view.seconds[frames[: len(line)]], line))
    return Card(view.video, caption, _shots(view), curves)


def _curve(what: str, extent: str, x: NDArray[np.float64], y: Sequence[float]) -> Curve:
    top = max(max(y), 1e-12)
    whole = x[-1] - x[0] if x[-1] > x[0] else 1.0
    across = [f"{100 * (at - x[0]) / whole:.1f}" for at in x]
    down = [f"{24 - 22 * value / top:.1f}" for value in y]
    points = " ".join(f"{left},{height}" for left, height in zip(across, down, strict=True))
    return Curve(what, extent, points, across[-1])


def _shots(view: VideoView) -> list[Shot]:
    """The middle frame, and it under its density and each prediction; what there is of them."""
    frame = view.frames // 2
    about = f"frame {frame} of {view.video}"
    heats = [name for name in view.select(role="prediction") if drawn_as(view, name) == "heat"]
    maps = [*([view.ground_truth_map] if view.ground_truth_map else []), *heats[:PREDICTIONS]]
    names = [*([view.ground] if view.ground else []), *maps]
    if not names:
        return []
    moment = next(view.moments(names, [frame]))
    shots = []
    if view.ground:
        picture = resized(moment.items[view.ground], _shot_size(view))
        shots.append(Shot(picture, view.ground, about))
    for name in maps:
        level = as_map(moment.items[name])
        low = 0.0 if name == view.ground_truth_map else float(level.min())
        level = (level - low) / max(float(level.max()) - low, 1e-12)
        shots.append(shot_under(view, moment, name, level, f"{about} under {name}"))
    return shots


def shot_under(view: VideoView, moment: Moment, name: str, level: NDArray[Any], alt: str) -> Shot:
    """A moment's picture under a map from 0 to 1."""
    size = _shot_size(view)
    ground = backdrop(moment.items.get(view.ground or ""), size)
    return Shot(heat(ground, resized(level, size)), name, alt)


def _shot_size(view: VideoView) -> tuple[int, int]:
    height, width = view.source_size
    return max(2, round(SHOT_WIDTH_PX * height / width)), SHOT_WIDTH_PX
