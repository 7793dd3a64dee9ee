"""Claims decide which process may write a video: one process per video, as long as it is alive.

Each process at work on a store has a record that it renews (its beat). A claim is an object,
``<video>.<number>``, that only one process can create and that names its holder. Where the holder
of a claim has died, or has shown no beat for the length of its lease, another process takes the
next number. No clocks are compared: each process measures the age of a beat by its own clock.

A holder that was stopped and wakes up is fenced: it treats its claims as lost before another
process may take them, checks this before every write and removal, and writes each object of an
array only where there is none (`foveal.storage.exclusive`).
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self, TypeVar

from foveal.errors import StoreError, StoreLocked, Unreachable
from foveal.storage.holders import (
    LONGEST_LEASE_SECONDS,
    Holder,
    Watch,
    now,
    record_key,
    this_process,
)
from foveal.storage.location import Location
from foveal.storage.names import OF_STORE, group_name

CLAIMS = f"{OF_STORE}/claims"
WHOLE_STORE = "%store"
"""Name of the claim on what all videos share; no group can have this name."""

BUILD = "build "
"""Begins the work of a build, which ends with what builds have in common that share a store."""

BESIDE = "beside"
"""Work of those who add arrays beside those of builds: predictions, masks, imported maps."""

LEASE_SECONDS = 60.0
"""A process without a beat for so long counts as dead. ``FOVEAL_LEASE_SECONDS`` changes it."""

_BEATS_PER_LEASE = 6
_FENCE = 2 / 3
"""Share of the lease after which a holder without a beat gives its claims up."""
_ASK_EVERY_SECONDS = 0.2

Result = TypeVar("Result")

_log = logging.getLogger("foveal")


class Claims:
    """The claims of this process on a store; a context manager.

    Parameters
    ----------
    location : Location
    work : str, optional
        What is done, see `may_share`; by default nobody else may be at work meanwhile.
    lease_seconds : float, optional

    Raises
    ------
    StoreLocked
        On entering, where another process does work that cannot share the store.
    """

    _beaten: float

    def __init__(
        self, location: Location, work: str | None = None, lease_seconds: float | None = None
    ) -> None:
        self.location = location
        self.work = work or uuid.uuid4().hex
        self.lease_seconds = lease_seconds or _lease_seconds()
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._held: dict[str, str] = {}
        self._about: Callable[[], Mapping[str, Any]] = dict
        self._watch = Watch(location)
        self._exclusive = True
        self._begin()

    def __enter__(self) -> Self:
        self._register()
        try:
            self._refuse_other_work()
            self._sweep()
        except BaseException:
            self.location.delete(record_key(self.id))
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
            self.location.delete(record_key(self.id))

    @contextmanager
    def claim(self, video: str) -> Iterator[Location]:
        """Claim a video; yields the store's location, which refuses writes once the claim is lost.

        Raises
        ------
        StoreLocked
            Another process has it; or, at a write, the claim was lost meanwhile.
        """
        with self._claim(group_name(video), video) as location:
            yield location

    @contextmanager
    def whole_store(self) -> Iterator[Location]:
        """Wait until no other process changes the store's root or index."""
        with ExitStack() as stack:
            while True:
                try:
                    location = stack.enter_context(self._claim(WHOLE_STORE, "the index"))
                    break
                except StoreLocked:
                    time.sleep(_ASK_EVERY_SECONDS)
            yield location

    def for_each(
        self, videos: Iterable[str], work: Callable[[str, Location], Result]
    ) -> list[Result]:
        """Call a function with each video, claimed, and the store's location as `claim` gives it.

        Videos that others are at work on come last, once they are free.

        Parameters
        ----------
        videos : iterable of str
        work : callable

        Returns
        -------
        list
            What the function gave, in the order of the videos.

        Raises
        ------
        StoreLocked
            A claim was lost meanwhile.
        """
        wanted = list(videos)
        results: dict[str, Result] = {}
        while len(results) < len(set(wanted)):
            before = len(results)
            for video in wanted:
                if video in results:
                    continue
                with ExitStack() as stack:
                    try:
                        location = stack.enter_context(self.claim(video))
                    except StoreLocked:
                        continue
                    results[video] = work(video, location)
            if len(results) == before:
                time.sleep(_ASK_EVERY_SECONDS)
        return [results[video] for video in wanted]

    def free(self, video: str) -> bool:
        """Whether no other living process has claimed a video."""
        return self._holder_of(group_name(video)) is None

    def tell(self, about: Callable[[], Mapping[str, Any]]) -> None:
        """Put what `about` returns, plain JSON types, into this process's record at every beat."""
        self._about = about
        self.beat()

    def beat(self) -> None:
        """Renew this process's record now; a thread also does it regularly.

        Raises
        ------
        StoreUnreachable
        """
        started = now()
        former = None
        # Nothing is read or written meanwhile: zarr's own thread waits for this lock in `_check`.
        with self._lock:
            if started - self._beaten > _FENCE * self.lease_seconds:
                former = self.id
                self._begin()
            self._beat += 1
            holder, beat = self.id, self._beat
        if former is not None:
            with suppress(StoreError):
                self.location.delete(record_key(former))
        self.location.write(record_key(holder), self._record(holder, beat))
        with self._lock:
            if self.id == holder:
                self._beaten = max(self._beaten, started)

    def others(self) -> list[Holder]:
        """Other processes at work on the store; records of dead ones are removed."""
        return [holder for holder in self._watch.living() if holder.id != self.id]

    def _begin(self) -> None:
        """Become a holder without claims."""
        self.id = uuid.uuid4().hex
        self._beat = 0
        self._beaten = now()
        self._held.clear()

    def _register(self) -> None:
        started = now()
        key, content = record_key(self.id), self._record(self.id, self._beat)
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
            rivals = [each for each in self.others() if not may_share(each.work, self.work)]
            if not rivals:
                return
            for rival in rivals:
                if self._watch.beats(rival) or rival.process == this_process(rival.pid):
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
        """Renew the record regularly, in a thread of its own."""
        while not self._ended.wait(self.lease_seconds / _BEATS_PER_LEASE):
            with suppress(StoreError, Unreachable):
                self.beat()

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
        content = json.dumps({"holder": holder}).encode()
        number = 1
        while True:
            # Nearly always nobody has claimed it: then one look, after it, is enough.
            key = f"{CLAIMS}/{name}.{number}"
            mine = self.location.create(key, content) or self.location.read(key) == content
            numbers = self._numbers(name)
            taken = self._holder_of(name, numbers)
            if taken is not None and self._exclusive:
                if mine:
                    self.location.delete(key)
                raise StoreLocked(f"{said} is at work in {taken}")
            if mine and number == max(numbers, default=0):
                break
            # Another took it for that of one who is gone, or one who is gone had a higher number.
            if mine:
                self.location.delete(key)
            number = max(numbers, default=0) + 1
        still = self.location.guarded(functools.partial(self._check, name, said, holder))
        for former in numbers:
            if former != number:
                still.delete(f"{CLAIMS}/{name}.{former}")
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

    def _holder_of(self, name: str, numbers: Sequence[int] | None = None) -> Holder | None:
        """Another living process that holds a claim, of all numbers where none are given."""
        for number in self._numbers(name) if numbers is None else numbers:
            content = self.location.read(f"{CLAIMS}/{name}.{number}")
            try:
                holder_id = str(json.loads(content or b"null")["holder"])
            except (ValueError, TypeError, LookupError):
                continue
            holder = None if holder_id == self.id else self._watch.read(holder_id)
            if holder is not None and self._watch.lives(holder):
                return holder
        return None

    def _record(self, holder: str, beat: int) -> bytes:
        about = Holder(
            holder,
            self.work,
            platform.node(),
            os.getpid(),
            this_process(os.getpid()),
            self.lease_seconds,
            beat,
            self._about(),
        )
        return json.dumps(asdict(about)).encode()


def may_share(work: str, other: str) -> bool:
    """Whether two works may go on in a store at the same time, each video in one of them.

    Builds that do the same may, and whoever adds arrays beside those of a build may join anybody
    but those who must be alone.
    """
    beside = BESIDE in (work, other)
    return work == other or (
        beside and all(each.startswith((BUILD, BESIDE)) for each in (work, other))
    )


def _lease_seconds() -> float:
    given = os.environ.get("FOVEAL_LEASE_SECONDS", str(LEASE_SECONDS))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= LONGEST_LEASE_SECONDS:
        raise StoreError(
            f"FOVEAL_LEASE_SECONDS is {given!r}; give seconds from 1 to {LONGEST_LEASE_SECONDS:.0f}"
        )
    return seconds
