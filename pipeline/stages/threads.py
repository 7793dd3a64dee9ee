"""This module overlaps reading, computing and writing with threads and bounded queues."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """Iterate over `items` in another thread, at most `depth` items in advance of the reader.

    An exception of `items` is raised at the place of its item. When the reader stops early, `items`
    is closed.
    """
    waiting: queue.Queue[Callable[[], Item] | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: Callable[[], Item] | None) -> None:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return

    def produce() -> None:
        try:
            for item in items:
                put(lambda item=item: item)  # type: ignore[misc]
                if stopped.is_set():
                    break
            put(None)
        except BaseException as error:
            put(lambda error=error: _raise(error))  # type: ignore[misc]
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=produce, name="ahead", daemon=True)
    thread.start()
    try:
        while (entry := waiting.get()) is not None:
            yield entry()
    finally:
        stopped.set()
        thread.join()


class Sink:
    """Run submitted jobs in order in one thread.

    The end of the ``with`` block waits for the last job. The first job that fails stops the thread;
    the next `submit`, or the end, raises its exception. When the block itself fails, waiting jobs
    are dropped.

    Parameters
    ----------
    depth : int
        Most jobs that wait.
    waited : callable
        Called with the seconds that a `submit`, or the end, had to wait.
    """

    def __init__(self, depth: int, waited: Callable[[float], None] = lambda seconds: None) -> None:
        self._waited = waited
        self._jobs: queue.Queue[Callable[[], object] | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._work, name="sink", daemon=True)

    def __enter__(self) -> Sink:
        self._thread.start()
        return self

    def submit(self, job: Callable[[], object]) -> None:
        """Queue a `job`; block while too many wait."""
        if self._error is not None:
            raise self._error
        started = time.monotonic()
        self._jobs.put(job)
        self._waited(time.monotonic() - started)

    def drain(self) -> None:
        """Wait until every submitted job is done.

        Raises
        ------
        BaseException
            The exception of the first job that failed.
        """
        done = threading.Event()
        self.submit(done.set)
        while not done.wait(0.1):
            if self._error is not None:
                raise self._error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._abandoned = kind is not None
        started = time.monotonic()
        self._jobs.put(None)
        self._thread.join()
        self._waited(time.monotonic() - started)
        if kind is None and self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._error is None and not self._abandoned:
                try:
                    job()
                except BaseException as error:
                    self._error = error


def _raise(error: BaseException) -> Item:  # type: ignore[type-var]
    raise error
