"""This module records a training run: settings, the loss of every step, scores of validations."""

from __future__ import annotations

from pathlib import Path

import yaml

from foveal.errors import writing
from foveal.pipeline.learn import checkpoint
from foveal.pipeline.learn.loggers import open_logger
from foveal.pipeline.learn.settings import TrainSettings


class RunLog:
    """Writes the CSV files of a run, and to the logger that its settings name.

    Parameters
    ----------
    settings : TrainSettings
        With the paper's filled in.
    folder : Path
        Of the run; made where it is missing.
    after : int
        Number of the steps done so far: records of later steps are dropped.
    """

    def __init__(self, settings: TrainSettings, folder: Path, after: int) -> None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        values = settings.resolved()
        text = yaml.safe_dump(values, sort_keys=False)
        checkpoint.write_atomically(folder / checkpoint.SETTINGS, text.encode())
        self._curve = checkpoint.Log(
            folder / checkpoint.CURVE, ("iteration", "epoch", "loss", "learning_rate"), after
        )
        self._validation = checkpoint.Log(
            folder / checkpoint.VALIDATION, ("iteration", "epoch", "nss"), after
        )
        self._logger = open_logger(settings.logger, folder, values, after)

    def add_step(self, iteration: int, epoch: int, loss: float, learning_rate: float) -> None:
        """Record the loss of a step."""
        self._curve.add(iteration=iteration, epoch=epoch, loss=loss, learning_rate=learning_rate)
        if self._logger is not None:
            self._logger.add(iteration, {"loss": loss, "learning_rate": learning_rate})

    def add_validation(self, iteration: int, epoch: int, nss: float) -> None:
        """Record the score of a validation."""
        self._validation.add(iteration=iteration, epoch=epoch, nss=nss)
        if self._logger is not None:
            self._logger.add(iteration, {"nss": nss})

    def close(self) -> None:
        """Close the files and the logger."""
        for each in (self._curve, self._validation, self._logger):
            if each is not None:
                each.close()
