"""What a worker process of a Dask cluster does for a build: open the recipe once, then run tasks.

Workers on this machine load this module before they connect (`dask_setup`).
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import cloudpickle
from distributed import get_worker
from distributed.worker import thread_state  # type: ignore[attr-defined]
from prefect.client.schemas.objects import State
from prefect.context import SyncClientContext, hydrated_context, serialize_context
from prefect.task_engine import run_task_sync
from prefect.utilities.annotations import quote

from foveal.errors import FovealError
from foveal.flows.engine import parameters
from foveal.flows.videos import process_videos
from foveal.pipeline.build.build import Build
from foveal.pipeline.build.progress import Listener, Stopped
from foveal.pipeline.build.recorder import Recorder, recorded
from foveal.pipeline.build.run import VideoResult
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.base import Shared
from foveal.pipeline.stages.meter import Meter
from foveal.storage.claims import Claims

_TELL_EVERY_SECONDS = 0.5
_KEPT = 4
"""A worker keeps the networks of so many recipes."""

_IDLE_SECONDS = 5.0
"""A worker that has had no task of a build for so long leaves the build's store."""

_STEADY_SECONDS = 2.0
"""A new worker process runs no task before. Its nanny gives up on a worker that dies earlier."""

_began: list[float] = []
_open: dict[str, _Open] = {}
_shared: dict[str, Shared] = {}
_at_work: set[tuple[str, UUID]] = set()
_ended: dict[str, float] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class BuildElsewhere:
    """A build as it travels to a worker.

    Attributes
    ----------
    recipe : str
        JSON, all paths absolute.
    topic : str
        Topic of the scheduler's events. It names this build among all that the cluster carries out.
    flow : bytes
        Prefect's context of the flow run, pickled.
    work : str, optional
        Name of the work that processes have in common which share the store.
    """

    recipe: str
    topic: str
    flow: bytes
    work: str | None = None

    @classmethod
    def of(cls, build: Build, topic: str) -> BuildElsewhere:
        """Pack a build; call it inside its flow. Relative paths count from the flow's folder."""
        values = build.recipe.resolved()
        values["dataset"]["root"] = str(Path(build.recipe.dataset.root).absolute())
        if build.location.local is not None:
            values["store"] = str(build.location.local)
        work = None if build.claims is None else build.claims.work
        return cls(json.dumps(values), topic, cloudpickle.dumps(serialize_context()), work)

    def run_task(self, run: UUID, videos: Sequence[str], recompute: Sequence[str]) -> State[Any]:
        """Run the Prefect task of some videos in this process.

        prefect-dask would make Prefect's settings, context and HTTP client anew for every task,
        which takes longer than a short clip does. Here they are made once per build.
        """
        with self._entered(run) as entered:
            task = partial(
                run_task_sync,
                process_videos,
                task_run_id=run,
                parameters=parameters(quote(entered.build), videos, recompute),
                return_type="state",
            )
            state: Any = entered.context.copy().run(task)
            if entered.recorder is not None:
                entered.recorder.forget(videos)
            return cast(State[Any], state)

    @contextmanager
    def _entered(self, run: UUID) -> Iterator[_Open]:
        _at_work.add((self.topic, run))
        try:
            with _lock:
                if self.topic not in _open:
                    _open[self.topic] = _Open.of(self)
                entered = _open[self.topic]
            yield entered
        finally:
            _at_work.discard((self.topic, run))
            _ended[self.topic] = time.monotonic()
            timer = threading.Timer(_IDLE_SECONDS, leave_build, (self.topic, _IDLE_SECONDS))
            timer.daemon = True
            timer.start()


@dataclass
class _Open:
    """A build that this process has open.

    Attributes
    ----------
    build : Build
        With this process's claims on the store.
    context : Context
        Prefect's, as it is in the flow.
    """

    build: Build
    context: contextvars.Context
    stack: ExitStack
    recorder: Recorder | None

    @classmethod
    def of(cls, travelled: BuildElsewhere) -> _Open:
        for began in _began:
            time.sleep(max(0.0, began + _STEADY_SECONDS - time.monotonic()))
        while len(_shared) >= _KEPT and travelled.recipe not in _shared:
            _shared.pop(next(iter(_shared)))
        shared = _shared.setdefault(travelled.recipe, Shared())
        build = replace(
            Build.open(Recipe.parse(json.loads(travelled.recipe))),
            listener=Teller(travelled.topic),
            shared=shared,
        )
        context = contextvars.copy_context()
        recorder = None
        with ExitStack() as stack:
            if travelled.work is not None:
                claims = stack.enter_context(Claims(build.location, travelled.work))
                recorder = stack.enter_context(recorded(build.listener, claims))
                build = replace(build, listener=recorder, claims=claims)
            prefect = context.run(_enter_flow, travelled.flow)
            stack.callback(context.run, prefect.close)
            return cls(build, context, stack.pop_all(), recorder)


def _enter_flow(pickled: bytes) -> ExitStack:
    """Enter the flow run's context, with one client of Prefect's server for all its tasks."""
    with ExitStack() as stack:
        stack.enter_context(hydrated_context(cloudpickle.loads(pickled)))
        stack.enter_context(SyncClientContext())
        return stack.pop_all()


async def leave_build_now(topic: str) -> None:
    """Close what this process has open of a build that has ended; called by the flow."""
    await asyncio.to_thread(leave_build, topic)


def leave_build(topic: str, idle_seconds: float = 0.0) -> None:
    """Close what this process has open of a build, unless a task of it runs or has just ended."""
    with _lock:
        idle = time.monotonic() - _ended.get(topic, 0.0)
        if topic not in _open or tasks_at_work(topic) or idle < idle_seconds:
            return
        entered = _open.pop(topic)
        _ended.pop(topic, None)
    entered.stack.close()


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


def tasks_at_work(topic: str) -> int:
    """Tasks of a build that this process is in."""
    return sum(of == topic for of, _ in tuple(_at_work))


def device_problem(device: str) -> str | None:
    """Why this process cannot compute on a device; None where it can."""
    from foveal.models.device import choose_device  # torch takes seconds to load

    try:
        choose_device(device)
    except FovealError as error:
        return str(error)
    return None


async def dask_setup(_worker: object) -> None:
    """Called in a worker process as it starts: Ctrl-C is for the flow, which stops the videos."""
    os.setpgid(0, 0)
    _began.append(time.monotonic())
