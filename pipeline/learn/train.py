"""Training a saliency network from stores.

A plain loop and not lightning: what this needs of a trainer (a loader that goes on in the middle of
an epoch, a recurrent state that outlives the step and is checkpointed, the share of time spent
waiting for data, learning rates by the papers' schedules) would each be a callback or a hook there,
and the loop they hang on is the few lines of `train`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foveal.pipeline.learn.processes import join
from foveal.pipeline.learn.run import Run
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.step import Step

Listen = Callable[[Step], None]


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes
    ----------
    run : Path
    model : str
    parameters : int
    iterations, epochs : int
        Done in all, by this process and those before it; of epochs, those begun.
    loss : float or None
        Of the last step; None where nothing was left to do.
    best_nss, best_iteration : float or None, int
        Best validation.
    ended : {'iterations', 'early'}
        All done, or stopped because NSS no longer rose.
    seconds, waiting_share : float
        Of this process.
    """

    run: Path
    model: str
    parameters: int
    iterations: int
    epochs: int
    loss: float | None
    best_nss: float | None
    best_iteration: int
    ended: Literal["iterations", "early"]
    seconds: float
    waiting_share: float


def train(settings: TrainSettings, listen: Listen = lambda step: None) -> TrainResult:
    """Train a network, or go on with a run that was begun in the same folder.

    On a CPU the losses of a run that was killed and started again are those of an undisturbed one,
    to the last digit. Under ``torchrun`` every process trains on its share of the clips.

    Parameters
    ----------
    settings : TrainSettings
    listen : callable
        Told of every step.

    Raises
    ------
    RecipeError
        Settings are wrong, or differ from those that the run in this folder was begun with.
    StoreError
        A store cannot be read or has no clips.
    FovealError
        The loss is no longer finite; the last checkpoint stands.
    """
    with join(settings.device) as world:
        run = Run(settings, world)
        with closing(run):
            while not run.ended:
                for batch in run.batches():
                    listen(run.step(batch))
                    if run.ended:
                        break
        seconds = time.monotonic() - run.started
        return TrainResult(
            run=run.folder,
            model=run.settings.model,
            parameters=sum(each.numel() for each in run.network.parameters()),
            iterations=run.iteration,
            epochs=run.epoch + (run.batch > 0),
            loss=run.last_loss,
            best_nss=run.best_nss,
            best_iteration=run.best_iteration,
            ended="early" if run.gave_up else "iterations",
            seconds=seconds,
            waiting_share=run.waited / max(seconds, 1e-9),
        )
