"""Optical flow: motion of frame k to frame k + 1, by any flow estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.models.flow.base import FlowEstimator
from foveal.pipeline.recipe import FlowSection
from foveal.pipeline.resize import resize_frames
from foveal.pipeline.stages.base import DECODER, NO_ARRAYS, Arrays
from foveal.pipeline.values import FrameBatch, VideoInfo
from foveal.storage.schema import ArraySpec


class FlowStage:
    """``flow_<method>`` on its own grid.

    A batch of frames gives the motion between its frames and from the last frame of the batch
    before; the last frame is kept, so every consecutive pair is computed once.
    """

    version = 1
    feed = DECODER

    def __init__(self, section: FlowSection, estimator: FlowEstimator) -> None:
        self.name = f"flow_{estimator.name}"
        self._section = section
        self._estimator = estimator
        self._size = section.size
        self._dtype = np.dtype(section.encoding)
        self._last: NDArray[np.uint8] | None = None

    def parameters(self) -> dict[str, Any]:
        return {**self._section.resolved(), "estimator": self._estimator.parameters()}

    def outputs(self, info: VideoInfo) -> Sequence[ArraySpec]:
        self._size = self._section.size or (info.height_px, info.width_px)
        attributes = {
            "long_name": f"optical flow ({self._estimator.name}) of frame k to frame k + 1",
            "units": "pixels of this grid",
            "components": ["u: right", "v: down"],
            "source_size": [info.height_px, info.width_px],
        }
        dims = ("pair", f"{self.name}_y", f"{self.name}_x", "uv")
        return [ArraySpec(self.name, dims, (*self._size, 2), self._dtype, attributes)]

    def push(self, batch: FrameBatch) -> Arrays:
        assert self._size is not None
        frames = resize_frames(batch.frames, self._size)
        if self._last is not None:
            frames = np.concatenate([self._last[None], frames])
        self._last = frames[-1].copy()
        if len(frames) < 2:
            return NO_ARRAYS
        return {self.name: self._estimator(frames).astype(self._dtype)}

    def finish(self) -> Arrays:
        return NO_ARRAYS

    def provenance(self) -> dict[str, Any]:
        return self._estimator.provenance()
