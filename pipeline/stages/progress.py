"""This module keeps checkpoints of a video, so that a build continues after a kill."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foveal.pipeline.stages.base import Resumable, Stage
from foveal.storage.checkpoint import (
    Checkpoint,
    StagePart,
    forget_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from foveal.storage.digests import fingerprint
from foveal.storage.location import Location
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import StageWriter

if TYPE_CHECKING:
    from foveal.pipeline.stages.write import StageWork


@dataclass
class Progress:
    """The checkpoints of a video that is being built.

    Attributes
    ----------
    location : Location
        Where the store is.
    video : str
        Id of the video.
    every_seconds : float or None
        Time between checkpoints; None writes and reads none.
    frames : int
        Frames that the continued stages had taken in a former run.
    parts : mapping of str to StagePart
        The continued stages by name, and their state.
    kept : collection of str
        Keys of the shards that the latest checkpoint needs.
    """

    location: Location
    video: str
    every_seconds: float | None
    frames: int = 0
    parts: Mapping[str, StagePart] = field(default_factory=dict)
    kept: Collection[str] = ()
    _noted: float = field(default_factory=time.monotonic)
    _written: bool = False

    @classmethod
    def of(
        cls,
        location: Location,
        video: str,
        due: Sequence[StageWork],
        specs: Mapping[str, Sequence[ArraySpec]],
        every_seconds: float | None,
    ) -> Progress:
        """Read the checkpoint that a former run of the same stages left.

        Parameters
        ----------
        location, video, every_seconds
            See the attributes.
        due : sequence of StageWork
            The stages of this run, each after those whose arrays it reads.
        specs : mapping of str to sequence of ArraySpec
            Arrays of each stage.
        """
        progress = cls(location, video, every_seconds)
        former = None if every_seconds is None else read_checkpoint(location, video)
        if former is None:
            return progress
        makers = {array: work.stage.name for work in due for array in work.stage.arrays}
        parts: dict[str, StagePart] = {}
        for work in due:
            stage = work.stage
            part = former.stages.get(stage.name)
            if (
                part is not None
                and isinstance(stage, Resumable)
                and part.fingerprint == fingerprint(work.identity)
                and all(makers[name] in parts for name in stage.inputs if name in makers)
                and _fit(part, specs[stage.name])
            ):
                parts[stage.name] = part
        progress._written = True
        if parts:
            progress.frames, progress.parts = former.frames, parts
            progress.kept = Checkpoint(former.frames, parts).kept(video)
        else:
            progress.forget()
        return progress

    def is_due(self, frames: int) -> bool:
        """Whether it is time for a checkpoint, once the stages have taken this many `frames`."""
        if self.every_seconds is None or frames <= self.frames:
            return False
        return time.monotonic() >= self._noted + self.every_seconds

    def keep(self, frames: int, stages: Sequence[tuple[Stage, StageWriter]]) -> None:
        """Write a checkpoint; all items that the stages returned are on disk.

        Each of the `stages` has taken this many `frames`; each comes after those whose arrays it
        reads.
        """
        makers = {array: stage.name for stage, _ in stages for array in stage.arrays}
        parts: dict[str, StagePart] = {}
        for stage, writer in stages:
            if isinstance(stage, Resumable) and all(
                makers[name] in parts for name in stage.inputs if name in makers
            ):
                parts[stage.name] = writer.part(stage.snapshot())
        checkpoint = Checkpoint(frames, parts)
        write_checkpoint(self.location, self.video, checkpoint)
        self.kept = checkpoint.kept(self.video)
        self._noted, self._written = time.monotonic(), True

    def forget(self) -> None:
        """Remove the checkpoint, because the stages are complete or their input is unusable."""
        self.kept = ()
        if self._written:
            forget_checkpoint(self.location, self.video)
            self._written = False


def _fit(part: StagePart, specs: Sequence[ArraySpec]) -> bool:
    """Whether the arrays of a checkpoint are the arrays that the stage makes now."""
    return part.arrays.keys() == {spec.name for spec in specs} and all(
        part.arrays[spec.name].rest.shape[1:] == spec.item_shape
        and part.arrays[spec.name].rest.dtype == spec.dtype
        and part.arrays[spec.name].stored % spec.shard_items == 0
        for spec in specs
    )
