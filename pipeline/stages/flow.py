"""Optical flow: motion of frame k to frame k + 1, by any flow estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.models.flow.base import FlowEstimator
from foveal.models.flow.encode import EncodingRecord, flow_encoding
from foveal.models.flow.quality import FlowQuality
from foveal.models.flow.resize import resize_flow
from foveal.pipeline.stage_sections import FlowSection
from foveal.pipeline.stages.base import DECODER, NO_ARRAYS, OF_THIS_RUN, Arrays
from foveal.pipeline.video.resize import resize_frames
from foveal.pipeline.video.types import FrameBatch, VideoInfo
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
        self._record = EncodingRecord(flow_encoding(section.encoding))
        self._quality = FlowQuality(estimator)
        self._last: NDArray[np.uint8] | None = None

    def parameters(self) -> dict[str, Any]:
        settings = self._section.resolved()
        del settings["fallback"]
        return {**settings, "estimator": self._estimator.parameters()}

    def outputs(self, info: VideoInfo) -> Sequence[ArraySpec]:
        self._size = self._section.size or (info.height_px, info.width_px)
        self._compute_size = self._section.compute_size or self._size
        encoding = self._record.encoding
        grid = "of this grid"
        if not self._section.scale_flow_on_resize and self._compute_size != self._size:
            grid = f"of a {self._compute_size[1]}x{self._compute_size[0]} grid"
        attributes = {
            "long_name": f"optical flow ({self._estimator.name}) of frame k to frame k + 1",
            "units": f"pixels {grid}",
            "components": ["u: right", "v: down"],
            "compute_size": list(self._compute_size),
            "source_size": [info.height_px, info.width_px],
            **encoding.attributes,
        }
        dims = ("pair", f"{self.name}_y", f"{self.name}_x", "uv")
        return [
            ArraySpec(
                self.name,
                dims,
                (*self._size, 2),
                encoding.dtype,
                attributes,
                axis="pair",
                kind="flow",
            )
        ]

    def push(self, batch: FrameBatch) -> Arrays:
        frames = resize_frames(batch.frames, self._compute_size)
        if self._last is not None:
            frames = np.concatenate([self._last[None], frames])
        self._last = frames[-1].copy()
        if len(frames) < 2:
            return NO_ARRAYS
        flow = self._estimator(frames)
        self._quality.add(frames, flow)
        scale = self._section.scale_flow_on_resize
        stored = resize_flow(flow, self._size, scale_flow_on_resize=scale)
        return {self.name: self._record.encode(stored)}

    def finish(self) -> Arrays:
        return NO_ARRAYS

    def provenance(self) -> dict[str, Any]:
        found = self._estimator.provenance()
        here = {key: found.pop(key) for key in _OF_THIS_MACHINE if key in found}
        quality = {"quality": self._quality.summary()}
        return {**found, **self._record.summary(), **quality, OF_THIS_RUN: here}


_OF_THIS_MACHINE = ("threads", "pairs_at_once", "device_name")
