"""Pictures, curves and figures from a sample of a store's videos."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from foveal.errors import FovealError, StoreError
from foveal.pipeline.preview.panels import Picture, as_map, backdrop, drawn_as, heat, resized
from foveal.pipeline.preview.view import Moment, VideoView, sample
from foveal.storage.reader import Store
from foveal.storage.statistics import BIAS_SIZE, Sums, as_statistics, summing, total_of

CARDS = 48
"""Videos that get pictures and curves, at most."""

MOMENTS = 32
"""Frames of each such video that are read, at most."""

COVERED = 0.1
"""A place is covered where density exceeds this share of the frame's peak."""

PREDICTIONS = 5
"""Predictions that each such video is shown under, at most."""

SHOT_WIDTH_PX = 240


@dataclass(frozen=True)
class Shot:
    """A picture of the page, its caption, and its text for screen readers."""

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


def _kept_statistics(store: Store) -> tuple[xr.Dataset, str] | None:
    """Statistics that the store keeps, of train or of all, and their scope; None where too old."""
    for split in ("train", None):
        try:
            kept = store.statistics(split)
        except StoreError:
            continue
        if kept.attrs["up_to_date"]:
            kind = "train videos" if split else "videos"
            where = f"kept in the store as statistics/{split or 'all'}"
            return kept, f"all {len(kept.attrs['videos']):,} {kind}, every frame; {where}"
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


def survey(store: Store) -> tuple[list[Card], xr.Dataset, str]:
    """Read a sample of videos, evenly spread over the store.

    Returns
    -------
    cards
    statistics : xarray.Dataset
        The store's own where it keeps them and they still hold; else those of the sample's train
        videos, or of the whole sample where nothing in it is for training.
    scope : str
        Description of the videos they were computed on.
    """
    names = store.select() if (store.videos.frames > 0).any() else []
    chosen = sample(names, CARDS)
    splits = store.videos.split.to_dict()
    trained = [name for name in chosen if splits[name] == "train"]
    sums: dict[str, Sums] = {}
    cards = [_card(store, name, sums) for name in chosen]
    if kept := _kept_statistics(store):
        return cards, *kept
    counted = [sums[name] for name in trained or chosen if name in sums]
    kind = "train video" if trained else "video"
    scope = (
        f"{len(counted)} {kind}{'' if len(counted) == 1 else 's'}; "
        f"density and motion at up to {MOMENTS} frames of each"
    )
    return cards, as_statistics(total_of(counted)), f"{scope}. {_exact_by(store)}"


def _card(store: Store, video: str, sums: dict[str, Sums]) -> Card:
    """The card of a video; what its sampled frames add to statistics goes into `sums`."""
    try:
        view = VideoView(store, video)
        split = f"{view.about['split']} · " if view.about.get("split") else ""
        curves, sums[video] = _sampled(view)
        return Card(video, split + view.length, _shots(view), curves)
    except FovealError as error:
        return Card(video, problem=str(error))


def _sampled(view: VideoView) -> tuple[list[Curve], Sums]:
    """Curves of a video, and its sums over the same frames (of points, over all)."""
    frames = sample(range(view.frames), MOMENTS)
    curves: list[Curve] = []
    sums: Sums = {}
    for name, info in sorted(view.infos.items()):
        add = summing(info)
        if add is None or info.kind == "picture":
            continue
        if not view.is_by_frame(name):
            sums |= add(name, iter([view.read(name, 0, info.items)]), BIAS_SIZE)
            continue
        items = [each.items[name] for each in view.moments((name,), frames) if each.items]
        if not items:
            continue
        values = np.stack(items).astype(np.float32)
        sums |= add(name, iter([values]), BIAS_SIZE)
        seconds = view.seconds[frames[: len(items)]]
        if info.kind == "flow":
            speed = np.hypot(values[..., 0], values[..., 1])
            known = np.isfinite(speed)
            total = np.where(known, speed, 0).sum(axis=(1, 2))
            line = total / np.maximum(known.sum(axis=(1, 2)), 1)
            extent = f"{line.min():.2f} to {line.max():.2f} px"
            curves.append(_curve(f"{name} moves", extent, seconds, line))
        else:
            peaks = values.max(axis=(1, 2), keepdims=True)
            line = ((values > COVERED * peaks) & (peaks > 0)).mean(axis=(1, 2))
            extent = f"{line.min():.1%} to {line.max():.1%}"
            curves.append(_curve(f"{name} covers", extent, seconds, line))
    return curves, sums


def _curve(what: str, extent: str, x: NDArray[np.float64], y: NDArray[Any]) -> Curve:
    top = max(float(y.max()), 1e-12)
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
