"""One video, raw file in, complete stages out.

Decoding, computing and writing overlap: a decoder thread fills one bounded queue, the calling
thread computes, a writer thread empties another. Wall time is that of the slowest of the three and
memory does not grow with the video.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from foveal.errors import GazeError
from foveal.pipeline.video.decode import decode
from foveal.pipeline.build.plan import VideoPlan
from foveal.pipeline.stages.base import DECODER, OF_THIS_RUN, Arrays, Stage
from foveal.pipeline.build.threads import Sink, ahead
from foveal.pipeline.video.types import ArrayBatch, FrameBatch, VideoInfo
from foveal.storage.location import Location
from foveal.storage.marks import Mark
from foveal.storage.arrays import read_array
from foveal.storage.writer import StageWriter, VideoWriter

_DECODED_BATCHES = 2
_WRITES_AHEAD = 4

Advance = Callable[[int, int | None], None]
"""Called with frames done and frames expected (None: unknown) after every batch."""


class Status(StrEnum):
    """How a video ended."""

    COMPLETE = "complete"
    UNCHANGED = "unchanged"
    QUARANTINED = "quarantined"
    FAILED = "failed"


@dataclass(frozen=True)
class VideoResult:
    """What became of one video.

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
    """

    video: str
    status: Status
    reason: str = ""
    stages: tuple[str, ...] = ()
    frames: int = 0
    wall_seconds: float = 0.0
    stored_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether the video is whole in the store."""
        return self.status in (Status.COMPLETE, Status.UNCHANGED)


def process_video(plan: VideoPlan, location: Location, advance: Advance) -> VideoResult:
    """Compute the pending stages of one video.

    1. read the gaze, so that a missing file costs no decoding;
    2. forget what is stale;
    3. decode once and fan out to the stages that feed on frames, and on through those that feed on
       their arrays;
    4. stream stored arrays to stages whose feed was complete before;
    5. mark each stage as its last item is written.

    Raises
    ------
    InputError
        Where the video or its annotation is unusable. Stages complete before stay complete.
    """
    started = time.monotonic()
    if not plan.pending:
        return VideoResult(plan.video.id, Status.UNCHANGED)
    info = plan.info
    _check_declared(plan, info.frames)
    if plan.needs_gaze():
        _ = plan.fixations
    writer = VideoWriter(location, plan.video.id, _group_attributes(plan))
    specs = {name: plan.stages[name].outputs(info) for name in plan.pending}
    writer.invalidate(plan.stale, [spec.name for group in specs.values() for spec in group])

    nodes = {
        name: _Node(plan.stages[name], writer.stage(name, plan.identities[name], specs[name]))
        for name in plan.pending
    }
    feeds: dict[str, list[_Node]] = {}
    for node in nodes.values():
        if node.stage.feed in nodes:
            nodes[node.stage.feed].children.append(node)
        else:
            feeds.setdefault(node.stage.feed, []).append(node)
    frames = 0
    try:
        with Sink(_WRITES_AHEAD) as sink:
            for feed, roots in feeds.items():
                stream = _decoded(plan) if feed == DECODER else _stored(plan, location, feed)
                with closing(stream):
                    frames = max(frames, _drive(stream, roots, sink, plan, info, advance))
    except BaseException:
        writer.abandon()
        raise
    marks = [node.mark for node in nodes.values() if node.mark is not None]
    return VideoResult(
        plan.video.id,
        Status.COMPLETE,
        stages=tuple(plan.pending),
        frames=frames,
        wall_seconds=time.monotonic() - started,
        stored_bytes=sum(mark.stored_bytes for mark in marks),
    )


@dataclass
class _Node:
    """A stage at work, and those that feed on it."""

    stage: Stage
    writer: StageWriter
    children: list[_Node] = field(default_factory=list)
    fed: int = 0
    compute_seconds: float = 0.0
    mark: Mark | None = None


def _drive(
    stream: Iterator[FrameBatch | ArrayBatch],
    roots: list[_Node],
    sink: Sink,
    plan: VideoPlan,
    info: VideoInfo,
    advance: Advance,
) -> int:
    """Push a stream through the stages that feed on it; gives its length."""
    length = 0
    for batch in stream:
        for node in roots:
            _push(node, batch, sink)
        length = batch.stop
        advance(length, plan.video.max_frames or info.frames)
    _check_decoded(plan, length)
    for node in roots:
        _finish(node, sink, plan)
    return length


def _push(node: _Node, batch: FrameBatch | ArrayBatch, sink: Sink) -> None:
    started = time.monotonic()
    arrays = node.stage.push(batch)
    node.compute_seconds += time.monotonic() - started
    _emit(node, arrays, sink)


def _emit(node: _Node, arrays: Arrays, sink: Sink) -> None:
    if arrays:
        sink.submit(lambda: node.writer.append(arrays))
    for child in node.children:
        values = arrays.get(child.stage.feed)
        if values is not None and len(values):
            batch = ArrayBatch(child.fed, values)
            child.fed = batch.stop
            _push(child, batch, sink)


def _finish(node: _Node, sink: Sink, plan: VideoPlan) -> None:
    started = time.monotonic()
    arrays = node.stage.finish()
    node.compute_seconds += time.monotonic() - started
    _emit(node, arrays, sink)
    provenance = _provenance(node.stage, plan)
    of_this_run = {
        **provenance.pop(OF_THIS_RUN, {}),
        "contents": {key: value.to_dict() for key, value in plan.contents.items()},
        "compute_seconds": round(node.compute_seconds, 3),
    }

    def complete() -> None:
        node.mark = node.writer.complete(provenance, of_this_run)

    sink.submit(complete)
    for child in node.children:
        _finish(child, sink, plan)


def _provenance(stage: Stage, plan: VideoPlan) -> dict[str, Any]:
    found = {
        "parameters": stage.parameters(),
        "source_sha256": {key: value.sha256 for key, value in plan.contents.items()},
        **stage.provenance(),
        **plan.notes.get(stage.name, {}),
    }
    if stage.name == "time":
        found["video"] = _group_attributes(plan)
    return found


def _group_attributes(plan: VideoPlan) -> Mapping[str, Any]:
    info, video = plan.info, plan.video
    return {
        "video": video.id,
        "split": video.split,
        "fps": info.fps,
        "source_size": [info.height_px, info.width_px],
        "source_file": video.path.name,
        "source_sha256": plan.contents["video"].sha256,
    }


def _check_declared(plan: VideoPlan, frames: int | None) -> None:
    """Find a mismatch before hours are spent on it, where the container tells."""
    if frames is not None and plan.video.max_frames is None:
        _check_decoded(plan, frames, "declared")


def _check_decoded(plan: VideoPlan, frames: int, how: str = "decoded") -> None:
    expected, limit = plan.video.expected_frames, plan.video.max_frames
    if expected is None or plan.recipe.dataset.reconcile != "strict":
        return
    expected = expected if limit is None else min(expected, limit)
    if frames != expected:
        raise GazeError(
            f"{plan.video.id}: {frames} frames {how}, but the annotation has {expected}; "
            "dataset.reconcile: truncate_to_shorter keeps the frames that both have"
        )


def _decoded(plan: VideoPlan) -> Generator[FrameBatch | ArrayBatch, None, None]:
    """Frames from a decoder thread that runs ahead by a few batches."""
    return ahead(decode(plan.video, plan.info, plan.recipe.decode.errors), _DECODED_BATCHES)


def _stored(
    plan: VideoPlan, location: Location, array: str
) -> Generator[FrameBatch | ArrayBatch, None, None]:
    """A complete array of the store, a shard at a time."""
    values = read_array(location, plan.video.id, array)
    step = (values.shards or values.chunks)[0]

    def shards() -> Iterator[FrameBatch | ArrayBatch]:
        for start in range(0, values.shape[0], step):
            yield ArrayBatch(start, np.asarray(values[start : start + step]))

    return ahead(shards(), _DECODED_BATCHES)
