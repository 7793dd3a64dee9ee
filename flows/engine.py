"""An engine processes the videos of a build: threads of this process, or a Dask cluster.

Both run tasks, return their outcomes, and can be stopped within seconds.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self

from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from foveal.flows.videos import process_videos, task_name
from foveal.pipeline.build.build import Build
from foveal.pipeline.build.progress import Stoppable
from foveal.pipeline.build.run import VideoResult

Future = PrefectFuture[Any]

CHECK_EVERY_SECONDS = 10.0
"""A build checks so often whether any worker is left."""

GRACE_SECONDS = 5.0
"""Time that a stopped video has to finish its current batch and to tidy up."""


class Engine(AbstractContextManager["Engine"], Protocol):
    """Carries tasks out; a context manager.

    Attributes
    ----------
    slots : int
        Tasks it wants in flight.
    at_once : int
        Tasks that run at the same time.
    about : str
        Name for people.
    in_process : bool
        Whether videos are threads of this process, which ends only when they do.
    """

    @property
    def slots(self) -> int: ...

    @property
    def at_once(self) -> int: ...

    @property
    def about(self) -> str: ...

    @property
    def in_process(self) -> bool: ...

    def submit(self, videos: Sequence[str], done: Callable[[Future], None]) -> Future:
        """Start the task of some videos; `done` is called from any thread when it has ended."""

    def check(self) -> None:
        """Raise FovealError where nobody is left who could end a task."""

    def outcome(self, future: Future) -> list[VideoResult] | Exception:
        """The outcome of a task that has ended: results of its videos, or an exception."""

    def stop(self, futures: Collection[Future]) -> list[Future]:
        """Stop these tasks; return those that have not told Prefect after `GRACE_SECONDS`."""


class Threads:
    """Threads of this process.

    Parameters
    ----------
    build : Build
    recompute : sequence of str
        Stages to compute again though they are complete.
    slots : int
        Videos at a time.
    """

    in_process = True

    def __init__(self, build: Build, recompute: Sequence[str], slots: int) -> None:
        self.slots = self.at_once = slots
        self.about = f"{slots} threads"
        self._stopped = threading.Event()
        self._build = replace(build, listener=Stoppable(build.listener, self._stopped.is_set))
        self._recompute = list(recompute)
        self._runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=slots)

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runner.__exit__(kind, error, traceback)

    def submit(self, videos: Sequence[str], done: Callable[[Future], None]) -> Future:
        # Quoted: Prefect would look for futures in every video that the build lists.
        values = parameters(quote(self._build), videos, self._recompute)
        future = self._runner.submit(process_videos, values)
        future.add_done_callback(done)
        return future

    def check(self) -> None:
        """Do nothing: threads always end their tasks."""

    def outcome(self, future: Future) -> list[VideoResult] | Exception:
        future.wait()
        became: list[VideoResult] | Exception = future.state.result(raise_on_failure=False)
        return became

    def stop(self, futures: Collection[Future]) -> list[Future]:
        self._stopped.set()
        wrapped = {
            future.wrapped_future: future
            for future in futures
            if isinstance(future, PrefectConcurrentFuture) and not future.wrapped_future.cancel()
        }
        _, left = concurrent.futures.wait(wrapped, GRACE_SECONDS)
        return [wrapped[each] for each in left]


def parameters(build: Any, videos: Sequence[str], recompute: Sequence[str]) -> dict[str, Any]:
    """Arguments of the task of some videos."""
    return {
        "name": task_name(videos),
        "videos": list(videos),
        "build": build,
        "recompute": list(recompute),
    }
