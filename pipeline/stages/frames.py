"""The timeline (presentation times) and the frames themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

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
from foveal.pipeline.video.types import FrameBatch
from foveal.storage.schema import ArraySpec

TIMELINE = "time"
"""Stage and array that everything else of a video is aligned to."""

_TIMES_A_CHUNK = 2**14

Interpolation = Literal["area", "linear", "cubic", "lanczos"]


class FramesSection(StageSection):
    """Decoded frames kept in the store.

    Attributes
    ----------
    size : [height, width] or null
        Null keeps the source's size.
    interpolation : {'area', 'linear', 'cubic', 'lanczos'}
        Used when shrinking; enlarging by ``area`` falls to ``linear``, as area averaging has
        nothing to average there.
    """

    size: Size | None = None
    interpolation: Interpolation = "area"

    def make(self, request: StageRequest) -> Sequence[Stage]:
        return [FramesStage(self)]


class TimeStage(PlainStage):
    """``time``: when each frame is shown, by the decoder's own word."""

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
                _TIMES_A_CHUNK,
                _TIMES_A_CHUNK,
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
    """``frames``: decoded pictures at the recipe's size."""

    name = "frames"
    inputs = (FRAMES,)
    arrays = ("frames",)

    def __init__(self, section: FramesSection) -> None:
        self._section = section

    def parameters(self) -> dict[str, Any]:
        return self._section.resolved()

    def prepare(self, context: StageContext) -> None:
        self._source_size = context.info.size
        self._size = self._section.size or context.info.size

    def outputs(self) -> Sequence[ArraySpec]:
        attributes = {
            "long_name": "frames, RGB",
            "units": "1",
            "valid_range": [0, 255],
            "source_size": list(self._source_size),
        }
        return [
            ArraySpec(
                "frames",
                ("time", "y", "x", "rgb"),
                (*self._size, 3),
                np.dtype("uint8"),
                attributes,
                axis="frame",
                kind="picture",
            )
        ]

    def push(self, batch: FrameBatch) -> Arrays:
        from foveal.pipeline.video.resize import resize_frames

        return {"frames": resize_frames(batch.frames, self._size, self._section.interpolation)}

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Each frame stands for itself."""
