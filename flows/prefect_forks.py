"""Forked children of a process in which Prefect ran may end as others do.

Prefect's services ask to be drained at the process's exit and forget, after a fork, that the
child has none of them: the child then ends with a failed assertion and status 1. A training run
inside a flow would lose its DataLoader's workers that way at the end of its first epoch.
"""

from __future__ import annotations

import threading
from typing import Any


def forget_prefect_exits() -> None:
    """Drop Prefect's own exit calls, in a forked child only."""
    calls: list[Any] = getattr(threading, "_threading_atexits", [])
    calls[:] = [call for call in calls if not _is_prefects(call)]


def _is_prefects(call: Any) -> bool:
    # CPython keeps the calls as functools.partial objects.
    module = getattr(getattr(call, "func", call), "__module__", None) or ""
    return module.split(".")[0] == "prefect"
