"""This module sends the scores of a run to TensorBoard, Weights & Biases or MLflow.

None of them is needed: ``curve.csv`` and ``validation.csv`` in the run's folder hold the same. A
resumed run continues in the same place.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from foveal.errors import MissingDependency, writing

LoggerName = Literal["tensorboard", "wandb", "mlflow"]

PROJECT = "foveal"
"""Default project of Weights & Biases and experiment of MLflow; their own variables change it."""


class Logger(Protocol):
    """Receives the scores of a run."""

    def add(self, iteration: int, scores: Mapping[str, float]) -> None:
        """Record scores (``loss``, ``learning_rate``, ``nss``) after so many steps."""

    def close(self) -> None:
        """Send everything that is still held back."""


class TensorBoard:
    """Event files in ``tensorboard`` below the run's folder.

    Parameters
    ----------
    folder : Path
    settings : mapping
    after : int
        Records of later steps are dropped, since these steps are taken again.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], after: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer: Any = SummaryWriter  # untyped
        self._writer = writer(str(folder / "tensorboard"), purge_step=after + 1 if after else None)
        if not after:
            lines = "\n".join(f"    {key}: {value}" for key, value in settings.items())
            self._writer.add_text("settings", lines)

    def add(self, iteration: int, scores: Mapping[str, float]) -> None:
        """See `Logger.add`."""
        for name, value in scores.items():
            self._writer.add_scalar(name, value, iteration)

    def close(self) -> None:
        """See `Logger.close`."""
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases with the folder's name; the variables ``WANDB_…`` apply.

    Parameters
    ----------
    folder : Path
    settings : mapping
    after : int
        Number of steps recorded before.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], after: int) -> None:
        wandb = import_module("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.name,
            id=_remembered(folder / "wandb.txt", lambda: uuid.uuid4().hex),
            resume="allow",
            dir=str(folder),
            config=dict(settings),
        )

    def add(self, iteration: int, scores: Mapping[str, float]) -> None:
        """See `Logger.add`; W&B keeps the earlier scores of steps that are taken again."""
        self._run.log(dict(scores), step=iteration)

    def close(self) -> None:
        """See `Logger.close`."""
        self._run.finish()


class MLflow:
    """A run of MLflow with the folder's name; the variables ``MLFLOW_…`` apply.

    Parameters
    ----------
    folder : Path
    settings : mapping
    after : int
        Number of steps recorded before.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], after: int) -> None:
        tracking = import_module("mlflow.tracking")
        self._client = tracking.MlflowClient()

        def begin() -> str:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            found = self._client.get_experiment_by_name(name)
            of = found.experiment_id if found else self._client.create_experiment(name)
            run = str(self._client.create_run(of, run_name=folder.name).info.run_id)
            for key, value in settings.items():
                self._client.log_param(run, key, str(value)[:500])
            return run

        self._run = _remembered(folder / "mlflow.txt", begin)

    def add(self, iteration: int, scores: Mapping[str, float]) -> None:
        """See `Logger.add`."""
        for name, value in scores.items():
            self._client.log_metric(self._run, name, value, step=iteration)

    def close(self) -> None:
        """See `Logger.close`."""
        self._client.set_terminated(self._run)


_LOGGERS: dict[str, tuple[str, Callable[[Path, Mapping[str, Any], int], Logger]]] = {
    "tensorboard": ("tensorboard", TensorBoard),
    "wandb": ("wandb", WeightsAndBiases),
    "mlflow": ("mlflow", MLflow),
}
"""By name, the package that it needs and its class."""


def check_logger(name: LoggerName | None) -> None:
    """Raise a MissingDependency where a logger's package is not installed."""
    if name is None:
        return
    package, _ = _LOGGERS[name]
    try:
        import_module(package)
    except ImportError as error:
        raise MissingDependency(
            f"logger: {name} needs the package {package} ({error}); pip install {package}, or "
            "leave logger out: curve.csv and validation.csv in the run's folder hold the same"
        ) from error


def open_logger(
    name: LoggerName | None, folder: Path, settings: Mapping[str, Any], after: int
) -> Logger | None:
    """Return the logger of that name, None for None."""
    return None if name is None else _LOGGERS[name][1](folder, settings, after)


def _remembered(path: Path, make: Callable[[], str]) -> str:
    """Return the content of a file; where it is missing, make the content and write it."""
    if path.is_file():
        return path.read_text(encoding="utf-8").strip()
    made = make()
    with writing(path):
        path.write_text(f"{made}\n", encoding="utf-8")
    return made
