"""This module holds the Prefect task of a build, which processes some videos by their names.

The task is not in the flow's module: Prefect loads flows from paths, and worker processes cannot
import such a module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from foveal.pipeline.build.build import Build
from foveal.pipeline.build.plan import VideoPlan
from foveal.pipeline.build.progress import Stopped
from foveal.pipeline.build.run import Status, VideoResult

BATCH_FRAMES = 500
"""Short clips share a task until they have so many frames together."""

MANY_TASKS = 400
"""Where there would be more tasks, each gets more videos: a task costs Prefect's server 33 ms."""

_FEWEST_FRAMES = 50
"""Clips that have fewer frames together share a task even where workers would be idle."""

_FRAME_BYTES = 1000
"""A video of unknown length is assumed to have one frame per so many bytes."""

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
    name: str, videos: list[str], build: Build, recompute: list[str]
) -> list[VideoResult] | State[Any]:
    """Process some videos of a build; `name` is what the UI shows."""
    try:
        results = [build.run(video, recompute) for video in videos]
    except Stopped as stop:
        return Cancelled(message=str(stop))
    for result in results:
        get_run_logger().info(describe(result))
    return results


def _may_pass(state: State[Any]) -> bool:
    """Whether another try may help: the machine failed, and the recipe is not wrong."""
    return isinstance(state.result(raise_on_failure=False), OSError)


def batches(plans: Sequence[VideoPlan], at_once: int = 1) -> list[list[str]]:
    """Ids of videos that share a task: short clips together, others alone.

    Each task takes a share of what is left, so that all workers are busy and end together. Of very
    many videos several share a task in any case: it takes a hundredth of all frames that are left.

    Parameters
    ----------
    plans : sequence of VideoPlan
    at_once : int
        Tasks that run at the same time.
    """
    lengths = [_frames(plan) for plan in plans]
    names = [plan.video.id for plan in plans]
    few = partial(_few_frames, at_once=at_once)
    found = list(_batches(names, lengths, few))
    return found if len(found) <= MANY_TASKS else list(_batches(names, lengths, _many_frames))


def _frames(plan: VideoPlan) -> int:
    """Length of a video, guessed from its size where the listing does not give it."""
    content = plan.contents.get("video")
    guess = BATCH_FRAMES if content is None else 1 + content.total_bytes // _FRAME_BYTES
    known = plan.video.expected_frames or len(plan.video.image_names or ())
    return known or min(BATCH_FRAMES, guess)


def _few_frames(left: int, at_once: int) -> float:
    return min(BATCH_FRAMES, max(_FEWEST_FRAMES, left / (2 * at_once)))


def _many_frames(left: int) -> float:
    return max(BATCH_FRAMES, left / _TASKS)


def _batches(
    names: Sequence[str], lengths: Sequence[int], most_frames: Callable[[int], float]
) -> Iterator[list[str]]:
    left = sum(lengths)
    batch: list[str] = []
    frames = 0
    for name, length in zip(names, lengths, strict=True):
        if batch and frames + length > most_frames(left):
            yield batch
            left -= frames
            batch, frames = [], 0
        batch.append(name)
        frames += length
    if batch:
        yield batch


def task_name(videos: Sequence[str]) -> str:
    """Name of the task of these videos in Prefect's UI."""
    return videos[0] if len(videos) == 1 else f"{videos[0]} … {videos[-1]} ({len(videos)} videos)"


def describe(result: VideoResult) -> str:
    """Describe the outcome of a video in one line."""
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
