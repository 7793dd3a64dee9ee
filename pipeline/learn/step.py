"""This module holds `Step`, the progress of a training run after each step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """Progress of a run after one step.

    Attributes
    ----------
    iteration, iterations : int
        Steps done, and steps of the whole run.
    epoch : int
        From 0.
    loss, learning_rate : float
        Of this step.
    eta_seconds : float
        Time until the last step, at the pace since this process started.
    waiting_share : float
        Share of that time spent waiting for data, 0 to 1.
    nss : float or None
        Of the validation that followed this step.
    best_nss : float or None
        Best so far.
    """

    iteration: int
    iterations: int
    epoch: int
    loss: float
    learning_rate: float
    eta_seconds: float
    waiting_share: float
    nss: float | None
    best_nss: float | None
