"""What every benchmark prints with ``--json``: its name, and rows that all have the same shape.

A row is a dict of

``what``
    What was measured, with its setting.
``value``, ``unit``
    The figure of foveal.
``peer``, ``peer_value``
    What it is compared with, and the figure of that in the same unit; None where there is none.
``ratio``
    How many times as good foveal is: over 1 it is ahead, whether the unit is a time or a rate.
``goal``, ``goal_is``
    The number wanted, and of what: one of `GOALS`. None where nothing was promised.
``met``
    Whether the goal is reached; None without one.
``note``
    What a reader must know of this row.

The first row is the headline: ``make bench`` shows it in its first table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

Row = dict[str, Any]

Goal = Literal["ratio at least", "value at least", "value at most"]
GOALS: tuple[Goal, ...] = ("ratio at least", "value at least", "value at most")


def row(
    what: str,
    value: float,
    unit: str,
    *,
    peer: str | None = None,
    peer_value: float | None = None,
    ratio: float | None = None,
    goal: tuple[Goal, float] | None = None,
    note: str = "",
) -> Row:
    """One row, as the head of this module describes it.

    Parameters
    ----------
    goal : (str, float), optional
        What the goal is of, and the number: ``("ratio at least", 2)``.
    """
    goal_is, wanted = goal or (None, None)
    met = None
    if goal_is is not None and wanted is not None:
        got = ratio if goal_is == "ratio at least" else value
        if got is not None:
            met = got <= wanted if goal_is == "value at most" else got >= wanted
    return {
        "what": what,
        "value": _plain(value),
        "unit": unit,
        "peer": peer,
        "peer_value": _plain(peer_value),
        "ratio": _plain(ratio),
        "goal": wanted,
        "goal_is": goal_is,
        "met": None if met is None else bool(met),
        "note": note,
    }


def faster(
    what: str, seconds: float, peer: str, peer_seconds: float, *, unit: str = "s", **more: Any
) -> Row:
    """A row of two times in the same unit: the ratio is how many times as fast foveal is."""
    ratio = peer_seconds / seconds
    return row(what, seconds, unit, peer=peer, peer_value=peer_seconds, ratio=ratio, **more)


def higher(what: str, value: float, unit: str, peer: str, peer_value: float, **more: Any) -> Row:
    """A row of two rates or scores in the same unit, where more is better."""
    ratio = value / peer_value
    return row(what, value, unit, peer=peer, peer_value=peer_value, ratio=ratio, **more)


def print_json(file: str, rows: Sequence[Row], found: Any, note: str = "") -> None:
    """Print the result of a benchmark on one line, the last of its output.

    Parameters
    ----------
    file : str
        ``__file__`` of the benchmark, whose name is the result's.
    rows : sequence of dict
    found : any
        All that was measured, in the benchmark's own form.
    note : str
        Why something is missing.
    """
    named = {"name": Path(file).stem, "rows": list(rows), "note": note, "found": found}
    print(json.dumps(named))


def _plain(number: float | None) -> float | None:
    """As JSON has it, which knows neither NumPy's numbers nor what is not a number."""
    return float(number) if number is not None and math.isfinite(number) else None
