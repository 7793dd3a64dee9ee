"""This module holds ``foveal predict``, which writes a trained network's maps to a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.console import INCOMPLETE, Json, following, out, print_json, print_table
from foveal.errors import RecipeError

if TYPE_CHECKING:
    from foveal.pipeline.learn.predict import Prediction


def predict(
    weights: Annotated[
        str,
        typer.Argument(
            help="Folder of a run, its best.pt, hf://NAME/REPO, or a weight file with --network."
        ),
    ],
    store: Annotated[str, typer.Option(help="Store to read and write (path or URL).")],
    name: Annotated[
        str | None, typer.Option(help="Array saliency_NAME; default the network's name.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only videos of this split.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this video (id). Repeatable.")
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="Network of a weight file that foveal did not write.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Option of --network: alpha_mode=learned. Repeatable."),
    ] = None,
    flow: Annotated[str | None, typer.Option(help="Flow array, where there are several.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    dtype: Annotated[str, typer.Option(help="Stored as float16 or float32.")] = "float16",
    inner: Annotated[
        bool,
        typer.Option(
            "--inner",
            help="Store intermediate results too, as arrays inner_NAME_…: gate, appearance and "
            "motion of GFSalNet, attention of TP-CMRNet, state of SalEMA and SalCLSTM.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Estimate saliency of a store's videos and store it as one more array of each.

    What is complete from the same weights and inputs is not computed again. Exit status 3: some
    videos were skipped.
    """
    from foveal.pipeline.learn.predict import Predictor, predict_store

    built, trained = _network(weights, network, overrides or [])
    predictor = Predictor(
        built,
        name or built.spec.name,
        flow,
        device,
        _one_of("precision", precision, ("auto", "float32", "bfloat16", "float16")),
        _one_of("dtype", dtype, ("float16", "float32")),
        trained,
        inner,
    )
    with following("predict") as advance:
        results = predict_store(predictor, store, split=split, videos=only, advance=advance)
    tell(store, predictor.array, results, as_json)


def tell(
    store: str,
    array: str,
    results: Sequence[Prediction],
    as_json: bool,
    further: Mapping[str, Any] | None = None,
) -> None:
    """Print the result of each video; exit with status 3 if some were skipped."""
    skipped = [result for result in results if result.status == "skipped"]
    if as_json:
        rows = [vars(result) for result in results]
        print_json({"store": store, "array": array, **(further or {}), "videos": rows})
    else:
        if skipped:
            print_table("skipped", ("video", "reason"), [(r.video, r.reason) for r in skipped])
        counts = {
            status: sum(result.status == status for result in results)
            for status in ("complete", "unchanged", "skipped")
        }
        parts = [f"{count} {status}" for status, count in counts.items() if count]
        out.print(f"{store}: {array}: {', '.join(parts)}", markup=False)
    if skipped:
        raise typer.Exit(INCOMPLETE)


def _network(weights: str, name: str | None, overrides: list[str]) -> tuple[Any, dict[str, Any]]:
    """Return the network to run, and how it was trained, if that is known."""
    from foveal.models import saliency
    from foveal.pipeline.learn.checkpoint import load_network
    from foveal.pipeline.recipe.yaml_files import override

    if name is None:
        if overrides:
            raise RecipeError("--set goes with --network; a file of `foveal train` has its options")
        if weights.startswith("hf://"):
            from foveal.pipeline.share.runs import fetched_run

            weights = str(fetched_run(weights))
        return load_network(weights)
    file = Path(weights).expanduser()
    options: dict[str, Any] = {}
    for change in overrides:
        override(options, change)
    network = saliency.build(name, weights=file if file.exists() else weights, **options)
    return network.eval(), {}


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise RecipeError(f"--{option} {value!r}: choose one of {', '.join(allowed)}")
    return value
