"""This module holds ``foveal predict-ensemble`` and ``foveal baseline``: maps without a network."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from foveal.cli.console import Json, following, print_table
from foveal.cli.predict import tell
from foveal.errors import RecipeError

Only = Annotated[list[str] | None, typer.Option(help="Only this video (id). Repeatable.")]
Split = Annotated[str | None, typer.Option(help="Only videos of this split.")]
Store = Annotated[str, typer.Option(help="Store to read and write (path or URL).")]


def predict_ensemble(
    predictions: Annotated[list[str], typer.Argument(help="Two or more stored predictions.")],
    store: Store,
    mode: Annotated[
        str, typer.Option(help="mean; logit: mean of the logits; max: of each pixel.")
    ] = "mean",
    name: Annotated[str, typer.Option(help="The array is called saliency_NAME.")] = "ensemble",
    split: Split = None,
    only: Only = None,
    as_json: Json = False,
) -> None:
    """Combine several predictions into one, stored as one more array of each video.

    Every map is first stretched to [0, 1] by its own minimum and maximum. What is complete is not
    computed again. Exit status 3: some videos lack a prediction.
    """
    from foveal.pipeline.learn.ensemble import predict_ensemble as combine

    chosen: Any = mode
    with following("ensemble") as advance:
        results = combine(
            store, predictions, name, chosen, split=split, videos=only, advance=advance
        )
    tell(store, f"saliency_{name.removeprefix('saliency_')}", results, as_json)


def baseline(
    kind: Annotated[str, typer.Argument(help="centre: one Gaussian for every frame.")],
    store: Store,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit it to the fixated points of --train-split.")
    ] = False,
    train_split: Annotated[
        str, typer.Option(help="Split that --fit reads; 'all' for every video.")
    ] = "train",
    sigma: Annotated[
        float, typer.Option(help="Without --fit: deviation as a share of each side.")
    ] = 0.25,
    name: Annotated[str, typer.Option(help="The array is called saliency_NAME.")] = "centre",
    split: Split = None,
    only: Only = None,
    as_json: Json = False,
) -> None:
    """Write a baseline as a prediction, to be scored and exported like any other.

    Vertical videos get a Gaussian of their own. What is complete is not computed again.
    """
    from foveal.pipeline.learn.centre import predict_centre

    if kind != "centre":
        raise RecipeError(f"baseline {kind!r}: choose centre")
    with following("baseline") as advance:
        centres, results = predict_centre(
            store,
            name,
            fit_split=train_split if fit else None,
            sigma=sigma,
            split=split,
            videos=only,
            advance=advance,
        )
    told = {"centres": {key: asdict(centre) for key, centre in centres.items()}}
    if not as_json:
        print_table(
            "Gaussian, in shares of the picture's width and height",
            ("videos", "x", "y", "sigma x", "sigma y", "points"),
            [
                (key, *(f"{value:.4g}" for value in asdict(centre).values()))
                for key, centre in centres.items()
            ],
        )
    tell(store, f"saliency_{name.removeprefix('saliency_')}", results, as_json, told)
