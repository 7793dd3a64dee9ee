"""The flow behind the deployment ``train-model``: the same run as ``foveal train``.

Training resumes by itself from the checkpoint in its folder, so a task that is tried again, after a
lost worker say, goes on at the exact step.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

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


@flow(name="train-model", persist_result=False)
def train_model(
    settings: str | dict[str, Any] | None = None,
    overrides: list[str] | None = None,
    model: str | None = None,
    stores: list[str] | None = None,
) -> dict[str, Any]:
    """Train a saliency network, or go on with a run that was begun in the same folder.

    Args:
        settings: Path of a YAML file of settings, or its content.
        overrides: ``dotted.key=value`` changes.
        model: Network, where the settings do not say.
        stores: Stores to train on, likewise.

    Returns:
        How the run ended: folder, steps, best NSS, time, share of it spent waiting for data.
    """
    values = {"model": model, "stores": stores}
    if isinstance(settings, dict):
        values = {**settings, **{key: value for key, value in values.items() if value is not None}}
        settings = None
    resolved = TrainSettings.load(settings, overrides or (), **values)
    result = train_network(resolved.model, resolved.resolved())
    summary = {**vars(result), "run": str(result.run)}
    create_table_artifact(key="train-model", description=result.model, table=[summary])
    return summary
