"""This module scores predictions and baselines against the ground truth of a store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from foveal.pipeline.learn.evaluation import Evaluation, first_apart, ranked
from foveal.pipeline.learn.ground_truth import Truth
from foveal.storage.evaluation import inputs_sha256
from foveal.storage.kinds import select_arrays
from foveal.storage.reader import Store

FRAMES_AT_ONCE = 32
_PIXELS_AT_ONCE = 2**23
"""Pixels of maps read at once: 32 MiB as float32, the most that the C library reuses. Larger blocks
need fresh pages from the system each time, which cost as much as a score."""

BASELINES = ("centre_bias", "uniform", "one_against_others", "flow_magnitude")
"""Names of the baselines."""

Advance = Callable[[str, int, int], None]
"""Called with a video, the number of frames done and the number of its frames."""


def contestants(
    store: Store,
    predictions: Sequence[str],
    wanted_baselines: Sequence[str] = BASELINES,
    *,
    train_split: str | None = "train",
    flow: str | None = None,
    each: Each = map,
) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Return stored predictions and baselines as contestants, by name.

    Parameters
    ----------
    store : Store
    predictions : sequence of str
        Names of arrays; ``saliency_`` may be left out.
    wanted_baselines : sequence of str
        Names of baselines, of `BASELINES`.
    train_split : str or None
        The split whose mean density is the centre bias; None for all videos.
    flow : str, optional
        Flow array; needed where there are several.
    each : callable
        Calls a function for each video, here or on a cluster.

    Returns
    -------
    contestants : dict of str to Contestant
        By name.
    missing : dict of str to str
        Baselines that the store cannot give, and why.

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
        except ChecksumError:  # damage is an error: the baseline must not be left out
            raise
        except (StoreError, RecipeError) as error:
            missing[name] = str(error)
    return found, missing


def predictions_in(store: Store, videos: Sequence[str]) -> list[str]:
    """Return the arrays of predictions that all of these videos have.

    Parameters
    ----------
    store : Store
    videos : sequence of str
        Ids of the videos.
    """
    return sorted(set.intersection(*_predictions(store, videos))) if videos else []


def _predictions(store: Store, videos: Sequence[str]) -> list[set[str]]:
    """Return the arrays of predictions of each video."""
    known = store.contents_now(videos)
    infos = [known[video].infos.values() if video in known else () for video in videos]
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
        Only these videos.
    metrics : sequence of str, optional
        Names of registered metrics; by default all that the variant defines.
    variant : {'mit', 'dhf1k', 'pysaliency', 'ntire2026'}
        Whose definitions of the metrics are used.
    masks : mapping of str to ndarray, bool [frames], optional
        Frames that count, by video; other videos are left out (see
        `foveal.pipeline.learn.masks.stored_masks`).
    without_baselines : mapping, optional
        Baselines that the store cannot give, and why: recorded in the result.
    made_from : mapping, optional
        By contestant, further videos that it was made from (the centre bias: the train split).
        They are recorded, so that its scores are known to be out of date when their ground truth
        changes.
    device : str or torch.device
        Where scores are computed.
    advance : callable
        Called with a video, the number of frames done and the number of its frames.
    each : callable, optional
        Calls a function for each video, on a cluster; by default videos are scored here, in order.

    Returns
    -------
    Evaluation

    Raises
    ------
    RecipeError
        There is nothing to score.
    StoreError
        A video lacks ground truth or a prediction.
    """
    metrics = metrics_of(variant) if metrics is None else metrics
    needs = {need for name in metrics for need in find_metric(name).needs}
    chosen = store.select(split) if videos is None else list(videos)
    if masks is not None:
        chosen = [video for video in chosen if video in masks]
    if not chosen or not wanted:
        raise RecipeError("nothing to score: name a prediction or a baseline, and its videos")
    # Hashed first: whatever is written while scores are computed makes them out of date.
    made_from = made_from or {}
    inputs = inputs_sha256(
        store.location, {name: {*chosen, *made_from.get(name, ())} for name in wanted}
    )
    truths = {video: Truth(store, video, variant) for video in chosen}
    others: OtherFixations | None = None
    if "other_fixations" in needs:
        fixated = (each or map)(partial(_fixated, store, variant), chosen)
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
    by_nss = {name: ranked(table, chosen) for name, table in tables.items()}
    return Evaluation(
        store=str(store.location),
        split=split,
        metrics=tuple(metrics),
        variant=variant,
        tables={name: table.table() for name, table in tables.items()},
        best={name: first_apart(frames) for name, frames in by_nss.items()},
        worst={name: first_apart(frames[::-1]) for name, frames in by_nss.items()},
        without_baselines=without_baselines or {},
        made_from=made_from,
        inputs_sha256=inputs,
        frames={
            name: {video: table.per_frame(video) for video in chosen}
            for name, table in tables.items()
        },
        remarks=_remarks(variant, truths),
    )


def _fixated(store: Store, variant: Variant, video: str) -> FixatedPixels:
    truth = Truth(store, video, variant)
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
        # The name of the device is resolved on the worker.
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
        f"published one at the video's size, as {variant} defines it (density.preset: published): "
        "these are not the challenge's numbers",
    )
