"""Readers timed in turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

Readers = Mapping[str, Callable[[], Iterator[Any]]]
"""What begins one pass over the clips, by the reader's name."""


@dataclass(frozen=True)
class Turns:
    """How often and how long each reader is timed.

    Attributes
    ----------
    rounds : int
        Turns of each reader, after one that warms up and does not count.
    least_seconds : float
        A turn is as many passes as take so long: a short one would measure its neighbours' end.
    """

    rounds: int
    least_seconds: float = 1.0

    def seconds(self, readers: Readers) -> dict[str, float]:
        """Median time that each reader takes for one pass."""
        found: dict[str, list[float]] = {name: [] for name in readers}
        for turn in range(self.rounds + 1):
            for name, reader in readers.items():
                spent, passes = 0.0, 0
                while not passes or (turn and spent < self.least_seconds):
                    started = time.perf_counter()
                    for _ in reader():
                        pass
                    spent += time.perf_counter() - started
                    passes += 1
                if turn:
                    found[name].append(spent / passes)
        return {name: median(times) for name, times in found.items()}


def speeds(
    what: str, workers: int, seconds: Mapping[str, float], items: int
) -> list[dict[str, Any]]:
    """Items per second of ``foveal`` and of each peer, and how many times as fast it is.

    Parameters
    ----------
    what : str
        What was read.
    workers : int
    seconds : mapping of str to float
        Of one pass, by reader; one of them is ``foveal``.
    items : int
        Read by one pass.
    """
    return [
        {
            "read": what,
            "workers": workers,
            "peer": peer,
            "foveal_items_per_second": round(items / seconds["foveal"]),
            "peer_items_per_second": round(items / spent),
            "ratio": round(spent / seconds["foveal"], 2),
        }
        for peer, spent in seconds.items()
        if peer != "foveal"
    ]
