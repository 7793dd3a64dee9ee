"""This module stores the timeline (presentation times) and the decoded frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from foveal.pipeline.recipe.section import Size, StageSection
from foveal.pipeline.stages.base import (
    DECODE,
    FRAMES,
    Arrays,
    PlainStage,
    Stage,
    StageContext,
    StageRequest,
)
from foveal.pipeline.stages.sampling import (
    Every,
    Rate,
    Sampling,
    source_frame_name,
    source_frame_spec,
)
from foveal.pipeline.video.types import FrameBatch
from foveal.storage.schema import ArraySpec

TIMELINE = "time"
"""Name of the stage and the array that all else in a video is aligned to."""

_TIMES_PER_CHUNK = 2**14

Interpolation = Literal["area", "linear", "cubic", "lanczos"]
"""How pictures are resized, see `foveal.pipeline.video.resize`."""


class FramesSection(StageSection):
    """Keep decoded frames in the store.

    Attributes
    ----------
    size : [height, width] or null
        Size of the stored frames; null keeps the source's size.
    interpolation : {'area', 'linear', 'cubic', 'lanczos'}
        How frames are resized. ``area`` is ``linear`` along sides that grow, where there is
        nothing to average.
    every : int or null
        Keep only frames 0, `every`, 2 `every`, ….
    fps : float or null
        Keep this many frames per second: those nearest to the multiples of 1 / `fps` seconds.

    Notes
    -----
    If not all frames are kept, ``frames_source_frame`` holds their numbers. Flow, features,
    density and the rest are still made from all frames of the video and counted in them.
    """

    size: Size | None = None
    interpolation: Interpolation = "area"
    every: Every | None = None
    fps: Rate | None = None

    @model_validator(mode="after")
    def _one_rate(self) -> FramesSection:
        if self.every is not None and self.fps is not None:
            raise ValueError("every and fps both say which frames are kept; give one of them")
        return self

    def make(self, request: StageRequest) -> Sequence[Stage]:
        return [FramesStage(self)]


class TimeStage(PlainStage):
    """Store ``time``: the presentation time of each frame, as the decoder gives it."""

    name = TIMELINE
    inputs = (DECODE,)
    arrays = (TIMELINE,)

    def __init__(self) -> None:
        self._last_pts_seconds = 0.0

    def outputs(self) -> Sequence[ArraySpec]:
        attributes = {
            "units": "seconds",
            "long_name": "presentation time since the first frame",
            "standard_name": "time",
        }
        return [
            ArraySpec(
                TIMELINE,
                ("time",),
                (),
                np.dtype("float64"),
                attributes,
                _TIMES_PER_CHUNK,
                _TIMES_PER_CHUNK,
                axis="frame",
                kind="scalar",
                role="timeline",
            )
        ]

    def push(self, batch: FrameBatch) -> Arrays:
        self._last_pts_seconds = float(batch.pts_seconds[-1])
        return {TIMELINE: batch.pts_seconds}

    def provenance(self) -> dict[str, Any]:
        return {"last_pts_seconds": self._last_pts_seconds}

    def snapshot(self) -> Mapping[str, Any]:
        return {"last_pts_seconds": self._last_pts_seconds}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._last_pts_seconds = float(state["last_pts_seconds"])


class FramesStage(PlainStage):
    """Store ``frames``: decoded pictures at the recipe's size.

    Parameters
    ----------
    section : FramesSection
        Settings of the recipe.
    """

    name = "frames"
    inputs = (FRAMES,)

    def __init__(self, section: FramesSection) -> None:
        self._section = section
        keeps_all = section.fps is None and section.every in (None, 1)
        self.arrays = ("frames",) if keeps_all else ("frames", source_frame_name("frames"))

    def parameters(self) -> dict[str, Any]:
        return {
            key: value
            for key, value in self._section.resolved().items()
            if key not in ("every", "fps") or value is not None
        }

    def prepare(self, context: StageContext) -> None:
        self._source_size = context.info.size
        self._sampling = Sampling(self._section.every, self._section.fps, context.info.fps)
        self._size = self._section.size or context.info.size

    def outputs(self) -> Sequence[ArraySpec]:
        attributes = {
            "long_name": "frames, RGB",
            "units": "1",
            "valid_range": [0, 255],
            "source_size": list(self._source_size),
        }
        all_frames = len(self.arrays) == 1
        dim = "time" if all_frames else "frames_kept"
        frames = ArraySpec(
            "frames",
            (dim, "y", "x", "rgb"),
            (*self._size, 3),
            np.dtype("uint8"),
            attributes,
            axis="frame",
            kind="picture",
            source_frames=None if all_frames else source_frame_name("frames"),
        )
        return [frames] if all_frames else [frames, source_frame_spec("frames", dim)]

    def push(self, batch: FrameBatch) -> Arrays:
        from foveal.pipeline.video.resize import resize_frames

        if len(self.arrays) == 1:
            return {"frames": resize_frames(batch.frames, self._size, self._section.interpolation)}
        kept = self._sampling.choose(batch.start, batch.pts_seconds)
        frames = batch.frames[kept - batch.start]
        return {
            "frames": resize_frames(frames, self._size, self._section.interpolation),
            source_frame_name("frames"): kept,
        }

    def snapshot(self) -> Mapping[str, Any]:
        return {"next_tick": self._sampling.next_tick}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._sampling.next_tick = int(state["next_tick"])
