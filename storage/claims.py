"""Who may write: a claim per video, held by a process that shows that it lives.

Each process at work on a store keeps a record of itself that it renews (its beat). A claim is an
object that only one of them can create, ``<video>.<number>``, and that names its holder. Whoever
meets a claim whose holder has died, or has shown no beat for the length of its lease, takes the
next number. No clocks are compared: a beat is late by the clock of the one who watches it.

A holder that was stopped and wakes is fenced: it counts its claims as lost before anybody else
may take them, asks itself so before every write and removal, and every object of an array is put
only where none lies (`foveal.storage.exclusive`).
"""

from __future__ import annotations

import functools
import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from foveal.errors import StoreError, StoreLocked, Unreachable
from foveal.storage.location import Location
from foveal.storage.names import OF_STORE, group_name

HOLDERS = f"{OF_STORE}/holders"
CLAIMS = f"{OF_STORE}/claims"
WHOLE_STORE = "%store"
"""Stands for what concerns no single video; no group can have this name."""

LEASE_SECONDS = 60.0
"""Without a beat for so long, a process counts as gone. ``FOVEAL_LEASE_SECONDS`` changes it."""

_BEATS_PER_LEASE = 6
_FENCE = 2 / 3
"""Share of the lease after which a holder without a beat gives its claims up."""
_ASK_EVERY_SECONDS = 0.2

_log = logging.getLogger("foveal")


@dataclass(frozen=True)
class Holder:
    """A process at work on a store, as its record says.

    Attributes
    ----------
    id : str
    work : str
        What it does; those that do the same may share a store.
    host, pid : str, int
    process : str
        The process for those who can look whether it lives; another machine's differ.
    lease_seconds : float
    beat : int
        Rises while it lives.
    """

    id: str
    work: str
    host: str
    pid: int
    process: str
    lease_seconds: float
    beat: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass
class _Watched:
    """A holder's latest beat, when it was first seen, and how many came while it was watched."""

    beat: int
    since: float
    beats: int = 0


class Claims:
    """This process as one of those at work on a store; a context manager.

    Parameters
    ----------
    location : Location
    work : str, optional
        What is done. Others who do the same may be at work meanwhile; by default nobody may.
    lease_seconds : float, optional

    Raises
    ------
    StoreLocked
        On entering, where somebody is at work on something else.
    """

    def __init__(
        self, location: Location, work: str | None = None, lease_seconds: float | None = None
    ) -> None:
        self.location = location
        self.work = work or uuid.uuid4().hex
        given = os.environ.get("FOVEAL_LEASE_SECONDS")
        self.lease_seconds = lease_seconds or float(given or LEASE_SECONDS)
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._held: dict[str, str] = {}
        self._watched: dict[str, _Watched] = {}
        self._exclusive = True
        self._begin()

    def __enter__(self) -> Self:
        self._register()
        try:
            self._refuse_other_work()
            self._sweep()
        except BaseException:
            self.location.delete(self._record_key(self.id))
            raise
        name = f"beat of {self.id[:8]}"
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(StoreError):
            self.location.delete(self._record_key(self.id))

    @contextmanager
    def claim(self, video: str) -> Iterator[Location]:
        """Claim a video; gives the store's location, which refuses to write once it is lost.

        Raises
        ------
        StoreLocked
            Another process has it; or, at a write, the claim was lost meanwhile.
        """
        with self._claim(group_name(video), video) as location:
            yield location

    @contextmanager
    def whole_store(self) -> Iterator[Location]:
        """Wait until nobody else changes what concerns the whole store: its root, its index."""
        with ExitStack() as stack:
            while True:
                try:
                    location = stack.enter_context(
                        self._claim(WHOLE_STORE, "the index")
                    )
                    break
                except StoreLocked:
                    time.sleep(_ASK_EVERY_SECONDS)
            yield location

    def free(self, video: str) -> bool:
        """Whether nobody else who lives has claimed a video."""
        return self._holder_of(group_name(video)) is None

    def others(self) -> list[Holder]:
        """Who else is at work on the store, as far as is known; records of the dead go."""
        found = []
        for name in self.location.list_folder(HOLDERS):
            if name == self.id or name.endswith(".partial"):
                continue
            holder = self._read(name)
            if holder is not None and self._lives(holder):
                found.append(holder)
            else:
                self.location.delete(self._record_key(name))
        return found

    def _begin(self) -> None:
        """Become a holder without claims."""
        self.id = uuid.uuid4().hex
        self._beat = 0
        self._beaten = now()
        self._held.clear()

    def _register(self) -> None:
        started = now()
        key, content = self._record_key(self.id), self._content()
        self.location.create(key, content)
        self._beaten = started
        # Some object stores ignore the condition: then claims hold nobody back.
        self._exclusive = not self.location.create(key, content)
        if not self._exclusive:
            _log.warning(
                "%s knows no conditional writes: see to it that one build at a time writes it",
                self.location,
            )

    def _refuse_other_work(self) -> None:
        waited = False
        while True:
            rivals = [holder for holder in self.others() if holder.work != self.work]
            if not rivals:
                return
            for rival in rivals:
                if self._watched[rival.id].beats or rival.process == this_process(rival.pid):
                    raise StoreLocked(
                        f"{self.location} is being built by {rival}; "
                        "wait for it, or stop it and start again"
                    )
            if not waited:
                _log.warning(
                    "%s: %s was at work here; looking for up to %.0f s whether it still is",
                    self.location,
                    rivals[0],
                    rivals[0].lease_seconds,
                )
            waited = True
            time.sleep(_ASK_EVERY_SECONDS)

    def _sweep(self) -> None:
        """Remove claims of holders that are gone."""
        for entry in self.location.list_folder(CLAIMS):
            name = entry.rpartition(".")[0]
            if self._held.get(name) is None and self._holder_of(name) is None:
                self.location.delete(f"{CLAIMS}/{entry}")

    def _live(self) -> None:
        """Show a beat now and then, in a thread of its own."""
        while not self._ended.wait(self.lease_seconds / _BEATS_PER_LEASE):
            started = now()
            with self._lock:
                if started - self._beaten > _FENCE * self.lease_seconds:
                    former = self.id
                    self._begin()
                    with suppress(StoreError):
                        self.location.delete(self._record_key(former))
                self._beat += 1
                key, content = self._record_key(self.id), self._content()
            try:
                self.location.write(key, content)
            except (StoreError, Unreachable):
                continue
            with self._lock:
                self._beaten = started

    @contextmanager
    def _claim(self, name: str, said: str) -> Iterator[Location]:
        with self._lock:
            holder = self.id
            if name in self._held:
                raise StoreLocked(f"{said} is claimed by this very process")
            self._held[name] = holder
        key = None
        try:
            key = self._take(name, said, holder)
            yield self.location.guarded(functools.partial(self._check, name, said, holder))
        finally:
            with self._lock:
                mine = self._held.get(name) == holder
                if mine:
                    del self._held[name]
            if key is not None and mine:
                with suppress(StoreError):
                    self.location.delete(key)

    def _take(self, name: str, said: str, holder: str) -> str:
        while True:
            taken = self._holder_of(name)
            if taken is not None and self._exclusive:
                raise StoreLocked(f"{said} is at work in {taken}")
            numbers = self._numbers(name)
            key = f"{CLAIMS}/{name}.{max(numbers, default=0) + 1}"
            content = json.dumps({"holder": holder}).encode()
            if not self.location.create(key, content) and self.location.read(key) != content:
                continue
            taken = self._holder_of(name)
            if taken is not None and self._exclusive:
                self.location.delete(key)
                raise StoreLocked(f"{said} is at work in {taken}")
            for number in numbers:
                self.location.delete(f"{CLAIMS}/{name}.{number}")
            return key

    def _check(self, name: str, said: str, holder: str) -> None:
        with self._lock:
            silent = now() - self._beaten
            if self._held.get(name) != holder or silent > _FENCE * self.lease_seconds:
                raise StoreLocked(
                    f"{said}: this process did not reach {self.location} for {silent:.0f} s or "
                    "more, so another may have taken it over; nothing more is written of it"
                )

    def _numbers(self, name: str) -> list[int]:
        found = []
        for entry in self.location.list_folder(CLAIMS):
            of, _, number = entry.rpartition(".")
            if of == name and number.isdecimal():
                found.append(int(number))
        return found

    def _holder_of(self, name: str) -> Holder | None:
        """Somebody else who lives and has a claim."""
        for number in self._numbers(name):
            content = self.location.read(f"{CLAIMS}/{name}.{number}")
            try:
                holder_id = str(json.loads(content or b"null")["holder"])
            except (ValueError, TypeError, LookupError):
                continue
            holder = None if holder_id == self.id else self._read(holder_id)
            if holder is not None and self._lives(holder):
                return holder
        return None

    def _lives(self, holder: Holder) -> bool:
        """Whether a holder may be alive: nothing speaks against it yet."""
        watched = self._watched.setdefault(holder.id, _Watched(holder.beat, now()))
        here = bool(holder.process) and holder.process.split("/")[0] == this_machine()
        if here and this_process(holder.pid) != holder.process:
            return False
        if watched.beat != holder.beat:
            watched.beat, watched.since = holder.beat, now()
            watched.beats += 1
        return now() - watched.since < holder.lease_seconds

    def _read(self, holder_id: str) -> Holder | None:
        content = self.location.read(self._record_key(holder_id)) if holder_id.isalnum() else None
        try:
            values = json.loads(content or b"null")
            return Holder(
                str(values["id"]),
                str(values["work"]),
                str(values["host"]),
                int(values["pid"]),
                str(values["process"]),
                min(float(values["lease_seconds"]), 3600.0),
                int(values["beat"]),
            )
        except (ValueError, TypeError, LookupError):
            return None

    def _content(self) -> bytes:
        values: dict[str, Any] = {
            "id": self.id,
            "work": self.work,
            "host": platform.node(),
            "pid": os.getpid(),
            "process": this_process(os.getpid()),
            "lease_seconds": self.lease_seconds,
            "beat": self._beat,
        }
        return json.dumps(values).encode()

    @staticmethod
    def _record_key(holder_id: str) -> str:
        return f"{HOLDERS}/{holder_id}"


def now() -> float:
    """Seconds that run on while the machine sleeps, where the system has such a clock."""
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
    """A process of this machine by more than its number, which another may get; else empty."""
    if not this_machine():
        return ""
    try:
        return f"{this_machine()}/{pid}@{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""
