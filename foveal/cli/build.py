"""``foveal build``: a recipe's dataset into its store."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.console import INCOMPLETE, ROWS, Json, err, out, print_json, print_table
from foveal.cli.progress import LineProgress, LiveProgress
from foveal.units import size_text, time_text

if TYPE_CHECKING:
    from foveal.pipeline.build.progress import Listener
    from foveal.pipeline.build.run import VideoResult
    from foveal.pipeline.recipe.recipe import Recipe


def build(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe, e.g. recipes/dhf1k.yaml")],
    root: Annotated[Path | None, typer.Option(help="Folder of the raw dataset.")] = None,
    store: Annotated[str | None, typer.Option(help="The store to write (path or URL).")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a key: frames.size=[192,256]. Repeatable."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this video (id). Repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N videos.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Videos at a time.")] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try quarantined videos again, changed or not.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Verify first, compute damaged stages again.")
    ] = False,
    recompute: Annotated[
        list[str] | None,
        typer.Option(help="Compute this stage again though it is complete. Repeatable."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            envvar="FOVEAL_CLUSTER",
            help="Dask cluster: local:4, local:gpus, tcp://scheduler:8786. Threads by default.",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where stages compute: auto, cpu, cuda, cuda:1.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, how much disk, how long.")
    ] = False,
    as_json: Json = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Prefect's own log.")] = False,
) -> None:
    """Build, or bring up to date, the store of a recipe.

    What is complete under the same fingerprint is left alone; a killed build is simply started
    again. Exit status 3: some videos are quarantined or failed, the others are whole.
    """
    changes = [*(overrides or []), *([] if device is None else [f"device={device}"])]
    resolved = load_recipe(recipe, root, store, changes)
    if dry_run:
        _foretell(resolved, only or [], limit, retry, recompute or [], as_json)
        return
    results = run_build(
        resolved, only or [], limit, retry, repair, recompute or [], workers, verbose, cluster
    )
    show_results(resolved, results, as_json)
    if not all(result.ok for result in results):
        raise typer.Exit(INCOMPLETE)


def load_recipe(
    path: Path, root: Path | None, store: str | None, overrides: Sequence[str] | None
) -> Recipe:
    """A recipe with what the command line changes."""
    from foveal.pipeline.recipe.recipe import Recipe

    changes = list(overrides or [])
    changes += [] if root is None else [f"dataset.root={_quoted(str(root.absolute()))}"]
    changes += [] if store is None else [f"store={_quoted(store)}"]
    return Recipe.load(path, changes)


def run_build(
    recipe: Recipe,
    only: Sequence[str] = (),
    limit: int | None = None,
    retry: bool = False,
    repair: bool = False,
    recompute: Sequence[str] = (),
    workers: int | None = None,
    verbose: bool = False,
    cluster: str | None = None,
) -> list[VideoResult]:
    """Run the flow with live progress where there is a terminal; skip it where nothing is due.

    Ctrl-C and SIGTERM stop the videos at work within seconds, put the terminal right and end the
    process; a second one ends it at once.
    """
    from foveal.pipeline.build.build import Build
    from foveal.pipeline.report.kept import kept_report

    with _stopped_by_signals() as stop, ExitStack() as stack:
        listener: Listener = LineProgress()
        if err.is_terminal:
            listener = stack.enter_context(stop.progress)
        opened = Build.open(recipe, listener, device_elsewhere=bool(cluster))
        if not Path(recipe.store).is_absolute() and opened.location.local is not None:
            err.print(f"the store: {opened.location.local.absolute()}", markup=False)
        build = stack.enter_context(opened.at_work(alone=repair or bool(recompute)))
        plan = build.plan(only, limit, retry, repair, recompute)
        if not plan.to_do:
            build.remember(plan)
            build.finalise(plan.settled, plan)
            if kept_report(recipe.store) is None:
                from foveal.pipeline.report.report import keep_report

                keep_report(recipe.store)
            return plan.settled
        if not verbose:
            os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
        from foveal.flows.server import prefect_server

        err.print("starting Prefect's server, which takes some seconds")
        stack.enter_context(prefect_server())
        from foveal.flows.build import run_planned

        return run_planned(build, plan, workers, recompute, cluster, stop.leave)


class _Stop(KeyboardInterrupt):
    """A signal came that ends the build."""


class _Signals:
    """Turns the first Ctrl-C or SIGTERM into `_Stop`, and leaves at the second."""

    def __init__(self) -> None:
        self.progress = LiveProgress()
        self.number: int | None = None

    def come(self, number: int, _frame: object) -> None:
        if self.number is not None:
            self.leave()
        self.number = number
        raise _Stop

    def leave(self) -> None:
        """Put the terminal right and end the process: what is complete stays."""
        self.progress.close()
        err.print("stopped; what is complete stays, `foveal build` with the same recipe goes on")
        # Without what the interpreter waits for at its end: threads of videos that still compute.
        # While a flow runs, Prefect has SIGTERM to itself.
        os._exit(128 + (self.number or signal.SIGTERM))


@contextmanager
def _stopped_by_signals() -> Iterator[_Signals]:
    signals = _Signals()
    former = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        # Ignored by whoever started the command in the background: then so it stays.
        if signal.getsignal(number) is not signal.SIG_IGN:
            former[number] = signal.signal(number, signals.come)
    try:
        yield signals
    except BaseException:
        if signals.number is not None:
            signals.leave()
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def show_results(recipe: Recipe, results: Sequence[VideoResult], as_json: bool) -> None:
    """Show the outcome of all videos: problems in full, others counted; and the report's path."""
    from foveal.pipeline.build.run import Status
    from foveal.pipeline.report.kept import kept_report

    done = [result for result in results if result.status is Status.COMPLETE]
    bad = [result for result in results if not result.ok]
    report = kept_report(recipe.store)
    counts = {status.value: sum(r.status is status for r in results) for status in Status}
    if as_json:
        rows = [{**vars(one), "meter": one.meter.to_dict()} for one in results]
        print_json({"store": recipe.store, "report": report, "counts": counts, "videos": rows})
        return
    if done:
        print_table(
            "built",
            ("video", "frames", "wall", "stored", "stages"),
            [
                (
                    result.video,
                    result.frames,
                    time_text(result.wall_seconds),
                    size_text(result.stored_bytes),
                    ", ".join(result.stages),
                )
                for result in done[:ROWS]
            ],
            numbers="frames wall stored",
        )
        if len(done) > ROWS:
            out.print(f"… and {len(done) - ROWS} more; foveal inspect {recipe.store} lists all")
    if bad:
        print_table(
            "not built",
            ("video", "status", "reason"),
            [(result.video, result.status.value, result.reason) for result in bad],
        )
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    out.print(f"{recipe.store}: {len(results)} videos: {', '.join(parts) or 'none'}")
    if not done and not bad:
        out.print("nothing to do: everything is complete under the same fingerprints")
    if report is not None:
        out.print(f"report: {report}", markup=False)


def _foretell(
    recipe: Recipe,
    only: Sequence[str],
    limit: int | None,
    retry: bool,
    recompute: Sequence[str],
    as_json: bool,
) -> None:
    from foveal.pipeline.build.build import Build
    from foveal.pipeline.build.forecast import estimate

    build = Build.open(recipe)
    plan = build.plan(only, limit, retry, recompute=recompute)
    forecast = estimate(recipe, plan.to_do)
    if as_json:
        print_json({"store": recipe.store, "settled": len(plan.settled), **forecast.to_dict()})
        return
    print_table(
        "would be computed",
        ("stage", "videos", "frames", "disk", "time"),
        [
            (
                stage.stage,
                stage.videos,
                stage.frames,
                size_text(stage.stored_bytes),
                time_text(stage.compute_seconds),
            )
            for stage in forecast.stages
        ],
        numbers="videos frames disk time",
    )
    for video, reason in forecast.unreadable.items():
        out.print(f"{video}: would be quarantined: {reason}", markup=False)
    out.print(
        f"{len(plan.to_do)} videos to do, {len(plan.settled)} need nothing; about "
        f"{size_text(forecast.stored_bytes)} of {size_text(forecast.free_bytes)} free, "
        f"{time_text(forecast.wall_seconds)} (from {forecast.basis})"
    )
    out.print(f"the store: {build.location.local or build.location}", markup=False)


def _quoted(text: str) -> str:
    """As a YAML scalar."""
    return "'" + text.replace("'", "''") + "'"
