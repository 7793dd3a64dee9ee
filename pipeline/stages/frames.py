"""The timeline (presentation times) and the frames themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foveal.pipeline.stage_sections import FramesSection
from foveal.pipeline.stages.base import DECODER, NO_ARRAYS, Arrays
from foveal.pipeline.video.resize import resize_frames
from foveal.pipeline.video.types import FrameBatch, VideoInfo
from foveal.storage.schema import ArraySpec

_TIMES_A_CHUNK = 2**14


class TimeStage:
    """``time``: when each frame is shown, by the decoder's own word."""

    name = "time"
    version = 1
    feed = DECODER

    def __init__(self) -> None:
        self._last_pts_seconds = 0.0

    def parameters(self) -> dict[str, Any]:
        return {}

    def outputs(self, info: VideoInfo) -> Sequence[ArraySpec]:
        attributes = {
            "units": "seconds",
            "long_name": "presentation time since the first frame",
            "standard_name": "time",
        }
        return [
            ArraySpec(
                "time", ("time",), (), np.dtype("float64"), attributes,
                _TIMES_A_CHUNK, _TIMES_A_CHUNK, axis="frame", kind="scalar", role="timeline",
            )
        ]  # fmt: skip

    def push(self, batch: FrameBatch) -> Arrays:
        self._last_pts_seconds = float(batch.pts_seconds[-1])
        return {"time": batch.pts_seconds}

    def finish(self) -> Arrays:
        return NO_ARRAYS

    def provenance(self) -> dict[str, Any]:
        return {"last_pts_seconds": self._last_pts_seconds}


class FramesStage:
    """``frames``: decoded pictures at the recipe's size."""

    name = "frames"
    version = 1
    feed = DECODER

    def __init__(self, section: FramesSection) -> None:
        self._section = section
        self._size = section.size

    def parameters(self) -> dict[str, Any]:
        return self._section.resolved()

    def outputs(self, info: VideoInfo) -> Sequence[ArraySpec]:
        self._size = self._section.size or (info.height_px, info.width_px)
        attributes = {
            "long_name": "frames, RGB",
            "units": "1",
            "valid_range": [0, 255],
            "source_size": [info.height_px, info.width_px],
        }
        dims = ("time", "y", "x", "rgb")
        return [
            ArraySpec(
                "frames",
                dims,
                (*self._size, 3),
                np.dtype("uint8"),
                attributes,
                axis="frame",
                kind="picture",
            )
        ]

    def push(self, batch: FrameBatch) -> Arrays:
        assert self._size is not None
        return {"frames": resize_frames(batch.frames, self._size, self._section.interpolation)}

    def finish(self) -> Arrays:
        return NO_ARRAYS

    def provenance(self) -> dict[str, Any]:
        return {}
