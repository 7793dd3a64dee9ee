"""This module trains a saliency network on stores.

It is a plain loop and does not use lightning: a loader that resumes in the middle of an epoch, a
recurrent state that outlives the step and is checkpointed, the share of time spent waiting for
data, and learning rates by the papers' schedules would each need a callback or a hook there, while
the loop itself is the few lines of `train`.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from foveal.pipeline.learn.processes import join
from foveal.pipeline.learn.run import Run
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.step import Step

log = logging.getLogger(__name__)

Listen = Callable[[Step], None]
"""Called after every step."""

WORTH_SAYING_SECONDS = 60.0
"""The duration of a shorter run on a CPU is not announced."""


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes
    ----------
    run : Path
    model : str
    parameters : int
    iterations, epochs : int
        Steps done and epochs begun in all, by this process and those before it.
    loss : float or None
        Of the last step; None if nothing was left to do.
    best_nss, best_iteration : float or None, int
        Score and step of the best validation.
    ended : {'iterations', 'early', 'stopped'}
        All steps were done, NSS no longer rose, or a signal stopped the run after a checkpoint.
    seconds, waiting_share : float
        Duration of this process, and its share spent waiting for data.
    """

    run: Path
    model: str
    parameters: int
    iterations: int
    epochs: int
    loss: float | None
    best_nss: float | None
    best_iteration: int
    ended: Literal["iterations", "early", "stopped"]
    seconds: float
    waiting_share: float


def train(settings: TrainSettings, listen: Listen = lambda step: None) -> TrainResult:
    """Train a network, or resume the run in the same folder.

    On a CPU a run that was killed and resumed has the losses of an undisturbed one, to the last
    digit. Under ``torchrun`` every process trains on its share of the clips. Ctrl-C and SIGTERM end
    the run after the current step, with a checkpoint; a second Ctrl-C ends it at once.

    Parameters
    ----------
    settings : TrainSettings
    listen : callable
        Called after every step.

    Returns
    -------
    TrainResult

    Raises
    ------
    RecipeError
        Settings are wrong, or differ from those of the run in this folder.
    StoreError
        A store cannot be read or has no clips.
    FovealError
        The loss is no longer finite; the last checkpoint is kept.
    """
    with join(settings.device) as world:
        run = Run(settings, world)
        stopped = False
        if world.device.type == "cpu" and world.size == 1 and not run.ended:
            _say_how_long(run)
        with closing(run), _asked_to_stop() as asked:
            while not (run.ended or stopped):
                for batch in run.batches():
                    listen(run.step(batch))
                    stopped = world.any(asked.is_set())
                    if run.ended or stopped:
                        break
            if stopped:
                run.checkpoint()
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
            ended="early" if run.gave_up else "iterations" if run.ended else "stopped",
            seconds=seconds,
            waiting_share=run.waited / max(seconds, 1e-9),
        )


def _say_how_long(run: Run) -> None:
    """Before a training on a CPU, log how long it will take."""
    seconds = run.forecast_seconds()
    run.started = time.monotonic()
    left = run.iterations - run.iteration
    if seconds * left >= WORTH_SAYING_SECONDS:
        log.warning(
            "training on the CPU: about %s for %s steps at %.2g s each, as one step took here, "
            "and validation on top; a GPU is many times as fast; --set iterations=… or a smaller "
            "network (--set options.…) takes less time too",
            _time_text(seconds * left),
            f"{left:,}",
            seconds,
        )


def _time_text(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{max(1, minutes)} min"
    return f"{minutes / 60:.0f} h" if minutes < 60 * 48 else f"{minutes / 60 / 24:.0f} days"


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C or SIGTERM sets; a second Ctrl-C raises KeyboardInterrupt."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only it receives signals
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
