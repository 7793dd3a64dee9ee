"""This module holds ``foveal evaluate``, which scores predictions against the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.console import Cluster, Json, err, following, out, print_json, print_table
from foveal.errors import RecipeError, writing

if TYPE_CHECKING:
    from foveal.pipeline.learn.baselines import Each
    from foveal.pipeline.learn.evaluation import Evaluation


def evaluate(
    store: Annotated[str, typer.Argument(help="Store (path or URL).")],
    prediction: Annotated[
        list[str] | None,
        typer.Argument(help="Names of predictions; default all that every video has."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only videos of this split.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this video (id). Repeatable.")
    ] = None,
    baselines: Annotated[
        str,
        typer.Option(
            help="Comma-separated: centre_bias, uniform, one_against_others, flow_magnitude; "
            "all, or none."
        ),
    ] = "all",
    train_split: Annotated[
        str, typer.Option(help="Split whose mean density is the centre bias.")
    ] = "train",
    flow: Annotated[str | None, typer.Option(help="Flow array, where there are several.")] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "--metrics",
            help="Metric of `foveal plugins`, default all that are defined. Repeatable, or "
            "comma-separated.",
        ),
    ] = None,
    variant: Annotated[
        str,
        typer.Option(
            "--definitions",
            "--variant",
            help="Whose definitions: mit, dhf1k, pysaliency or ntire2026.",
        ),
    ] = "mit",
    average: Annotated[
        str, typer.Option(help="videos: mean of each video first; frames: mean of all frames.")
    ] = "videos",
    mask: Annotated[
        str | None, typer.Option(help="Only frames that count in this mask (foveal mask).")
    ] = None,
    per_video: Annotated[bool, typer.Option("--per-video", help="A table for each video.")] = False,
    csv_path: Annotated[
        Path | None, typer.Option("--csv", help="Write all means as CSV here.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where scores are computed.")] = "cpu",
    cluster: Cluster = None,
    as_json: Json = False,
) -> None:
    """Score predictions, and the baselines that every table needs, in one table.

    The store keeps the latest scores as evaluation.json; `foveal report` shows them.
    """
    from foveal.models.metrics import DEFINITIONS, metrics_of, names
    from foveal.pipeline.learn.evaluate import BASELINES
    from foveal.pipeline.learn.scored import score_predictions
    from foveal.storage.reader import open_store

    opened = open_store(store)
    definitions: Any = _listed("definitions", variant, DEFINITIONS)[0]
    wanted_metrics = ",".join(metrics or ["all"])
    chosen_metrics = (
        list(metrics_of(definitions))
        if wanted_metrics == "all"
        else _listed("metric", wanted_metrics, names())
    )
    _listed("average", average, ("videos", "frames"))
    with ExitStack() as stack:
        each: Each | None = None
        if cluster is not None:
            from foveal.flows import compute

            each = compute.Each(stack.enter_context(compute.on_cluster(cluster)), device)
        scores = score_predictions(
            opened,
            prediction,
            split=split,
            videos=only,
            baselines=_listed("baselines", baselines, BASELINES),
            train_split=train_split,
            flow=flow,
            metrics=chosen_metrics,
            variant=definitions,
            mask=mask,
            device=device,
            advance=stack.enter_context(following("score")),
            each=each,
        )
    if csv_path is not None:
        with writing(csv_path):
            csv_path.write_text(scores.to_csv(), encoding="utf-8")
    result = {**scores.to_dict(), "mask": mask}
    _keep(store, result)
    if as_json:
        print_json(result)
    else:
        _show(scores, f"mean_of_{average}", per_video)


def _keep(store: str, result: dict[str, Any]) -> None:
    """Write the scores to the store, for the report; a read-only store is not an error."""
    from foveal.storage.evaluation import write_evaluation
    from foveal.storage.location import Location

    try:
        write_evaluation(Location(store), result)
    except (OSError, ValueError) as error:
        err.print(f"not stored for the report: {store} is not writable ({error})", markup=False)


def _show(scores: Evaluation, average: str, per_video: bool) -> None:
    from foveal.models.metrics import find_metric

    chosen = [find_metric(name) for name in scores.metrics]
    heads = [each.label if each.higher_is_better else f"{each.label}↓" for each in chosen]
    columns = ("", *heads)
    print_table(
        f"{scores.store}, split {scores.split or 'all'}, {scores.variant}, "
        f"{average.replace('_', ' ')}",
        columns,
        [
            (name, *(_number(table["dataset"][metric][average]) for metric in scores.metrics))
            for name, table in scores.tables.items()
        ],
        numbers=" ".join(heads),
    )
    any_table = next(iter(scores.tables.values()))
    for video in any_table["videos"] if per_video else ():
        print_table(
            f"\n{video}",
            columns,
            [
                (
                    name,
                    *(
                        _number(table["videos"][video]["metrics"][metric]["mean"])
                        for metric in scores.metrics
                    ),
                )
                for name, table in scores.tables.items()
            ],
            numbers=" ".join(heads),
        )
    for name, table in scores.tables.items():
        for metric, entry in table["dataset"].items():
            excluded = {key: n for key, n in entry["excluded"].items() if key != "masked"}
            if excluded:
                counts = ", ".join(f"{n} {why}" for why, n in excluded.items())
                out.print(f"{name}, {metric}: frames not scored: {counts}", markup=False)
    for remark in scores.remarks:
        out.print(f"note: {remark}", markup=False)
    for name, why in scores.without_baselines.items():
        out.print(f"no {name}: {why}", markup=False)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _listed(option: str, text: str, allowed: Sequence[str]) -> list[str]:
    """Return the names in a comma-separated list."""
    if text == "all":
        return list(allowed)
    if text == "none":
        return []
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in allowed]
    if unknown:
        raise RecipeError(f"--{option}: unknown {unknown[0]!r}; choose among {', '.join(allowed)}")
    return names
