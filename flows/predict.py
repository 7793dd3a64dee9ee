"""The flows behind the deployments ``predict-saliency`` and ``evaluate-predictions``."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State, StateType
from prefect.runtime import flow_run
from prefect.states import Completed

from foveal.errors import FovealError, RecipeError
from foveal.models.metrics import names
from foveal.pipeline.learn.checkpoint import load_network
from foveal.pipeline.learn.evaluate import BASELINES
from foveal.pipeline.learn.predict import Predictor, predict_store
from foveal.pipeline.learn.scored import score_predictions
from foveal.storage.evaluation import write_evaluation
from foveal.storage.location import Location
from foveal.storage.reader import open_store

EVERY_SECONDS = 30.0


def _predict_name() -> str:
    given = flow_run.parameters
    return f"{given['weights']} on {given['store']}"


@flow(name="predict-saliency", flow_run_name=_predict_name, persist_result=False)
def predict_saliency(
    weights: str,
    store: str,
    name: str | None = None,
    split: str | None = None,
    only: list[str] | None = None,
    flow: str | None = None,
    device: str = "auto",
) -> State[dict[str, Any]]:
    """Write a trained network's maps of a store's videos into it.

    Args:
        weights: Folder of a training run, or its ``best.pt``.
        store: The store, path or URL.
        name: The array is called ``saliency_NAME``; by default the network's name.
        split: Only videos of this split.
        only: Ids of the wanted videos.
        flow: Flow array, where the store has several.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        ``Completed``, or ``Failed``: named "Incomplete" where videos were skipped, "Refused" where
        nothing could be done.
    """
    try:
        network, trained = load_network(weights)
        predictor = Predictor(
            network, name or network.spec.name, flow=flow, device=device, trained=trained
        )
        log = get_run_logger()

        def advance(video: str, done: int, frames: int) -> None:
            if done >= frames:
                log.info("%s: %d frames", video, frames)

        results = predict_store(predictor, store, split=split, videos=only, advance=advance)
    except FovealError as error:
        return State(type=StateType.FAILED, name="Refused", message=str(error), data=error)
    rows = [vars(result) for result in results]
    create_table_artifact(key="predict-saliency", description=predictor.array, table=rows)
    skipped = sum(result.status == "skipped" for result in results)
    data = {"store": store, "array": predictor.array, "videos": rows}
    message = f"{predictor.array}: {len(results)} videos, {skipped} skipped"
    if skipped:
        return State(type=StateType.FAILED, name="Incomplete", message=message, data=data)
    return Completed(message=message, data=data)


@flow(name="evaluate-predictions", persist_result=False)
def evaluate_predictions(
    store: str,
    predictions: list[str] | None = None,
    split: str | None = None,
    only: list[str] | None = None,
    baselines: list[str] | None = None,
    metrics: list[str] | None = None,
    variant: Literal["mit", "dhf1k", "pysaliency"] = "mit",
    mask: str | None = None,
    flow: str | None = None,
    device: str = "cpu",
) -> State[dict[str, Any]]:
    """Score predictions of a store, and baselines, and keep the scores in it for its report.

    Args:
        store: The store, path or URL.
        predictions: Their names; by default all that every video has.
        split: Only videos of this split.
        only: Ids of the wanted videos.
        baselines: By default all that the store can give.
        metrics: By default all.
        variant: Whose definitions of the metrics.
        mask: Only frames that count in this mask.
        flow: Flow array, where the store has several.
        device: Where scores are computed.

    Returns:
        ``Completed`` with the scores as ``foveal evaluate --json`` prints them, or ``Failed``,
        named "Refused".
    """
    try:
        unknown = sorted(set(metrics or ()) - set(names()))
        if unknown:
            raise RecipeError(f"unknown metric {unknown[0]!r}; choose among {', '.join(names())}")
        scores = score_predictions(
            open_store(store),
            predictions,
            split=split,
            videos=only,
            baselines=BASELINES if baselines is None else baselines,
            flow=flow,
            metrics=metrics,
            variant=variant,
            mask=mask,
            device=device,
        )
        result = {**scores.to_dict(), "mask": mask}
        write_evaluation(Location(store), result)
    except FovealError as error:
        return State(type=StateType.FAILED, name="Refused", message=str(error), data=error)
    table = [
        {
            "": contestant,
            **{metric: entry["mean_of_videos"] for metric, entry in found["dataset"].items()},
        }
        for contestant, found in scores.tables.items()
    ]
    create_table_artifact(key="evaluate-predictions", description=store, table=table)
    videos = next(iter(scores.frames.values()))
    return Completed(message=f"{len(table)} contestants, {len(videos)} videos", data=result)
