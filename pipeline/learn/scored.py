"""Predictions of a store and baselines, found and scored: for the command and the deployment."""

from __future__ import annotations

from collections.abc import Sequence

from foveal.models.device import choose_device
from foveal.models.metrics import Variant
from foveal.pipeline.learn.baselines import Each
from foveal.pipeline.learn.evaluate import (
    BASELINES,
    Advance,
    contestants,
    evaluate,
    predictions_in,
)
from foveal.pipeline.learn.evaluation import Evaluation
from foveal.pipeline.learn.masks import stored_masks
from foveal.storage.reader import Store


def score_predictions(
    store: Store,
    predictions: Sequence[str] | None = None,
    *,
    split: str | None = None,
    videos: Sequence[str] | None = None,
    baselines: Sequence[str] = BASELINES,
    train_split: str = "train",
    flow: str | None = None,
    metrics: Sequence[str] | None = None,
    variant: Variant = "mit",
    mask: str | None = None,
    device: str = "cpu",
    advance: Advance = lambda video, done, frames: None,
    each: Each | None = None,
) -> Evaluation:
    """Score predictions of a store, and the baselines that it can give.

    Parameters
    ----------
    store : Store
    predictions : sequence of str, optional
        Names of predictions; by default all that every video has.
    split : str, optional
        Only videos of this split.
    videos : sequence of str, optional
        Only these.
    baselines : sequence of str
        Of `foveal.pipeline.learn.evaluate.BASELINES`.
    train_split : str
        Split whose mean density is the centre bias.
    flow : str, optional
        Flow array, where the store has several.
    metrics : sequence of str, optional
        Registered ones; by default all that the variant defines.
    variant : {'mit', 'dhf1k', 'pysaliency', 'ntire2026'}
    mask : str, optional
        Only frames that count in this mask.
    device : str
        Where scores are computed: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    advance : callable
        Called with a video, frames done and frames in it.
    each : callable, optional
        Carries out the work on each video, on a cluster; by default one after another here.

    Returns
    -------
    Evaluation

    Raises
    ------
    RecipeError
        A name is unknown, or there is nothing to score.
    StoreError
        A video lacks ground truth or a prediction.
    """
    chosen = list(videos or store.select(split))
    wanted, missing = contestants(
        store,
        predictions or predictions_in(store, chosen),
        baselines,
        train_split=train_split,
        flow=flow,
        each=each or map,
    )
    made_from = {"centre_bias": store.select(train_split)} if "centre_bias" in wanted else None
    return evaluate(
        store,
        wanted,
        split=split,
        videos=chosen,
        metrics=metrics,
        variant=variant,
        masks=None if mask is None else stored_masks(store, chosen, mask),
        without_baselines=missing,
        made_from=made_from,
        device=device if each else choose_device(device),
        advance=advance,
        each=each,
    )
