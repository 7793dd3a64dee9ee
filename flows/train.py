"""The flow behind the deployment ``train-model``: the same run as ``foveal train``.

Training resumes by itself from the checkpoint in its folder, so a task that is tried again, after a
lost worker say, goes on at the exact step.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType
from prefect.runtime import flow_run
from prefect.states import Completed

from foveal.errors import FovealError
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.step import Step
from foveal.pipeline.learn.train import TrainResult, train

RETRY_DELAYS_SECONDS = [10.0, 60.0]


@task(
    name="train-network",
    task_run_name="{name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=len(RETRY_DELAYS_SECONDS),
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
    retry_condition_fn=lambda _task, _run, state: _may_pass(state),
)
def train_network(name: str, settings: dict[str, Any]) -> TrainResult:
    """Train one network; `name` is what the UI shows."""
    log = get_run_logger()

    def tell(step: Step) -> None:
        if step.nss is not None:
            log.info(
                "%s: step %d of %d, loss %.4f, NSS %.3f, %.0f s left",
                name,
                step.iteration,
                step.iterations,
                step.loss,
                step.nss,
                step.eta_seconds,
            )

    return train(TrainSettings.parse(settings), tell)


def _may_pass(state: Any) -> bool:
    """Whether trying again may help: not where the settings or the stores are wrong."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError)


def _run_name() -> str:
    """What the UI calls a run: its network and its stores."""
    given = flow_run.parameters
    try:
        wanted = _settings(
            *(given.get(key) for key in ("settings", "overrides", "model", "stores"))
        )
    except (FovealError, OSError):
        return "settings refused"
    stores = ", ".join(store.rstrip("/").rsplit("/", 1)[-1] for store in wanted.stores)
    return f"{wanted.model} on {stores}"


@flow(name="train-model", flow_run_name=_run_name, persist_result=False)
def train_model(
    settings: str | dict[str, Any] | None = None,
    overrides: list[str] | None = None,
    model: str | None = None,
    stores: list[str] | None = None,
) -> State[dict[str, Any]]:
    """Train a saliency network, or go on with a run that was begun in the same folder.

    Args:
        settings: Path of a YAML file of settings, or its content.
        overrides: ``dotted.key=value`` changes.
        model: Network, where the settings do not say.
        stores: Stores to train on, likewise.

    Returns:
        How the run ended: folder, steps, best NSS, time, share of it spent waiting for data.
    """
    try:
        resolved = _settings(settings, overrides, model, stores)
        result = train_network(resolved.model, resolved.resolved())
    except FovealError as error:
        # Said in a line: a traceback says nothing more of what the user has to mend.
        return State(type=StateType.FAILED, name="Refused", message=str(error), data=error)
    summary = {**vars(result), "run": str(result.run)}
    create_table_artifact(key="train-model", description=result.model, table=[summary])
    return Completed(message=f"{result.model}: {result.iterations} steps", data=summary)


def _settings(
    settings: str | dict[str, Any] | None,
    overrides: list[str] | None,
    model: str | None,
    stores: list[str] | None,
) -> TrainSettings:
    values = {"model": model, "stores": stores}
    if isinstance(settings, dict):
        values = {**settings, **{key: value for key, value in values.items() if value is not None}}
        settings = None
    return TrainSettings.load(settings, overrides or (), **values)
