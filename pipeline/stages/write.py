"""This module runs stages and writes their arrays: for builds, masks, predictions and dry runs.

Each batch goes to the stages that read it, and their arrays go to the stages that read those.
Computing and writing overlap: the calling thread computes, and a writer thread empties a bounded
queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, cast

from foveal.errors import InputError
from foveal.pipeline.stages.base import OF_THIS_RUN, Arrays, Resumable, Stage, StageContext
from foveal.pipeline.stages.meter import INPUT, WRITER, Meter
from foveal.pipeline.stages.progress import Progress
from foveal.pipeline.stages.threads import Sink
from foveal.pipeline.video.types import ArrayBatch, AudioBatch, FrameBatch
from foveal.storage.cf import Scale
from foveal.storage.checkpoint import StagePart
from foveal.storage.kinds import ITEMS_BEYOND_FRAMES
from foveal.storage.location import Location
from foveal.storage.marks import Mark
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import StageWriter, VideoWriter

_WRITES_AHEAD = 4
_REPLAYED_ITEMS = 16

Batch = FrameBatch | ArrayBatch | AudioBatch
"""What a stage takes."""

Batches = Generator[tuple[str, Batch, int], None, None]
"""Name of the input, the batch, and the number of frames that have come with it."""

Advance = Callable[[int], None]
"""Called with the number of frames done, after every batch."""


@dataclass
class StageWork:
    """A stage that is to be computed.

    Attributes
    ----------
    stage : Stage
        The stage of this video.
    identity : mapping
        What determines its numbers, see `identity_of`.
    notes : mapping
        Further provenance.
    of_this_run : mapping
        Further provenance that only the mark keeps.
    mark : Mark or None
        The mark, once the stage is complete.
    compute_seconds, write_seconds : float
        Time spent so far.
    """

    stage: Stage
    identity: Mapping[str, Any]
    notes: Mapping[str, Any] = field(default_factory=dict)
    of_this_run: Mapping[str, Any] = field(default_factory=dict)
    mark: Mark | None = None
    compute_seconds: float = 0.0
    write_seconds: float = 0.0

    def prepare(self, context: StageContext) -> None:
        """Prepare the stage with a `context`, and count the time."""
        started = time.monotonic()
        self.stage.prepare(context)
        self.compute_seconds += time.monotonic() - started


def identity_of(stage: Stage, origins: Mapping[str, str], **content: Any) -> dict[str, Any]:
    """Return what determines the numbers of a stage.

    Parameters
    ----------
    stage : Stage
        The stage of this video.
    origins : mapping of str to str
        Fingerprints, by name, of the stages whose arrays it reads.
    **content
        What else it is made from: hashes of files, settings of the decoder.
    """
    identity: dict[str, Any] = {
        "stage": stage.name,
        "version": stage.version,
        "parameters": stage.parameters(),
    }
    if origins:
        identity["upstream"] = dict(origins)
    return identity | content


def write_stages(
    location: Location,
    video: str,
    attributes: Mapping[str, Any],
    due: Sequence[StageWork],
    batches: Batches,
    *,
    stale: Sequence[str] = (),
    advance: Advance = lambda frames: None,
    check: Callable[[int], None] = lambda frames: None,
    meter: Meter | None = None,
    checkpoint_seconds: float | None = None,
) -> int:
    """Compute stages and write them; mark each complete when its last item is on disk.

    1. remove what is stale: marks first, then arrays;
    2. push every batch through the stages that read it, and on through those that read their
       arrays;
    3. finish and mark each stage, in their order.

    Parameters
    ----------
    location : Location
        Where the store is.
    video : str
        Id of the video.
    attributes : mapping
        Attributes of the video's group.
    due : sequence of StageWork
        The stages, each after those whose arrays it reads.
    batches : generator
        What the stages read and do not make themselves; closed at the end.
    stale : sequence of str
        Names of complete stages that are removed first.
    advance : callable
        Called with the number of frames done, after every batch.
    check : callable
        Called with the number of frames after the last batch; raises an error if it is wrong.
    meter : Meter, optional
        Counts the time of each stage.
    checkpoint_seconds : float, optional
        Time between checkpoints, so that a kill costs no more than this; by default there are none.

    Returns
    -------
    int
        Number of frames.

    Raises
    ------
    Exception
        Whatever a stage or the input raises. What is incomplete by then is removed, except what
        the latest checkpoint needs; if the input is unusable, that is removed too.
    """
    writer = VideoWriter(location, video, attributes)
    specs = {work.stage.name: work.stage.outputs() for work in due}
    progress = Progress.of(location, video, due, specs, checkpoint_seconds)
    made = [spec.name for group in specs.values() for spec in group]
    writer.invalidate(stale, made, progress.kept)
    nodes = []
    for work in due:
        name = work.stage.name
        part = progress.parts.get(name)
        stage_writer = writer.stage(name, work.identity, specs[name], part)
        nodes.append(_Node(work, stage_writer, had=0 if part is None else progress.frames))
    for node in nodes:
        node.begin(specs[node.work.stage.name], nodes, progress.parts)
    frames = 0
    meter = meter or Meter()
    try:
        with (
            Sink(_WRITES_AHEAD, lambda seconds: meter.add(WRITER, seconds)) as sink,
            closing(batches),
        ):
            for name, batch, come in _timed(batches, meter):
                if come > frames and progress.is_due(frames):
                    sink.drain()
                    progress.keep(frames, [(node.work.stage, node.writer) for node in nodes])
                for node in nodes:
                    if node.had:
                        _replay(node, come, sink)
                    if name in node.work.stage.inputs and not 0 < come <= node.had:
                        _push(node, batch, sink)
                    meter.seconds[node.work.stage.name] = node.work.compute_seconds
                frames = meter.frames = max(frames, come)
                advance(frames)
            check(frames)
            for node in nodes:
                _replay(node, None, sink)
                _finish(node, sink)
                meter.seconds[node.work.stage.name] = node.work.compute_seconds
    except BaseException as error:
        if isinstance(error, InputError):
            progress.forget()
        writer.abandon(progress.kept)
        raise
    progress.forget()
    return frames


def _timed(batches: Batches, meter: Meter) -> Batches:
    """Yield the same batches and count the time until each comes."""
    while True:
        started = time.monotonic()
        try:
            item = next(batches)
        except StopIteration:
            return
        finally:
            meter.add(INPUT, time.monotonic() - started)
        yield item


@dataclass
class _Readers:
    """The stages that read an array while it is made, and how many items there are.

    If the stage of the array continues in the middle, readers that start again first get the
    items from before, in step with the frames: `replayed` items so far, of `before`.
    """

    nodes: list[_Node]
    scale: Scale | None
    beyond_frames: int | None
    items: int = 0
    before: int = 0
    replayed: int = 0


@dataclass
class _Node:
    """A stage that is being computed; it took the first `had` frames in a former run."""

    work: StageWork
    writer: StageWriter
    had: int
    readers: dict[str, _Readers] = field(default_factory=dict)

    def begin(
        self, specs: Sequence[ArraySpec], nodes: list[_Node], parts: Mapping[str, StagePart]
    ) -> None:
        """Find the stages that read its arrays, and continue from its checkpoint."""
        part = parts.get(self.work.stage.name)
        if part is not None:
            cast(Resumable, self.work.stage).restore(part.state)
        for spec in specs:
            items = 0 if part is None else part.arrays[spec.name].items
            self.readers[spec.name] = _Readers(
                [other for other in nodes if spec.name in other.work.stage.inputs],
                Scale.of(spec.attributes),
                ITEMS_BEYOND_FRAMES.get(spec.axis),
                items,
                items,
            )


def _replay(node: _Node, come: int | None, sink: Sink) -> None:
    """Give readers that start again the items of a former run, for the frames that have come.

    They get all items if `come` is None or exceeds the frames that the stage had.
    """
    for array, readers in node.readers.items():
        fresh = [reader for reader in readers.nodes if not reader.had]
        until = readers.before
        if come is not None and come <= node.had:
            beyond = readers.beyond_frames
            until = 0 if beyond is None else min(until, max(0, come + beyond))
        if not fresh or until <= readers.replayed:
            continue
        sink.drain()
        while readers.replayed < until:
            stop = min(until, readers.replayed + _REPLAYED_ITEMS)
            values = node.writer.read(array, readers.replayed, stop)
            batch = ArrayBatch(array, readers.replayed, values, readers.scale)
            readers.replayed = stop
            for reader in fresh:
                _push(reader, batch, sink)


def _push(node: _Node, batch: Batch, sink: Sink) -> None:
    started = time.monotonic()
    arrays = node.work.stage.push(batch)
    node.work.compute_seconds += time.monotonic() - started
    _emit(node, arrays, sink)


def _emit(node: _Node, arrays: Arrays, sink: Sink) -> None:
    if not arrays:
        return

    def append() -> None:
        started = time.monotonic()
        node.writer.append(arrays)
        node.work.write_seconds += time.monotonic() - started

    sink.submit(append)
    for name, values in arrays.items():
        readers = node.readers[name]
        if not len(values):
            continue
        batch = ArrayBatch(name, readers.items, values, readers.scale)
        readers.items = batch.stop
        for reader in readers.nodes:
            _push(reader, batch, sink)


def _finish(node: _Node, sink: Sink) -> None:
    work, stage = node.work, node.work.stage
    rest: Iterable[Arrays] = stage.finish()
    started = time.monotonic()
    for arrays in rest:
        work.compute_seconds += time.monotonic() - started
        _emit(node, arrays, sink)
        started = time.monotonic()
    work.compute_seconds += time.monotonic() - started
    provenance = {"parameters": stage.parameters(), **work.notes, **stage.provenance()}
    of_this_run = {
        **provenance.pop(OF_THIS_RUN, {}),
        **work.of_this_run,
        "compute_seconds": round(work.compute_seconds, 3),
    }

    def complete() -> None:
        started = time.monotonic()
        work.mark = node.writer.complete(provenance, of_this_run)
        work.write_seconds += time.monotonic() - started

    sink.submit(complete)
