"""The task of a build: some videos of a recipe, by their names.

It lives apart from the flow: a flow that Prefect loads from a path has no module that another
process could import.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from foveal.pipeline.build.build import Build
from foveal.pipeline.build.plan import VideoPlan
from foveal.pipeline.build.progress import Stopped
from foveal.pipeline.build.run import Status, VideoResult

if TYPE_CHECKING:
    from foveal.flows.elsewhere import BuildElsewhere

BATCH_FRAMES = 500
"""Short clips share a task until they have so many frames together."""

MANY_TASKS = 400
"""Where there would be more, tasks are made larger: a task costs Prefect some tens of ms."""

_TASKS = 100

RETRY_DELAYS_SECONDS = [2.0, 20.0]


@task(
    name="process-videos",
    task_run_name="{name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=len(RETRY_DELAYS_SECONDS),
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
    retry_condition_fn=lambda _task, _run, state: _may_pass(state),
)
def process_videos(
    name: str, videos: list[str], build: Build | BuildElsewhere, recompute: list[str]
) -> list[VideoResult] | State[Any]:
    """Process some videos of a build; `name` is what the UI shows."""
    here = nullcontext(build) if isinstance(build, Build) else build.opened()
    try:
        with here as opened:
            results = [opened.run(video, recompute) for video in videos]
    except Stopped as stop:
        return Cancelled(message=str(stop))
    for result in results:
        get_run_logger().info(describe(result))
    return results


def _may_pass(state: State[Any]) -> bool:
    """Whether trying again may help: where the machine failed, not where the recipe is wrong."""
    return isinstance(state.result(raise_on_failure=False), OSError)


def batches(plans: Sequence[VideoPlan]) -> list[list[str]]:
    """Ids of videos that share a task: known short clips together, others alone.

    Of very many videos several share a task in any case: the first tasks take a hundredth of all
    frames, later ones a hundredth of what is left, so that workers end together.
    """
    lengths = [
        plan.video.expected_frames or len(plan.video.image_names or ()) or BATCH_FRAMES
        for plan in plans
    ]
    names = [plan.video.id for plan in plans]
    found = list(_batches(names, lengths, 0))
    return found if len(found) <= MANY_TASKS else list(_batches(names, lengths, 1 / _TASKS))


def _batches(
    names: Sequence[str], lengths: Sequence[int], share_of_rest: float
) -> Iterator[list[str]]:
    left = sum(lengths)
    batch: list[str] = []
    frames = 0
    for name, length in zip(names, lengths, strict=True):
        if batch and frames + length > max(BATCH_FRAMES, left * share_of_rest):
            yield batch
            left -= frames
            batch, frames = [], 0
        batch.append(name)
        frames += length
    if batch:
        yield batch


def task_name(videos: Sequence[str]) -> str:
    """What the UI calls the task of these videos."""
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
