"""What a worker process of a Dask cluster makes of a task: the recipe opened once, progress told.

Workers on this machine load this module before they connect (`dask_setup`).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distributed import get_worker
from distributed.worker import thread_state  # type: ignore[attr-defined]

from foveal.pipeline.build.build import Build
from foveal.pipeline.build.progress import Listener, Stopped
from foveal.pipeline.build.recorder import recorded
from foveal.pipeline.build.run import VideoResult
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.meter import Meter
from foveal.storage.claims import Claims

_TELL_EVERY_SECONDS = 0.5
_KEPT = 4
"""Recipes that a worker keeps open, with their networks."""

_opened: dict[str, Build] = {}
_at_work: Counter[str] = Counter()
_lock = threading.Lock()


@dataclass(frozen=True)
class BuildElsewhere:
    """A build as it travels: its recipe, and where to tell of progress.

    Attributes
    ----------
    recipe : str
        JSON, all paths absolute.
    topic : str
        Of the scheduler's events; names this build among all that the cluster carries out.
    work : str, optional
        What the build's processes have in common, who share its store.
    """

    recipe: str
    topic: str
    work: str | None = None

    @classmethod
    def of(cls, build: Build, topic: str) -> BuildElsewhere:
        """What travels of a build: paths count from the folder that the flow runs in."""
        values = build.recipe.resolved()
        values["dataset"]["root"] = str(Path(build.recipe.dataset.root).absolute())
        if build.location.local is not None:
            values["store"] = str(build.location.local)
        work = None if build.claims is None else build.claims.work
        return cls(json.dumps(values), topic, work)

    @contextmanager
    def opened(self) -> Iterator[Build]:
        """The build in this process; its dataset is listed and its networks loaded once."""
        with _lock:
            if self.recipe not in _opened:
                while len(_opened) >= _KEPT:
                    _opened.pop(next(iter(_opened)))
                _opened[self.recipe] = Build.open(Recipe.parse(json.loads(self.recipe)))
            build = _opened[self.recipe]
            _at_work[self.topic] += 1
        try:
            with ExitStack() as stack:
                claims: Claims | None = None
                listener: Listener = Teller(self.topic)
                if self.work is not None:
                    claims = stack.enter_context(Claims(build.location, self.work))
                    listener = stack.enter_context(recorded(listener, claims))
                yield replace(build, listener=listener, claims=claims)
        finally:
            with _lock:
                _at_work[self.topic] -= 1


@dataclass
class Teller(Listener):
    """Tells the flow of progress, and stops videos that nobody waits for any more.

    The scheduler takes a task back where its future is cancelled, and where the flow's process is
    gone, however it ended: then the video has to stop, for another build may begin it anew.
    """

    topic: str
    _told: float = field(default=0.0, init=False)

    def planned(self, to_do: Mapping[str, int], settled: Sequence[VideoResult]) -> None: ...

    def started(self, video: str) -> None:
        self._check(video)
        self._tell({"event": "started", "video": video})

    def advanced(self, video: str, frames: int, expected: int | None, meter: Meter) -> None:
        self._check(video)
        if time.monotonic() > self._told + _TELL_EVERY_SECONDS:
            self._told = time.monotonic()
            self._tell(
                {"event": "advanced", "video": video, "of": [frames, expected, meter.to_dict()]}
            )

    def ended(self, result: VideoResult) -> None: ...

    def _tell(self, message: dict[str, Any]) -> None:
        get_worker().log_event(self.topic, message)

    def _check(self, video: str) -> None:
        task = get_worker().state.tasks.get(thread_state.key)
        if task is None or task.state not in ("executing", "long-running"):
            raise Stopped(f"{video}: the build was stopped; building again goes on here")


def videos_at_work(topic: str) -> int:
    """Tasks of a build that this process is in."""
    return _at_work[topic]


async def dask_setup(_worker: object) -> None:
    """Called in a worker process as it starts: Ctrl-C is for the flow, which stops the videos."""
    os.setpgid(0, 0)
    import foveal.flows.videos  # noqa: F401  Prefect takes seconds to load
