"""This module makes the optimiser of a training run, and sets its learning rate by the schedule."""

from __future__ import annotations

import logging
import math

import torch

from foveal.models.saliency import SaliencyNetwork, Schedule
from foveal.pipeline.learn.settings import TrainSettings

log = logging.getLogger(__name__)

NO_RATE = 1e-4
"""A learning rate of this share of the first one no longer changes a network noticeably."""


def make_optimiser(network: SaliencyNetwork, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return Adam or RMSProp; groups of parameters with their own learning rates keep them."""
    rates = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    groups = [{**rates, **group} for group in network.parameter_groups()]
    for group in groups:
        group["initial_lr"] = group["lr"]
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.RMSprop
    return kind(groups)


def set_learning_rate(
    optimiser: torch.optim.Optimizer, schedule: Schedule | None, iteration: int, epoch: int
) -> None:
    """Set the learning rate of the next step, after so many iterations and epochs."""
    if schedule is None:
        return
    done = iteration if schedule.unit == "iteration" else epoch
    factor = schedule.factor ** (done // schedule.every)
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor


def warn_of_schedule(schedule: Schedule | None, steps_per_epoch: int, iterations: int) -> None:
    """Warn where the learning rate vanishes long before the run ends, as of the printed LSTS."""
    if schedule is None or schedule.factor == 1:
        return
    steps = 1 if schedule.unit == "iteration" else steps_per_epoch
    gone = steps * schedule.every * math.ceil(math.log(NO_RATE) / math.log(schedule.factor))
    if gone < iterations:
        log.warning(
            "the schedule brings the learning rate to %g of its start by step %d of %d; "
            "schedule=constant keeps it",
            NO_RATE,
            gone,
            iterations,
        )
