"""The flow behind the deployment ``run-experiment``: the same steps as ``foveal experiment run``.

Each step is a task, each build a run of the flow ``build-store``. What is done already is found in
stores, runs and scores, so a run that was killed or cancelled is simply started again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType
from prefect.runtime import flow_run
from prefect.states import Completed

from foveal.errors import FovealError
from foveal.flows.build import build_store
from foveal.pipeline.build.run import VideoResult
from foveal.pipeline.experiment.comparison import compare
from foveal.pipeline.experiment.model import Experiment
from foveal.pipeline.experiment.page import write_tables
from foveal.pipeline.experiment.steps import Outcome, Step, check
from foveal.pipeline.experiment.work import Work, build_here
from foveal.pipeline.learn.step import Step as TrainingStep
from foveal.pipeline.recipe.recipe import Recipe


def _run_name() -> str:
    given = flow_run.parameters
    return f"{given['file']}, {given.get('scale') or 'paper'} scale"


@flow(name="run-experiment", flow_run_name=_run_name, persist_result=False)
def run_experiment(
    file: str,
    only: list[str] | None = None,
    scale: Literal["paper", "tiny"] = "paper",
    folder: str | None = None,
    overrides: list[str] | None = None,
) -> State[dict[str, Any]]:
    """Build, train, predict and score what a paper's tables need, then write the tables.

    Args:
        file: Path of the experiment's YAML file.
        only: Rows to run, by name, ``TABLE/NAME`` or training; all by default.
        scale: ``paper``, or ``tiny`` for made-up videos and small networks.
        folder: Where all is written; by default beside the file, under its name.
        overrides: ``dotted.key=value`` changes to the file.

    Returns:
        ``Completed``, or ``Failed``: named "Incomplete" where videos were left out, "Stopped" where
        a signal ended a training after a checkpoint, "Refused" where nothing could be done.
    """
    log = get_run_logger()

    def tell(step: TrainingStep) -> None:
        if step.nss is not None or step.iteration == step.iterations:
            log.info("step %d of %d, loss %.4f, %.0f s left", step.iteration, step.iterations,
                     step.loss, step.eta_seconds)  # fmt: skip

    try:
        experiment = Experiment.load(file, scale=scale, folder=folder, overrides=overrides or ())
        work = Work(experiment, build_here if scale == "tiny" else _build, tell)
        outcomes: list[Outcome] = []
        steps = work.steps(only or ())
        check(experiment, steps)
        for step in steps:
            outcomes.append(work.run(step) if step.kind == "build" else _carry_out(step, work))
            log.info("%s: %s: %s", step, outcomes[-1].status, outcomes[-1].message)
            if outcomes[-1].status == "stopped":
                break
        comparison = compare(work)
        files = write_tables(comparison, experiment.folder / "tables")
    except FovealError as error:
        # Said in a line: a traceback says nothing more of what the user has to mend.
        return State(type=StateType.FAILED, name="Refused", message=str(error), data=error)
    create_table_artifact(
        key=f"experiment-{experiment.spec.experiment.replace('_', '-')}",
        description=f"{experiment.spec.paper}; tables: {files[0]}",
        table=_rows(comparison),
    )
    return _state(outcomes, comparison)


def _carry_out(step: Step, work: Work) -> Outcome:
    """A step as a task of this run, which the UI shows by its name."""

    @task(name=step.kind, task_run_name=str(step), cache_policy=NO_CACHE, persist_result=False)
    def carry_out() -> Outcome:
        return work.run(step)

    return carry_out()


def _build(recipe: Recipe) -> Sequence[VideoResult]:
    state = build_store(recipe.resolved(), return_state=True)
    results: Any = state.result(raise_on_failure=False)
    if isinstance(results, BaseException):
        raise results
    return list(results)


def _rows(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that are ours, a line for each target."""
    return [
        {
            "table": table["key"],
            "row": row["name"],
            "target": target,
            "state": row["state"],
            **{
                metric: "" if cell["ours"] is None else round(cell["ours"], 3)
                for metric, cell in cells.items()
            },
        }
        for table in comparison["tables"]
        for row in table["rows"]
        if row["training"] is not None
        for target, cells in row["cells"].items()
    ]


def _state(outcomes: Sequence[Outcome], comparison: dict[str, Any]) -> State[dict[str, Any]]:
    counts = dict.fromkeys(("done", "unchanged", "incomplete", "stopped"), 0)
    for outcome in outcomes:
        counts[outcome.status] += 1
    message = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    message = f"{len(outcomes)} steps: {message}"
    if counts["stopped"] or counts["incomplete"]:
        name = "Stopped" if counts["stopped"] else "Incomplete"
        return State(type=StateType.FAILED, name=name, message=message, data=comparison)
    return Completed(message=message, data=comparison)
