"""This module holds ``foveal compare``, which draws stored predictions side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from foveal.cli.console import Json, following, out, print_json, print_table
from foveal.errors import RecipeError


def compare(
    store: Annotated[str, typer.Argument(help="Path or URL of the store.")],
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Names of predictions; default all that the drawn videos have."),
    ] = None,
    videos: Annotated[
        str | None,
        typer.Option(help="Draw these (ids, comma-separated); default a few of the split."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Score the videos of this split.")] = None,
    metric: Annotated[str, typer.Option(help="Metric of `foveal plugins`.")] = "nss",
    variant: Annotated[
        str, typer.Option(help="Whose definition: mit, dhf1k or pysaliency.")
    ] = "mit",
    frames: Annotated[int, typer.Option(min=1, max=12, help="Moments of each video.")] = 3,
    between: Annotated[
        str | None, typer.Option(help="Two models, comma-separated; default the first two.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the figures.")] = Path(
        "compare"
    ),
    as_json: Json = False,
) -> None:
    """Draw models of one store side by side: sheets, difference by video, score over time.

    Each figure is a PNG and a PDF; index.html shows all, CSV files hold the numbers. Only stored
    arrays are read.
    """
    from foveal.models.metrics import VARIANTS
    from foveal.pipeline.compare.compare import compare as draw

    if variant not in VARIANTS:
        raise RecipeError(f"--variant {variant!r}: choose one of {', '.join(VARIANTS)}")
    chosen: Any = variant
    with following("score") as advance:
        made = draw(
            store,
            output,
            models or (),
            videos=None if videos is None else _names("videos", videos),
            split=split,
            metric=metric,
            variant=chosen,
            frames=frames,
            between=None if between is None else _two(between),
            advance=advance,
        )
    if as_json:
        print_json({"store": store, **vars(made), "folder": str(made.folder)})
        return
    rows = [
        (model, *_mean(model, made.means), len([v for v in made.means.values() if model in v]))
        for model in made.models
    ]
    print_table(
        f"{store}: mean {metric} of videos", ("model", metric, "videos"), rows, f"{metric} videos"
    )
    if made.not_scored:
        out.print(f"{len(made.not_scored)} videos have no scores; --json says why", markup=False)
    out.print(f"{made.folder / 'index.html'}: {len(made.files)} files", markup=False)


def _mean(model: str, means: Any) -> tuple[str]:
    known = [of[model] for of in means.values() if model in of]
    return (f"{sum(known) / len(known):.3f}" if known else "undefined",)


def _names(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise RecipeError(f"--{option} {text!r}: give names, comma-separated")
    return names


def _two(text: str) -> tuple[str, str]:
    names = _names("between", text)
    if len(names) != 2:
        raise RecipeError(f"--between {text!r}: give two models, like salema,gfsalnet")
    return names[0], names[1]
