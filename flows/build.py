"""The flow behind ``foveal build`` and the deployment ``build-store``.

Tasks carry video names and the recipe, never pixels; the store itself knows what is done, so
Prefect's caches and result files stay out of it.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from typing import Annotated, Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State, StateType
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from foveal.errors import FovealError, StoreLocked
from foveal.flows.artifacts import Bar, publish_table
from foveal.flows.engine import CHECK_EVERY_SECONDS, Engine, Future, Threads
from foveal.flows.server import drain, tell_cancelled
from foveal.flows.videos import batches, summary
from foveal.machine import available_cores
from foveal.pipeline.build.build import Build
from foveal.pipeline.build.plan import VideoPlan
from foveal.pipeline.build.run import Status, VideoResult, failed
from foveal.pipeline.build.work import BuildPlan
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.report.kept import kept_report
from foveal.pipeline.report.report import keep_report
from foveal.units import time_text

MAX_WORKERS = 32

DRAIN_SECONDS = 2.0

LOOK_EVERY_SECONDS = 5.0
"""A run that waits its turn checks so often whether the store is free."""

ELSEWHERE_SECONDS = 1.0
"""Pause between checks whether videos that another build has claimed are free again."""

Leave = Callable[[], None]
"""Ends the process where videos do not stop in time; returns where it must not end."""


def _run_name() -> str:
    """Name of a run in Prefect's UI: its dataset and its store."""
    given = flow_run.parameters
    try:
        recipe = _recipe(given["recipe"], given.get("overrides"))
    except (FovealError, OSError):
        return "recipe refused"
    return f"{recipe.dataset.kind} into {recipe.store.rstrip('/').rsplit('/', 1)[-1]}"


_flow = flow(name="build-store", flow_run_name=_run_name, persist_result=False)

_planned: ContextVar[Callable[[], State[list[VideoResult]]]] = ContextVar("planned")


@_flow
def build_store(
    recipe: str | dict[str, Any],
    overrides: list[str] | None = None,
    only: list[str] | None = None,
    limit: Annotated[int, Field(ge=1)] | None = None,
    retry: bool = False,
    repair: bool = False,
    recompute: list[str] | None = None,
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] | None = None,
    cluster: str | None = None,
) -> State[list[VideoResult]]:
    """Build the store of a recipe, and write ``report.html`` into it.

    Builds of the same recipe share the work. Where something else is at work on the store, this run
    waits its turn. The parameters are described in the only style that Prefect's form reads.

    Args:
        recipe: Path of a YAML recipe, or its content.
        overrides: ``dotted.key=value`` changes to a recipe given by path.
        only: Ids of the wanted videos; all by default.
        limit: Only the first so many videos.
        retry: Try quarantined videos again even though nothing about them changed.
        repair: Re-read what is complete against its checksums, compute damaged stages again.
        recompute: Stages to compute again though they are complete.
        workers: Videos at a time. By default 2 with optical flow, else one per core up to 8; on a
            cluster as many as it has threads.
        cluster: Dask cluster that carries out the work: ``local:4``, ``local:gpus``,
            ``tcp://host:8786``. By default what ``FOVEAL_CLUSTER`` names, else threads.

    Returns:
        ``Completed``, or ``Failed``: named "Incomplete" where videos were quarantined or failed
        (the others are kept), "Refused" where nothing could be done; the message says
        why.
    """
    try:
        elsewhere = bool(chosen_cluster(cluster))
        opened = Build.open(_recipe(recipe, overrides), device_elsewhere=elsewhere)
        with _turn(opened, alone=repair or bool(recompute)) as build:
            plan = build.plan(only or (), limit, retry, repair, recompute or ())
            leave = _leave_prefects_process
            return _carry_out(build, plan, workers, recompute or (), cluster, leave)
    except FovealError as error:
        # One line: a traceback would not help the user to mend it.
        return State(type=StateType.FAILED, name="Refused", message=str(error), data=error)


def _recipe(recipe: str | dict[str, Any], overrides: Sequence[str] | None) -> Recipe:
    if isinstance(recipe, str):
        return Recipe.load(recipe, overrides or ())
    return Recipe.parse(recipe)


@contextmanager
def _turn(build: Build, *, alone: bool) -> Iterator[Build]:
    """Begin to work on the build's store, once other work there has ended."""
    with ExitStack() as stack:
        told = False
        while True:
            try:
                at_work = stack.enter_context(build.at_work(alone=alone))
            except StoreLocked as error:
                if not told:
                    get_run_logger().warning("waits its turn: %s", error)
                told = True
                time.sleep(LOOK_EVERY_SECONDS)
            else:
                break
        yield at_work


def run_planned(
    build: Build,
    plan: BuildPlan,
    workers: int | None = None,
    recompute: Sequence[str] = (),
    cluster: str | None = None,
    leave: Leave = lambda: None,
) -> list[VideoResult]:
    """Carry out a plan as a run of the same flow in this process; the caller holds the lock.

    Parameters
    ----------
    build : Build
    plan : BuildPlan
    workers : int, optional
    recompute : sequence of str
    cluster : str, optional
        Dask cluster, see `foveal.flows.cluster`; by default threads of this process.
    leave : callable
        Called where the build is interrupted and videos do not stop within seconds; without, it is
        waited for them.

    Raises
    ------
    Exception
        What ended the flow itself; errors of single videos are in their results.
    """

    carry_out = functools.partial(_carry_out, build, plan, workers, recompute, cluster, leave)
    token = _planned.set(carry_out)
    try:
        state = _build_planned(build.recipe.resolved(), return_state=True)
    finally:
        _planned.reset(token)
    results: Any = state.result(raise_on_failure=False)
    if isinstance(results, BaseException):
        raise results
    return list(results)


@_flow
def _build_planned(recipe: dict[str, Any]) -> State[list[VideoResult]]:
    """The same flow where its plan is made already, which is no parameter: it cannot travel."""
    return _carry_out_planned()


def _carry_out_planned() -> State[list[VideoResult]]:
    return _planned.get()()


def _carry_out(
    build: Build,
    plan: BuildPlan,
    workers: int | None,
    recompute: Sequence[str],
    cluster: str | None,
    leave: Leave,
) -> State[list[VideoResult]]:
    """Compute what is due, then write index and report; the store's lock is held."""
    started = time.monotonic()
    url = build.recipe.store
    build.remember(plan)
    sizes = {item.video.id: item.contents["video"].total_bytes for item in plan.to_do}
    build.listener.planned(sizes, plan.settled)
    with choose_engine(build, recompute, workers, cluster) as engine:
        results = [*plan.settled, *_process(build, plan.to_do, engine, leave)]
        # Meanwhile Prefect's server receives the last states from the workers.
        build.finalise(results, plan)
        report = kept_report(url)
        if plan.to_do or report is None:
            took = time_text(time.monotonic() - started)
            about = {"result": summary(results), "took": took, "videos at a time": engine.about}
            report = keep_report(url, about)
        publish_table(build.location, results, report)
    if all(result.ok for result in results):
        return Completed(message=summary(results), data=results)
    return State(type=StateType.FAILED, name="Incomplete", message=summary(results), data=results)


def _process(
    build: Build, to_do: Sequence[VideoPlan], engine: Engine, leave: Leave
) -> list[VideoResult]:
    """Keep as many tasks in flight as the engine wants, until all have ended or the build is
    stopped by Ctrl-C, a signal or a cancelled run."""
    waiting = deque(batches(to_do, engine.at_once))
    suspects: deque[str] = deque()
    at_work: dict[Future, list[str]] = {}
    done: SimpleQueue[Future] = SimpleQueue()
    results: list[VideoResult] = []
    elsewhere: list[str] = []
    bar = Bar(build.location, len(to_do))
    try:
        while waiting or at_work or suspects or elsewhere:
            if not (waiting or at_work or suspects):
                time.sleep(ELSEWHERE_SECONDS)
                again = build.settled_elsewhere(elsewhere)
                for result in again.settled:
                    build.listener.ended(result)
                results += again.settled
                waiting.extend(batches(again.to_do, engine.at_once))
                elsewhere = [name for name in elsewhere if name not in again.wanted]
                continue
            while waiting and len(at_work) < engine.slots:
                videos = waiting.popleft()
                at_work[engine.submit(videos, done.put)] = videos
            on_trial = not at_work
            if on_trial:
                videos = [suspects.popleft()]
                at_work[engine.submit(videos, done.put)] = videos
            bar.show(results)
            future = _next_ended(done, engine)
            videos = at_work.pop(future)
            value = engine.outcome(future)
            if not isinstance(value, Exception):
                results += [one for one in value if one.status is not Status.ELSEWHERE]
                held = [one.video for one in value if one.status is Status.ELSEWHERE]
                elsewhere += [video for video in held if video not in elsewhere]
            elif isinstance(value, ChildProcessError) and not on_trial:
                # Each video runs alone now: that shows which of them kills workers.
                suspects.extend(videos)
            else:
                for video in videos:
                    result = failed(video, value)
                    build.listener.ended(result)
                    results.append(result)
    except BaseException as error:
        left = engine.stop(at_work)
        if left:
            tasks = [future.task_run_id for future in left]
            # Where Prefect started the process, it reports the end of the run itself.
            run = None if _in_prefects_process() else UUID(flow_run.id)
            tell_cancelled(tasks, run)
        if left and engine.in_process and not isinstance(error, Exception):
            leave()
        raise
    bar.close(results)
    return results


def _next_ended(done: SimpleQueue[Future], engine: Engine) -> Future:
    """Wait for a task to end, as long as somebody is there to end one."""
    while True:
        with suppress(Empty):
            return done.get(timeout=CHECK_EVERY_SECONDS)
        engine.check()


def _in_prefects_process() -> bool:
    """Whether Prefect started this process for this run alone."""
    return os.environ.get("PREFECT__FLOW_RUN_ID") == str(flow_run.id)


def _leave_prefects_process() -> None:
    """End as the signal would have ended the process, where it is Prefect's to end."""
    if _in_prefects_process():
        drain(DRAIN_SECONDS)
        os._exit(128 + signal.SIGTERM)


def chosen_cluster(cluster: str | None) -> str | None:
    """The cluster that carries out a build: the one that is named, else ``FOVEAL_CLUSTER``'s."""
    return cluster or os.environ.get("FOVEAL_CLUSTER") or None


def choose_engine(
    build: Build, recompute: Sequence[str], workers: int | None, cluster: str | None
) -> Engine:
    """What carries out a build: the cluster that is named, else threads."""
    cluster = chosen_cluster(cluster)
    if cluster:
        from foveal.flows.cluster import Dask

        return Dask(build, recompute, cluster, workers)
    return Threads(build, recompute, min(workers or default_workers(build.recipe), MAX_WORKERS))


def default_workers(recipe: Recipe) -> int:
    """Videos at a time: where one video fills every core, two only hide the seams."""
    busy = any(section.fills_cores for section in recipe.stage_sections())
    return 2 if busy else max(1, min(8, available_cores()))
