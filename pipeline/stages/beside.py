"""This module adds a stage to a complete video: predictions, masks, imported maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Never

from foveal.errors import GazeError
from foveal.pipeline.stages.base import Stage, StageContext
from foveal.pipeline.stages.feed import feed
from foveal.pipeline.stages.frames import TIMELINE
from foveal.pipeline.stages.write import Advance, StageWork, identity_of, write_stages
from foveal.pipeline.video.types import VideoInfo
from foveal.storage.location import Location
from foveal.storage.marks import Mark, fingerprint, infos_of


def write_beside(
    location: Location,
    video: str,
    marks: Mapping[str, Mark],
    stage: Stage,
    *,
    notes: Mapping[str, Any] | None = None,
    advance: Advance = lambda frames: None,
) -> Mark | None:
    """Compute a stage from complete arrays of a video and store it; the caller holds the lock.

    Parameters
    ----------
    location : Location
        Where the store is.
    video : str
        Id of the video.
    marks : mapping of str to Mark
        Marks of the video; its timeline is complete.
    stage : Stage
        Its inputs are arrays. It reads those in its attribute ``reads`` itself.
    notes : mapping, optional
        Further provenance.
    advance : callable
        Called with the number of frames done, after every batch.

    Returns
    -------
    Mark or None
        None if the stage is already complete under the same fingerprint.
    """
    infos = infos_of(marks)
    makers = {name: info.stage for name, info in infos.items()}
    read = [*stage.inputs, *getattr(stage, "reads", ())]
    identity = identity_of(stage, {makers[name]: marks[makers[name]].fingerprint for name in read})
    if stage.name in marks and marks[stage.name].fingerprint == fingerprint(identity):
        return None
    about = marks[TIMELINE].provenance["video"]
    height_px, width_px = about["source_size"]
    info = VideoInfo(height_px, width_px, about["fps"], infos[TIMELINE].items)
    work = StageWork(stage, identity, notes or {})
    work.prepare(StageContext(info, _no_annotation, _no_annotation))
    inputs = [infos[name] for name in stage.inputs]
    write_stages(
        location,
        video,
        about,
        [work],
        feed(location, video, (), inputs, infos[TIMELINE].items),
        stale=[stage.name] if stage.name in marks else [],
        advance=advance,
    )
    return work.mark


def _no_annotation() -> Never:
    raise GazeError("a stage that is added to a complete video cannot read its annotation")
