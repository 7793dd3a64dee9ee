"""Records of the processes at work on a store, and whether these processes are alive.

A process renews its record. No clocks are compared: each process measures the age of a beat by its
own clock. For processes of the same machine the operating system knows at once.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foveal.storage.location import Location
from foveal.storage.names import OF_STORE

HOLDERS = f"{OF_STORE}/holders"
LONGEST_LEASE_SECONDS = 3600.0
"""Longest lease that is respected, whatever a record says."""


@dataclass(frozen=True)
class Holder:
    """A process at work on a store, as its record says.

    Attributes
    ----------
    id : str
    work : str
        Its work, see `foveal.storage.claims.may_share`.
    host, pid : str, int
    process : str
        Identifies the process on its machine, so that others there can check whether it is alive.
    lease_seconds : float
    beat : int
        Rises while it lives.
    about : mapping
        Its progress.
    """

    id: str
    work: str
    host: str
    pid: int
    process: str
    lease_seconds: float
    beat: int
    about: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass
class _Watched:
    """A holder's latest beat, when it was first seen, and how many came while it was watched."""

    beat: int
    since: float
    beats: int = 0


class Watch:
    """Watches who is at work on a store.

    Parameters
    ----------
    location : Location
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._watched: dict[str, _Watched] = {}

    def living(self, *, remove: bool = True) -> list[Holder]:
        """Holders that may be alive; records of the others are removed if `remove` is set."""
        found = []
        for name in self._location.list_folder(HOLDERS):
            if name.endswith(".partial"):
                continue
            holder = self.read(name)
            if holder is not None and self.lives(holder):
                found.append(holder)
            elif remove:
                self._location.delete(record_key(name))
        return found

    def lives(self, holder: Holder) -> bool:
        """Whether a holder may be alive: there is no sign of its death yet."""
        watched = self._watched.setdefault(holder.id, _Watched(holder.beat, now()))
        here = bool(holder.process) and holder.process.split("/")[0] == this_machine()
        if here and this_process(holder.pid) != holder.process:
            return False
        if watched.beat != holder.beat:
            watched.beat, watched.since = holder.beat, now()
            watched.beats += 1
        return now() - watched.since < holder.lease_seconds

    def beats(self, holder: Holder) -> int:
        """Number of beats of a holder since this process watches it."""
        return self._watched[holder.id].beats

    def read(self, holder_id: str) -> Holder | None:
        """The record of a holder; None where there is none that can be understood."""
        content = self._location.read(record_key(holder_id)) if holder_id.isalnum() else None
        try:
            values = json.loads(content or b"null")
            return Holder(
                str(values["id"]),
                str(values["work"]),
                str(values["host"]),
                int(values["pid"]),
                str(values["process"]),
                min(float(values["lease_seconds"]), LONGEST_LEASE_SECONDS),
                int(values["beat"]),
                dict(values.get("about") or {}),
            )
        except (ValueError, TypeError, LookupError):
            return None


def record_key(holder_id: str) -> str:
    """Key of a holder's record."""
    return f"{HOLDERS}/{holder_id}"


def now() -> float:
    """Seconds of a clock that also counts while the machine sleeps, where the system has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@functools.cache
def this_machine() -> str:
    """This machine since it was started, and its namespace of process numbers; else empty."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def this_process(pid: int) -> str:
    """A process of this machine by more than its number, which another may get; else empty.

    Empty too where it has ended and its parent has not asked for its status yet.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in "ZX" or not this_machine() else f"{this_machine()}/{pid}@{fields[18]}"
