"""This module holds ``foveal experiment``, which runs a paper's experiment from one file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from foveal.cli.console import INCOMPLETE, Json, err, out, print_json, print_table
from foveal.errors import RecipeError
from foveal.units import time_text

if TYPE_CHECKING:
    from foveal.pipeline.experiment.model import Experiment
    from foveal.pipeline.experiment.steps import Outcome
    from foveal.pipeline.experiment.work import Work

experiment = typer.Typer(
    help="A paper's stores, trainings and tables, from one file.", no_args_is_help=True
)

File = Annotated[
    str,
    typer.Argument(
        help="YAML file, or the name of one that foveal ships: linardos, lsts, tp_cmrnet, gfsalnet."
    ),
]
Scale = Annotated[
    str, typer.Option(help="paper; or tiny: made-up videos and small networks, in minutes.")
]
Folder = Annotated[
    Path | None,
    typer.Option(help="Folder of all results; by default beside the file, under its name."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change a key: stores.dhf1k.recipe.dataset.root=/data/DHF1K. Repeatable."
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Only this row of a table (its name, TABLE/NAME, or its training) and what "
                 "it needs. Repeatable."),
]  # fmt: skip


@experiment.command("run")
def run(
    file: File,
    only: Only = None,
    scale: Scale = "paper",
    folder: Folder = None,
    overrides: Overrides = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N, instead of the file's.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the steps, and do nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Do what is not done yet: build stores, train, predict, score; then write the tables.

    After Ctrl-C or a kill the same command goes on from the stores and checkpoints. Exit status 3:
    done, but some videos were left out.
    """
    from foveal.pipeline.experiment.steps import check
    from foveal.pipeline.experiment.work import Work

    changes = [*(overrides or []), *([] if device is None else [f"device={device}"])]
    loaded = load(file, scale, folder, changes)
    with ExitStack() as stack:
        watch = stack.enter_context(_Watch())
        work = Work(loaded, _builder(loaded), watch.trained, watch.advanced)
        steps = work.steps(only or ())
        if dry_run:
            _list(loaded, steps, as_json)
            return
        check(loaded, steps)
        outcomes: list[Outcome] = []
        try:
            for number, step in enumerate(steps, start=1):
                watch.begins(f"[{number} of {len(steps)}] {step}", own_bar=step.kind == "build")
                outcomes.append(work.run(step))
                watch.ended(outcomes[-1])
                if outcomes[-1].status == "stopped":
                    break
        except KeyboardInterrupt:
            watch.stop()
            err.print(f"\nstopped; what is complete stays in {loaded.folder}, the same command "
                      "goes on", markup=False)  # fmt: skip
            raise typer.Exit(130) from None
    stopped = bool(outcomes) and outcomes[-1].status == "stopped"
    _finish(work, outcomes, as_json, stopped)
    if stopped:
        err.print("stopped; the same command goes on", markup=False)
        raise typer.Exit(130)
    if any(outcome.status == "incomplete" for outcome in outcomes):
        raise typer.Exit(INCOMPLETE)


@experiment.command("table")
def table(
    file: File,
    scale: Scale = "paper",
    folder: Folder = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Print and write the tables: our numbers, the printed ones, and the difference.

    The folder's tables/ gets tables.html, tables.csv and one .tex file per table.
    """
    from foveal.pipeline.experiment.work import Work

    _finish(Work(load(file, scale, folder, overrides)), [], as_json, stopped=False)


def load(file: str, scale: str, folder: Path | None, overrides: Sequence[str] | None) -> Experiment:
    """Read the experiment of a file, or the shipped experiment of that name.

    Raises
    ------
    RecipeError
        There is none, or it is wrong.
    """
    from importlib import resources

    from foveal.pipeline.experiment.model import Experiment

    chosen: Any = scale
    if Path(file).is_file():
        return Experiment.load(file, scale=chosen, folder=folder, overrides=overrides or ())
    shipped = {
        one.name.removesuffix(".yaml"): one
        for one in (resources.files("foveal") / "experiments").iterdir()
        if one.name.endswith(".yaml")
    }
    if file not in shipped:
        raise RecipeError(
            f"there is no file {file}; give a file, or one of {', '.join(sorted(shipped))}"
        )
    here = folder or Path(file if scale == "paper" else f"{file}-{scale}")
    with resources.as_file(shipped[file]) as path:
        return Experiment.load(path, scale=chosen, folder=here, overrides=overrides or ())


def _builder(loaded: Experiment) -> Any:
    """Return the builder: tiny stores are built here, others as ``foveal build`` does."""
    from foveal.cli.build import run_build
    from foveal.pipeline.experiment.work import build_here

    return build_here if loaded.scale == "tiny" else run_build


def _list(loaded: Experiment, steps: Sequence[Any], as_json: bool) -> None:
    if as_json:
        rows = [vars(step) for step in steps]
        print_json({"folder": str(loaded.folder), "scale": loaded.scale, "steps": rows})
        return
    rows = [(number, step.kind, step.name, step.target) for number, step in enumerate(steps, 1)]
    print_table(f"{loaded.spec.experiment}, {loaded.scale} scale, in {loaded.folder}",
                ("", "step", "of", "on"), rows, numbers="")  # fmt: skip


def _finish(work: Work, outcomes: Sequence[Outcome], as_json: bool, stopped: bool) -> None:
    """Write the tables, and print their content."""
    from foveal.pipeline.experiment.comparison import compare
    from foveal.pipeline.experiment.page import write_tables

    comparison = compare(work)
    files = write_tables(comparison, work.experiment.folder / "tables")
    if stopped and not as_json:
        return
    if as_json:
        steps = [{**vars(each), "step": str(each.step)} for each in outcomes]
        print_json({**comparison, "files": list(map(str, files)), "steps": steps,
                    "stopped": stopped})  # fmt: skip
        return
    for table in comparison["tables"]:
        for target in table["targets"]:
            _show(comparison, table, target)
    for number, note in enumerate(comparison["notes"], start=1):
        out.print(f"[{number}] {note}", markup=False)
    if comparison["not_run"]:
        names = [f"{one['table']}/{one['row']}" for one in comparison["not_run"]]
        out.print(f"not run: {'; '.join(names)}", markup=False)
    out.print(f"page: {files[0]}\nnumbers: {files[1]}\nLaTeX: {files[2].parent}/*.tex",
              markup=False)  # fmt: skip


def _show(comparison: Any, table: Any, target: Any) -> None:
    from foveal.pipeline.experiment.page import label

    heads = [label(metric) for metric in table["metrics"]]
    rows = []
    for row in table["rows"]:
        marks = f" [{','.join(map(str, row['notes']))}]" if row["notes"] else ""
        cells = row["cells"][target["name"]].values()
        state = "" if row["state"] in ("run", "others") else row["state"]
        rows.append((row["name"] + marks, *map(_text, cells), state))
    withheld = ", ground truth withheld" if target["withheld"] else ""
    print_table(
        f"\n{table['key']} {table['title']}, {target['title']}{withheld}: ours (paper, difference)",
        ("", *heads, " "),
        rows,
    )


def _text(cell: Any) -> str:
    """Return ``ours (paper, difference)``."""
    from foveal.pipeline.experiment.page import number, printed, signed

    paper = printed(cell) or "-"
    if cell["ours"] is None:
        return f"– ({paper})"
    difference = f", {signed(cell['difference'])}" if cell["difference"] is not None else ""
    return f"{number(cell['ours'])} ({paper}{difference})"


class _Watch:
    """Shows the current step, with a bar on a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(console=err, disable=not err.is_terminal)
        self._bar = self._progress.add_task("", total=None)
        self._doing = ""

    def __enter__(self) -> _Watch:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the display."""
        self._progress.stop()

    def begins(self, step: str, *, own_bar: bool) -> None:
        """Show a step; a step with a bar of its own gets the terminal."""
        self._doing = step
        self._progress.reset(self._bar, description=step, total=None)
        if own_bar:
            self._progress.stop()
        else:
            self._progress.start()

    def ended(self, outcome: Outcome) -> None:
        about = f": {outcome.message}" if outcome.message else ""
        line = f"{self._doing}: {outcome.status}{about} ({time_text(outcome.seconds)})"
        self._progress.console.print(line, markup=False, soft_wrap=True)

    def trained(self, step: Any) -> None:
        note = f"{self._doing}, loss {step.loss:.4f}, {time_text(step.eta_seconds)} left"
        self._progress.update(
            self._bar, description=note, completed=step.iteration, total=step.iterations
        )

    def advanced(self, video: str, done: int, frames: int) -> None:
        self._progress.update(
            self._bar, description=f"{self._doing}: {video}", completed=done, total=frames
        )
