"""I3D features of windows: ``i3d_rgb`` from frames, ``i3d_flow`` from a flow array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.models.flow.encode import FlowEncoding
from foveal.models.i3d.network import I3D
from foveal.models.i3d.windows import WindowFeatures, feature_shape, window_starts
from foveal.pipeline.stage_sections import I3DSection
from foveal.pipeline.stages.base import DECODER, OF_THIS_RUN, Arrays
from foveal.pipeline.video.types import ArrayBatch, FrameBatch, VideoInfo
from foveal.storage.schema import ArraySpec

_STARTS_A_CHUNK = 2**12
_SHARD_BYTES = 32 * 2**20


class I3DStage:
    """Features of each window of one stream, in the order of their starts.

    A window's start is a frame: of the RGB stream its first, of the flow stream the frame in which
    its first motion ends. Windows of both streams with equal starts belong together, as Öztürk's
    LSTS pairs them (RGB frames s … s + 78 with the motion that ends in each of them).

    Parameters
    ----------
    section : I3DSection
    tower : {'rgb', 'flow'}
    network : I3D
        Shared by all videos.
    weights : str
        What tells its weights from others; enters the fingerprint.
    device : str
    encoding : FlowEncoding, optional
        Of the flow array that the flow stream feeds on.
    """

    version = 1

    def __init__(
        self,
        section: I3DSection,
        tower: str,
        network: I3D,
        weights: str,
        device: str,
        encoding: FlowEncoding | None = None,
    ) -> None:
        self.name = f"i3d_{tower}"
        self.feed = DECODER if tower == "rgb" else f"flow_{section.flow}"
        self._section = section
        self._weights = weights
        self._encoding = encoding
        # Flow k is the motion from frame k to k + 1: shifted by one, strides meet those of RGB.
        self._shift = 0 if tower == "rgb" else 1
        self._features = WindowFeatures(
            network,
            window=section.window,
            stride=section.stride,
            first_start=0 if tower == "rgb" else section.stride - 1,
            pooling=section.pooling,
            endpoint=section.endpoint,
            short_clips=section.short_clips,
            preprocessing=section.preprocessing,
            scale_flow_on_resize=section.scale_flow_on_resize,
            size=section.size,
            device=device,
            precision=section.precision,
        )

    def parameters(self) -> dict[str, Any]:
        own = f"weights_{self.name.removeprefix('i3d_')}"
        settings = {
            key: value
            for key, value in self._section.resolved().items()
            if key != "streams" and not (key.startswith("weights_") and key != own)
        }
        return {**settings, own: self._weights}

    def outputs(self, info: VideoInfo) -> Sequence[ArraySpec]:
        section = self._section
        shape = feature_shape(section.window, section.pooling, section.endpoint, section.size)
        axes = ("feature", "t", "y", "x")[: len(shape)]
        windows = f"{self.name}_window"
        item_bytes = int(np.prod(shape)) * np.dtype(section.dtype).itemsize
        features = ArraySpec(
            self.name,
            (windows, *(f"{self.name}_{axis}" for axis in axes)),
            shape,
            np.dtype(section.dtype),
            {
                "long_name": f"I3D {section.endpoint} of windows of {section.window} frames",
                "units": "1",
                "pooling": section.pooling,
                "window_frames": section.window,
                "weights": self._weights,
            },
            chunk_items=1,
            shard_items=max(1, min(128, _SHARD_BYTES // item_bytes)),
            compress=False,
            axis="window",
            kind="features",
            starts=f"{self.name}_window_start",
        )
        about = {
            "window_start": "frame that the window starts with",
            "valid_frames": "frames of the window that are the video's own",
        }
        counts = [
            ArraySpec(
                f"{self.name}_{name}",
                (windows,),
                (),
                np.dtype("int64"),
                {"long_name": text},
                _STARTS_A_CHUNK,
                _STARTS_A_CHUNK,
                axis="window",
                kind="scalar",
                starts=f"{self.name}_window_start",
            )
            for name, text in about.items()
        ]
        return [features, *counts]

    def windows(self, frames: int) -> int:
        """Windows that a video of so many frames has."""
        section, items = self._section, frames - self._shift
        first = self._features.first_start
        starts = window_starts(items, section.window, section.stride, first, section.short_clips)
        return len(starts)

    @property
    def frames_of_two_windows(self) -> int:
        """Frames that a sample needs to show what a further window costs."""
        return (
            self._shift + self._features.first_start + self._section.window + self._section.stride
        )

    def push(self, batch: FrameBatch | ArrayBatch) -> Arrays:
        if isinstance(batch, FrameBatch):
            return self._arrays(self._features.push(batch.frames))
        values = batch.values if self._encoding is None else self._encoding.decode(batch.values)
        return self._arrays(self._features.push(values))

    def finish(self) -> Arrays:
        return self._arrays(self._features.finish())

    def _arrays(self, features: NDArray[np.float32]) -> Arrays:
        new = slice(len(self._features.window_starts) - len(features), None)
        starts = np.array(self._features.window_starts[new], np.int64)
        valid = np.array(self._features.valid_frames[new], np.int64)
        return {
            self.name: features.astype(self._section.dtype),
            f"{self.name}_window_start": starts + self._shift,
            f"{self.name}_valid_frames": valid,
        }

    def provenance(self) -> dict[str, Any]:
        return {OF_THIS_RUN: self._features.provenance()}
