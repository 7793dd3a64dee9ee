"""This module holds ``foveal train``, which trains a saliency network on stores."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from foveal.cli.console import Json, err, out, print_json, print_table
from foveal.units import time_text

if TYPE_CHECKING:
    from foveal.pipeline.learn.step import Step

NETWORKS = (
    "lsts_rgb, lsts_flow, lsts_rgb_flow, gfsalnet, gfsalnet_spatial, gfsalnet_temporal, "
    "tp_cmrnet, salbce, salema, salclstm, decoder3d"
)

_QUIET_SECONDS = 30.0


def train(
    model: Annotated[
        str,
        typer.Argument(
            help=f"Network: {NETWORKS}; `foveal plugins` lists those of other packages."
        ),
    ],
    store: Annotated[
        list[str] | None,
        typer.Option(help="Store to train on (path or URL). Repeatable: trained on together."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; those left out are the paper's.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change a setting: learning_rate=1.0e-4; options.… build the network. Repeatable.",
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="Folder of checkpoints and logs; default runs/MODEL.")
    ] = None,
    explained: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show what the paper and its code say of each setting, and why ours is so.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a network; the same command again goes on where it was stopped or killed.

    Ctrl-C ends it after the current step, with a checkpoint; a second Ctrl-C ends it at once.
    Several GPUs: torchrun --nproc-per-node 8 -m foveal train ….
    """
    from foveal.pipeline.learn.checkpoint import LAST
    from foveal.pipeline.learn.settings import TrainSettings
    from foveal.pipeline.learn.train import train as learn

    if explained:
        _explain(model, overrides or [], as_json)
        return
    settings = TrainSettings.load(config, overrides or (), model=model, stores=store, run=run)
    with _Watch(shown=os.environ.get("RANK", "0") == "0") as watch:
        try:
            result = learn(settings, watch)
        except KeyboardInterrupt:
            kept = "nothing was saved yet, the same command starts anew"
            if (Path(settings.run).expanduser() / LAST).is_file():
                kept = f"the same command goes on from the latest checkpoint, {settings.run}/{LAST}"
            err.print(f"\nstopped at once; {kept}", markup=False)
            raise typer.Exit(130) from None
    if watch.shown and result.ended == "stopped":
        goes_on = f"the same command goes on from {result.run / LAST}"
        err.print(f"\nstopped after step {result.iterations}; {goes_on}", markup=False)
    if result.ended == "stopped":
        raise typer.Exit(130)
    if not watch.shown:
        return
    if as_json:
        print_json(vars(result))
        return
    nss = "not validated" if result.best_nss is None else f"{result.best_nss:.3f}"
    ended = "NSS no longer rose" if result.ended == "early" else "all steps done"
    print_table(
        f"{result.model} in {result.run}",
        ("parameters", "steps", "epochs", "best NSS", "at step", "time", "waiting for data"),
        [
            (
                f"{result.parameters:,}",
                result.iterations,
                result.epochs,
                nss,
                result.best_iteration,
                time_text(result.seconds),
                f"{result.waiting_share:.1%}",
            )
        ],
        numbers="parameters steps epochs",
    )
    out.print(f"{ended}; foveal predict {result.run} --store … writes its maps", markup=False)


def _explain(model: str, overrides: list[str], as_json: bool) -> None:
    """Print the settings of a network beside its paper's."""
    from foveal.models import saliency
    from foveal.models.saliency.protocols import HEADS, explain
    from foveal.pipeline.recipe.yaml_files import override

    values: dict[str, Any] = {}
    for change in overrides:
        override(values, change)
    spec = saliency.spec(model, **values.get("options", {}))
    rows = explain(spec)
    if as_json:
        settings = [dict(zip(HEADS, row, strict=True)) for row in rows]
        print_json({"network": spec.name, "paper": spec.paper, "settings": settings})
        return
    print_table(f"{spec.name}: {spec.paper}", HEADS, rows)
    out.print("the same tables, of all networks: docs/training.md", markup=False)


class _Watch:
    """Shows a bar on a terminal; elsewhere prints a line per validation, and one now and then."""

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self._live = shown and err.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=err,
            disable=not self._live,
        )
        self._bar = self._progress.add_task("train", total=None, note="")
        self._spoke = time.monotonic()

    def __enter__(self) -> _Watch:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, step: Step) -> None:
        best = "" if step.best_nss is None else f", best NSS {step.best_nss:.3f}"
        note = (
            f"epoch {step.epoch + 1}, loss {step.loss:.4f}{best}, "
            f"{step.waiting_share:.0%} waiting, {time_text(step.eta_seconds)} left"
        )
        self._progress.update(self._bar, completed=step.iteration, total=step.iterations, note=note)
        due = step.nss is not None or time.monotonic() - self._spoke > _QUIET_SECONDS
        if self.shown and not self._live and due:
            self._spoke = time.monotonic()
            nss = "" if step.nss is None else f"NSS {step.nss:.3f}, "
            line = f"step {step.iteration} of {step.iterations}: {nss}{note}"
            err.print(line, markup=False, soft_wrap=True)
