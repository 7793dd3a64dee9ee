"""Scores of predictions and baselines against the ground truth of a store."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.errors import ChecksumError, RecipeError, StoreError
from foveal.models.device import choose_device
from foveal.models.metrics import (
    FixatedPixels,
    OtherFixations,
    ScoreTable,
    Variant,
    find_metric,
    metrics_of,
)
from foveal.models.metrics.base import SCORED_BY
from foveal.pipeline.learn import baselines
from foveal.pipeline.learn.baselines import Contestant, Each
from foveal.pipeline.learn.ground_truth import Truth
from foveal.storage.evaluation import inputs_sha256
from foveal.storage.kinds import select_arrays
from foveal.storage.reader import Store

FRAMES_AT_ONCE = 32
_PIXELS_AT_ONCE = 2**23
"""Of maps that are read at once: as float32 32 MiB, which is the most that the C library hands out
again without asking the system for fresh pages, which cost as much as a score."""

EXTREMES = 5
APART_FRAMES = 25
"""Best and worst frames of one video lie at least so far apart: neighbours look alike."""

BASELINES = ("centre_bias", "uniform", "one_against_others", "flow_magnitude")

Advance = Callable[[str, int, int], None]
"""Called with a video, frames done and frames in it."""


@dataclass(frozen=True)
class Frame:
    """A frame and its NSS."""

    video: str
    frame: int
    nss: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of several contestants on the same frames.

    Attributes
    ----------
    store : str
    split : str or None
    metrics : tuple of str
    variant : str
    tables : mapping of str to mapping
        By contestant, what `ScoreTable.table` gives.
    best, worst : mapping of str to list of Frame
        By contestant, the frames with the highest and the lowest NSS, `APART_FRAMES` apart.
    without_baselines : mapping of str to str
        Baselines that the store cannot give, and why.
    made_from : mapping of str to sequence of str
        Videos that a contestant was made from, besides those scored, by its name.
    inputs_sha256 : mapping of str to str
        By contestant, see `foveal.storage.evaluation.inputs_sha256`.
    frames : mapping of str to mapping
        By contestant, video and metric the scores of all frames, float64 [frames], NaN where a
        frame is excluded.
    remarks : tuple of str
        In what the scores are not those of whom the variant names.
    """

    store: str
    split: str | None
    metrics: tuple[str, ...]
    variant: str
    tables: Mapping[str, Mapping[str, Any]]
    best: Mapping[str, list[Frame]]
    worst: Mapping[str, list[Frame]]
    without_baselines: Mapping[str, str]
    made_from: Mapping[str, Sequence[str]]
    inputs_sha256: Mapping[str, str]
    frames: Mapping[str, Mapping[str, Mapping[str, NDArray[np.float64]]]]
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values that JSON takes."""
        return {
            "store": self.store,
            "split": self.split,
            "variant": self.variant,
            "metrics": list(self.metrics),
            "contestants": {
                name: {
                    **table,
                    "best": [vars(frame) for frame in self.best[name]],
                    "worst": [vars(frame) for frame in self.worst[name]],
                    "made_from": list(self.made_from.get(name, ())),
                    "inputs_sha256": self.inputs_sha256[name],
                }
                for name, table in self.tables.items()
            },
            "without_baselines": dict(self.without_baselines),
            "remarks": list(self.remarks),
        }

    def to_csv(self) -> str:
        """One row a contestant and video, and two of means, named in the column ``of``."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["contestant", "of", "video", *self.metrics])
        for name, table in self.tables.items():
            for average in ("mean_of_videos", "mean_of_frames"):
                means = [table["dataset"][metric][average] for metric in self.metrics]
                writer.writerow([name, average, "", *means])
            for video, entry in table["videos"].items():
                means = [entry["metrics"][metric]["mean"] for metric in self.metrics]
                writer.writerow([name, "video", video, *means])
        return text.getvalue()


def contestants(
    store: Store,
    predictions: Sequence[str],
    wanted_baselines: Sequence[str] = BASELINES,
    *,
    train_split: str | None = "train",
    flow: str | None = None,
    each: Each = map,
) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Stored predictions and baselines by name; and the baselines a store cannot give, with why.

    Parameters
    ----------
    store : Store
    predictions : sequence of str
        Names of arrays; ``saliency_`` may be left out.
    wanted_baselines : sequence of str
        Of `BASELINES`.
    train_split : str or None
        Whose mean density is the centre bias.
    flow : str, optional
        Flow array, where there are several.
    each : callable
        Carries out the work on each video.

    Raises
    ------
    RecipeError
        A baseline is unknown.
    ChecksumError
        What a baseline is made from is damaged.
    """
    unknown = sorted(set(wanted_baselines) - set(BASELINES))
    if unknown:
        raise RecipeError(f"unknown baseline {unknown[0]!r}; choose among {', '.join(BASELINES)}")
    made: dict[str, Callable[[], Contestant]] = {
        "centre_bias": lambda: baselines.centre_bias(
            baselines.mean_density(store, store.select(train_split), each)
        ),
        "uniform": baselines.uniform,
        "one_against_others": lambda: baselines.other_observers(store),
        "flow_magnitude": lambda: baselines.flow_magnitude(store, flow),
    }
    found: dict[str, Contestant] = {}
    missing: dict[str, str] = {}
    known = set().union(*_predictions(store, store.select()))
    for name in predictions:
        array = name if name in known else f"saliency_{name.removeprefix('saliency_')}"
        found[array] = baselines.stored(array)
    for name in wanted_baselines:
        try:
            found[name] = made[name]()
        except ChecksumError:  # damage is no reason to go without
            raise
        except (StoreError, RecipeError) as error:
            missing[name] = str(error)
    return found, missing


def predictions_in(store: Store, videos: Sequence[str]) -> list[str]:
    """Arrays of predictions that all of these videos have."""
    return sorted(set.intersection(*_predictions(store, videos))) if videos else []


def _predictions(store: Store, videos: Sequence[str]) -> list[set[str]]:
    """Arrays of predictions of each video."""
    marks = store.journal(videos)
    infos = [
        [info for mark in marks.get(video, {}).values() for info in mark.infos.values()]
        for video in videos
    ]
    return [set(select_arrays(found, axis="frame", role="prediction")) for found in infos]


def evaluate(
    store: Store,
    wanted: Mapping[str, Contestant],
    *,
    split: str | None = None,
    videos: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    variant: Variant = "mit",
    masks: Mapping[str, NDArray[np.bool_]] | None = None,
    without_baselines: Mapping[str, str] | None = None,
    made_from: Mapping[str, Sequence[str]] | None = None,
    device: str | torch.device = "cpu",
    advance: Advance = lambda video, done, frames: None,
    each: Each | None = None,
) -> Evaluation:
    """Score contestants frame by frame on the grid of the density maps.

    Parameters
    ----------
    store : Store
    wanted : mapping of str to Contestant
        See `contestants`.
    split : str, optional
        Only videos of this split.
    videos : sequence of str, optional
        Only these.
    metrics : sequence of str, optional
        Registered ones; by default all that the variant defines.
    variant : {'mit', 'dhf1k', 'pysaliency', 'ntire2026'}
    masks : mapping of str to ndarray, bool [frames], optional
        Frames that count; videos that are not named here are left out (see
        `foveal.pipeline.learn.masks.stored_masks`).
    without_baselines : mapping, optional
        Noted in the result.
    made_from : mapping, optional
        Videos a contestant was made from, by its name (the centre bias: the train split's): noted,
        so that its scores are known to be out of date when their ground truth changes.
    device : str or torch.device
        Where scores are computed.
    advance : callable
    each : callable, optional
        Carries out the work on each video, elsewhere; by default one after another here.

    Raises
    ------
    StoreError
        A video lacks ground truth or a prediction.
    """
    metrics = metrics_of(variant) if metrics is None else metrics
    needs = {need for name in metrics for need in find_metric(name).needs}
    chosen = store.select(split) if videos is None else list(videos)
    if masks is not None:
        chosen = [video for video in chosen if video in masks]
    if not chosen or not wanted:
        raise RecipeError("nothing to score: name a prediction or a baseline, and videos it is of")
    # Read first: what is written while scores are computed makes them out of date.
    made_from = made_from or {}
    inputs = inputs_sha256(
        store.location, {name: {*chosen, *made_from.get(name, ())} for name in wanted}
    )
    truths = {video: Truth(store, video, variant) for video in chosen}
    others: OtherFixations | None = None
    if "other_fixations" in needs:
        fixated = (each or map)(_Fixated(store, variant), chosen)
        others = OtherFixations(dict(zip(chosen, fixated, strict=True)), variant)
    scoring = _Scoring(store, wanted, tuple(metrics), variant, others, masks, device)
    tables = {name: ScoreTable(metrics, variant) for name in wanted}
    if each is None:
        parts: Iterable[Any] = (scoring.of(truth, advance) for truth in truths.values())
    else:
        parts = each(scoring, chosen)
    for truth, part in zip(truths.values(), parts, strict=True):
        for name, table in part.items():
            tables[name].join(table)
        advance(truth.video, truth.frames, truth.frames)
    ranked = {name: _ranked(table, chosen) for name, table in tables.items()}
    return Evaluation(
        store=str(store.location),
        split=split,
        metrics=tuple(metrics),
        variant=variant,
        tables={name: table.table() for name, table in tables.items()},
        best={name: _first_apart(frames) for name, frames in ranked.items()},
        worst={name: _first_apart(frames[::-1]) for name, frames in ranked.items()},
        without_baselines=without_baselines or {},
        made_from=made_from,
        inputs_sha256=inputs,
        frames={
            name: {video: table.per_frame(video) for video in chosen}
            for name, table in tables.items()
        },
        remarks=_remarks(variant, truths),
    )


@dataclass(frozen=True)
class _Fixated:
    """Gives the fixated pixels of all frames of a video, here or in another process."""

    store: Store
    variant: Variant

    def __call__(self, video: str) -> FixatedPixels:
        truth = Truth(self.store, video, self.variant)
        return truth.fixated(0, truth.frames)


@dataclass(frozen=True)
class _Scoring:
    """Scores all contestants on a video, here or in another process."""

    store: Store
    wanted: Mapping[str, Contestant]
    metrics: tuple[str, ...]
    variant: Variant
    others: OtherFixations | None
    masks: Mapping[str, NDArray[np.bool_]] | None
    device: str | torch.device

    def __call__(self, video: str) -> dict[str, ScoreTable]:
        # Whatever the device is called here, it is the worker's.
        scoring = replace(self, device=choose_device(str(self.device)))
        truth = Truth(self.store, video, self.variant)
        return scoring.of(truth, lambda video, done, frames: None)

    def of(self, truth: Truth, advance: Advance) -> dict[str, ScoreTable]:
        tables = {name: ScoreTable(self.metrics, self.variant) for name in self.wanted}
        step = max(1, min(FRAMES_AT_ONCE, _PIXELS_AT_ONCE // math.prod(truth.size)))
        for start in range(0, truth.frames, step):
            stop = min(start + step, truth.frames)
            negatives = None
            if self.others is not None:
                negatives = self.others.of(truth.video, start, stop, truth.size).to(self.device)
            mask = None if self.masks is None else self.masks[truth.video][start:stop]
            for name, contestant in self.wanted.items():
                contest = contestant(truth, start, stop)
                tables[name].update(
                    truth.video,
                    contest.saliency.to(self.device),
                    contest.fixations.to(self.device),
                    contest.density.to(self.device),
                    negatives,
                    mask,
                )
            advance(truth.video, stop, truth.frames)
        return tables


def _remarks(variant: str, truths: Mapping[str, Truth]) -> tuple[str, ...]:
    others = [video for video, truth in truths.items() if not truth.is_published]
    if variant not in SCORED_BY or not others:
        return ()
    return (
        f"{len(others)} of {len(truths)} videos are scored against density that is not the "
        f"published one at the video's size, as {variant} has it (density.preset: published): "
        "these are not the challenge's numbers",
    )


def _ranked(table: ScoreTable, videos: Sequence[str]) -> list[Frame]:
    """Frames by falling NSS; none where NSS was not asked for."""
    if "nss" not in table.metrics:
        return []
    frames = [
        Frame(video, int(frame), float(score))
        for video in videos
        for frame, score in enumerate(table.per_frame(video)["nss"])
        if not np.isnan(score)
    ]
    return sorted(frames, key=lambda each: -each.nss)


def _first_apart(frames: Sequence[Frame]) -> list[Frame]:
    """The first `EXTREMES` frames that have no earlier one near them."""
    kept: list[Frame] = []
    for frame in frames:
        near = (
            other.video == frame.video and abs(other.frame - frame.frame) < APART_FRAMES
            for other in kept
        )
        if not any(near):
            kept.append(frame)
        if len(kept) == EXTREMES:
            break
    return kept
