"""Process one video, from its raw file to complete stages in the store.

Decoding, computing and writing overlap: a reading thread fills one bounded queue, the calling
thread computes, a writer thread empties another. Wall time is that of the slowest of the three and
memory does not grow with the video.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.build.digests import check_unchanged, video_files
from foveal.pipeline.build.plan import VideoPlan
from foveal.pipeline.stages.feed import feed
from foveal.pipeline.stages.frames import TIMELINE
from foveal.pipeline.stages.meter import Meter
from foveal.pipeline.stages.write import write_stages
from foveal.pipeline.video.audio import decode_audio
from foveal.pipeline.video.decode import decode
from foveal.storage.location import Location
from foveal.storage.marks import infos_of

Advance = Callable[[int, int | None, Meter], None]
"""Called with frames done, frames expected (None: unknown) and where the time went after every
batch."""


class Status(StrEnum):
    """How the work on a video ended.

    Attributes
    ----------
    COMPLETE : str
        Every wanted stage is there; some were computed now.
    UNCHANGED : str
        Every wanted stage was complete already.
    QUARANTINED : str
        The video or its annotation is unusable.
    FAILED : str
        Another cause (disk, device, a defect); the next build tries again.
    ELSEWHERE : str
        Another process has claimed the video; it is not decided yet.
    """

    COMPLETE = "complete"
    UNCHANGED = "unchanged"
    QUARANTINED = "quarantined"
    FAILED = "failed"
    ELSEWHERE = "elsewhere"
    """Another process has claimed it; its outcome is not known yet."""


@dataclass(frozen=True)
class VideoResult:
    """The outcome of one video.

    Attributes
    ----------
    video : str
    status : Status
    reason : str
        Why it was quarantined or failed; empty otherwise.
    stages : tuple of str
        Stages computed in this run.
    frames : int
        Frames decoded or streamed.
    wall_seconds : float
    stored_bytes : int
        Bytes written in this run.
    meter : Meter
        Where the time went.
    """

    video: str
    status: Status
    reason: str = ""
    stages: tuple[str, ...] = ()
    frames: int = 0
    wall_seconds: float = 0.0
    stored_bytes: int = 0
    meter: Meter = field(default_factory=Meter)

    @property
    def ok(self) -> bool:
        """Whether the video is whole in the store."""
        return self.status in (Status.COMPLETE, Status.UNCHANGED)


def process_video(plan: VideoPlan, location: Location, advance: Advance) -> VideoResult:
    """Compute the pending stages of one video.

    1. prepare them: the gaze is read first, so that a missing file costs no decoding;
    2. decode once, and read arrays that were complete before, in step;
    3. see `write_stages`.

    Raises
    ------
    InputError
        Where the video or its annotation is unusable. Stages complete before stay complete.
    """
    started = time.monotonic()
    video = plan.video
    if not plan.pending:
        return VideoResult(video.id, Status.UNCHANGED)
    info = plan.info
    if info.frames is not None and video.max_frames is None:
        # Where the container gives a length, a mismatch is found before hours are spent.
        _check_length(plan, info.frames, "declared")
    due = plan.prepared()
    read = {name for work in due for name in work.stage.inputs}
    made = {array for work in due for array in work.stage.arrays}
    complete = infos_of(plan.marks)
    timeline = complete.get(TIMELINE)
    batches = feed(
        location,
        video.id,
        read,
        [complete[name] for name in sorted(read - made) if name in complete],
        0 if timeline is None else timeline.items,
        lambda: decode(video, info, plan.recipe.decode.errors),
        lambda: decode_audio(video),
    )
    meter = Meter()
    frames = write_stages(
        location,
        video.id,
        plan.attributes,
        due,
        batches,
        stale=plan.stale,
        advance=lambda done: advance(done, video.max_frames or info.frames, meter),
        check=lambda done: _check_input(plan, done),
        meter=meter,
        checkpoint_seconds=checkpoint_seconds(),
    )
    return VideoResult(
        video.id,
        Status.COMPLETE,
        stages=tuple(plan.pending),
        frames=frames,
        wall_seconds=time.monotonic() - started,
        stored_bytes=sum(work.mark.stored_bytes for work in due if work.mark is not None),
        meter=meter,
    )


def checkpoint_seconds() -> float:
    """Seconds between checkpoints of a video: ``FOVEAL_CHECKPOINT_SECONDS``, or 60."""
    given = os.environ.get("FOVEAL_CHECKPOINT_SECONDS", "60")
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise RecipeError(f"FOVEAL_CHECKPOINT_SECONDS is {given!r}; give seconds from 0 to 86400")
    return seconds


def _check_input(plan: VideoPlan, frames: int) -> None:
    """Check, before anything is marked, that the files read are those that were hashed."""
    _check_length(plan, frames, "decoded")
    check_unchanged(video_files(plan.video), plan.contents["video"])
    if "annotations" in plan.contents:
        check_unchanged(plan.video.annotation_paths, plan.contents["annotations"], GazeError)


def _check_length(plan: VideoPlan, frames: int, how: str) -> None:
    if plan.recipe.dataset.reconcile != "strict" or plan.annotated_frames is None:
        return
    expected, limit = plan.annotated_frames, plan.video.max_frames
    expected = expected if limit is None else min(expected, limit)
    if frames != expected:
        raise GazeError(
            f"{plan.video.id}: {frames} frames {how}, but the annotation has {expected}; "
            "dataset.reconcile: truncate_to_shorter keeps the frames that both have"
        )


def failed(video: str, error: Exception) -> VideoResult:
    """The result of a video that failed for another reason than its input."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(last[0].filename).name}:{last[0].lineno})" if last else ""
    return VideoResult(video, Status.FAILED, f"{type(error).__name__}: {error}{where}")
