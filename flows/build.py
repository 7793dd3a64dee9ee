"""The flow behind ``foveal build`` and the deployment ``build-store``.

Tasks carry video names and the recipe, never pixels; the store itself knows what is done, so
Prefect's caches and result files stay out of it.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from foveal.pipeline.build.build import Build, BuildPlan, failed
from foveal.pipeline.build.plan import VideoPlan
from foveal.pipeline.build.run import Status, VideoResult
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.report.report import duration, keep_report, kept_report
from foveal.storage.root import store_lock

BATCH_FRAMES = 500
"""Short clips share a task until they have so many frames together."""

RETRY_DELAYS_SECONDS = [2.0, 20.0]

MAX_WORKERS = 32


@task(
    name="process-videos",
    task_run_name="{name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=len(RETRY_DELAYS_SECONDS),
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
)
def process_videos(
    name: str, videos: list[str], build: Build, recompute: list[str]
) -> list[VideoResult]:
    """Process some videos of a build; `name` is what the UI shows."""
    results = [build.run(video, recompute) for video in videos]
    for result in results:
        get_run_logger().info(describe(result))
    return results


_flow = flow(
    name="build-store",
    task_runner=ThreadPoolTaskRunner(max_workers=MAX_WORKERS),  # type: ignore[arg-type]
    persist_result=False,
)


@_flow
def build_store(
    recipe: str | dict[str, Any],
    overrides: list[str] | None = None,
    only: list[str] | None = None,
    limit: int | None = None,
    retry: bool = False,
    repair: bool = False,
    recompute: list[str] | None = None,
    workers: int | None = None,
) -> State[list[VideoResult]]:
    """Build the store of a recipe, and write ``report.html`` into it.

    Parameters
    ----------
    recipe : str or dict
        Path of a YAML recipe, or its content.
    overrides : list of str, optional
        ``dotted.key=value`` changes to a recipe given by path.
    only : list of str, optional
        Ids of the wanted videos.
    limit : int, optional
        Only the first so many videos.
    retry : bool
        Try quarantined videos again even though nothing about them changed.
    repair : bool
        Re-read what is complete against its checksums, and compute damaged stages again.
    recompute : list of str, optional
        Stages to compute again though they are complete.
    workers : int, optional
        Videos at a time; by default 2 with optical flow, else one per core up to 8.

    Returns
    -------
    State
        ``Completed``, or ``Failed`` named "Incomplete" where videos were quarantined or failed;
        what the others became is kept in either case. Carries the results.
    """
    if isinstance(recipe, str):
        build = Build.open(Recipe.load(recipe, overrides or ()))
    else:
        build = Build.open(Recipe.parse(recipe))
    with store_lock(build.location):
        build.prepare()
        plan = build.plan(only or (), limit, retry, repair, recompute or ())
        return _carry_out(build, plan, workers, recompute or ())


def run_planned(
    build: Build, plan: BuildPlan, workers: int | None = None, recompute: Sequence[str] = ()
) -> list[VideoResult]:
    """Carry out a plan as a run of the same flow in this process; the caller holds the lock.

    Raises
    ------
    Exception
        What ended the flow itself; what befell single videos stands in their results.
    """

    def build_store(recipe: dict[str, Any]) -> State[list[VideoResult]]:
        return _carry_out(build, plan, workers, recompute)

    state = _flow(build_store)(build.recipe.resolved(), return_state=True)
    results: Any = state.result(raise_on_failure=False)
    if isinstance(results, BaseException):
        raise results
    return list(results)


def _carry_out(
    build: Build, plan: BuildPlan, workers: int | None, recompute: Sequence[str]
) -> State[list[VideoResult]]:
    """Compute what is due, then write index and report; the store's lock is held."""
    workers = min(workers or default_workers(build.recipe), MAX_WORKERS)
    started = time.monotonic()
    url = build.recipe.store
    build.remember(plan)
    sizes = {item.video.id: item.contents["video"].total_bytes for item in plan.to_do}
    build.listener.planned(sizes, plan.settled)
    results = [*plan.settled, *_process(build, plan.to_do, workers, recompute)]
    build.finalise(results)
    report = kept_report(url)
    if plan.to_do or report is None:
        took = duration(time.monotonic() - started)
        about = {"result": summary(results), "took": took, "videos at a time": workers}
        report = keep_report(url, about)
    _publish_table(results, report)
    if all(result.ok for result in results):
        return Completed(message=summary(results), data=results)
    return State(type=StateType.FAILED, name="Incomplete", message=summary(results), data=results)


def _process(
    build: Build, to_do: Sequence[VideoPlan], workers: int, recompute: Sequence[str]
) -> Iterator[VideoResult]:
    """Keep as many tasks in flight as there are workers; give results as they come."""
    waiting = deque(batches(to_do))
    at_work: dict[PrefectFuture[list[VideoResult]], list[str]] = {}
    while waiting or at_work:
        while waiting and len(at_work) < workers:
            videos = waiting.popleft()
            # Quoted: Prefect would look for futures in every video that the build lists.
            quoted: Any = quote(build)
            future = process_videos.submit(_task_name(videos), videos, quoted, list(recompute))
            at_work[future] = videos
        future = next(as_completed(list(at_work)))
        future.wait()
        videos = at_work.pop(future)
        if future.state.is_completed():
            yield from future.result()
            continue
        error: Any = future.result(raise_on_failure=False)
        for video in videos:
            result = failed(video, error)
            build.listener.ended(result)
            yield result


def default_workers(recipe: Recipe) -> int:
    """Videos at a time: where one video fills every core, two only hide the seams."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    busy = any(section.fills_cores for section in recipe.stage_sections())
    return 2 if busy else max(1, min(8, cores or 1))


def batches(plans: Sequence[VideoPlan]) -> Iterator[list[str]]:
    """Ids of videos that share a task: known short clips together, others alone."""
    batch: list[str] = []
    frames = 0
    for plan in plans:
        names = plan.video.image_names
        length = plan.video.expected_frames or (len(names) if names else BATCH_FRAMES)
        if batch and frames + length > BATCH_FRAMES:
            yield batch
            batch, frames = [], 0
        batch.append(plan.video.id)
        frames += length
    if batch:
        yield batch


def _task_name(videos: list[str]) -> str:
    return videos[0] if len(videos) == 1 else f"{videos[0]} … {videos[-1]} ({len(videos)} videos)"


def describe(result: VideoResult) -> str:
    """One line on what became of a video."""
    if not result.ok:
        return f"{result.video}: {result.status}: {result.reason}"
    if result.status is Status.UNCHANGED:
        return f"{result.video}: unchanged"
    return (
        f"{result.video}: {result.frames} frames in {result.wall_seconds:.1f} s "
        f"({', '.join(result.stages)})"
    )


def summary(results: Sequence[VideoResult]) -> str:
    """Videos counted by how they ended."""
    counts = Counter(result.status for result in results)
    parts = [f"{counts[status]} {status.value}" for status in Status if counts[status]]
    return f"{len(results)} videos: {', '.join(parts) or 'nothing to do'}"


def _publish_table(results: Sequence[VideoResult], report: str | None) -> None:
    create_table_artifact(
        key="build-store",
        description=f"{summary(results)}; report: {report or 'could not be written'}",
        table=[
            {
                "video": result.video,
                "status": result.status.value,
                "frames": result.frames,
                "seconds": round(result.wall_seconds, 1),
                "stages": ", ".join(result.stages),
                "reason": result.reason,
            }
            for result in results
        ],
    )
