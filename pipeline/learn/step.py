"""Where a training run stands, for whoever follows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """Where a run stands after a step.

    Attributes
    ----------
    iteration, iterations : int
        Steps done, and to do in all.
    epoch : int
        0-based.
    loss, learning_rate : float
    eta_seconds : float
        Until the last step, at the pace since this process began.
    waiting_share : float
        Part of that time spent waiting for data.
    nss : float or None
        Of the validation that followed this step.
    best_nss : float or None
        So far.
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
