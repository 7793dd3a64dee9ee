"""This module stores I3D features of windows: ``i3d_rgb`` of frames, ``i3d_flow`` of flow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foveal.pipeline.recipe.section import Size, StageSection
from foveal.pipeline.stages.base import (
    FRAMES,
    OF_THIS_RUN,
    Arrays,
    Cost,
    PlainStage,
    Stage,
    StageRequest,
    numbers_spec,
)
from foveal.pipeline.stages.windows import window_start_spec
from foveal.pipeline.video.types import ArrayBatch, FrameBatch
from foveal.storage.schema import ArraySpec

if TYPE_CHECKING:
    from foveal.models.i3d.network import I3D
    from foveal.pipeline.recipe.recipe import Recipe

_COUNTS_PER_CHUNK = 2**12
_SHARD_BYTES = 32 * 2**20

Tower = Literal["rgb", "flow"]
"""The two networks of I3D, for frames and for flow."""


class I3DSection(StageSection):
    """Store I3D features of every window of frames (Carreira & Zisserman 2017).

    Attributes
    ----------
    streams : list of {'rgb', 'flow'}
        Which arrays: ``i3d_rgb`` (of frames), ``i3d_flow`` (of the flow array that `flow` names).
    flow : str
        The method of a ``flow`` section of the recipe.
    window : int
        Frames in a window.
    stride : int
        Frames from one window's start to the next one's.
    pooling : {'paper', 'k3s1', 'none'}
        Average pooling of the last map: to 5x5x5, to 8x5x5, or none, which leaves 10x7x7 (for 79
        frames of 224x224).
    endpoint : {'mixed_5c', 'mixed_4f', 'global'}
        Layer that is stored; ``global`` is the mean of Mixed_5c over time and space.
    preprocessing : {'lsts', 'deepmind'}
        Resize whole frames to `size`, or resize the shorter side and crop the centre.
    scale_flow_on_resize : bool
        Whether vectors are scaled with the grid when flow is resized.
    size : [height, width]
        Size of the network's input.
    weights_rgb, weights_flow : str
        A path, a name of ``foveal weights``, or ``random`` (``random:SEED``), which is recorded.
    short_clips : {'skip', 'repeat_first'}
        Videos shorter than a window have no window, or one that begins with copies of the first
        frame.
    dtype : {'float16', 'float32'}
        Type of the stored values.
    precision : {'float32', 'auto', 'bfloat16', 'float16'}
        ``auto`` takes half precision (float16 on a GPU, bfloat16 on a CPU that has instructions
        for it and is faster with them) if the first window agrees within 1e-2. The array's
        provenance records what was used.
    """

    streams: Annotated[tuple[Tower, ...], Field(min_length=1)] = ("rgb", "flow")
    flow: str = "tvl1"
    window: Annotated[int, Field(ge=1, le=1024)] = 79
    stride: Annotated[int, Field(ge=1)] = 1
    pooling: Literal["paper", "k3s1", "none"] = "paper"
    endpoint: Literal["mixed_5c", "mixed_4f", "global"] = "mixed_5c"
    preprocessing: Literal["lsts", "deepmind"] = "lsts"
    scale_flow_on_resize: bool = True
    size: Size = (224, 224)
    weights_rgb: str = "i3d_rgb-piergiaj"
    weights_flow: str = "i3d_flow-piergiaj"
    short_clips: Literal["skip", "repeat_first"] = "skip"
    dtype: Literal["float16", "float32"] = "float16"
    precision: Literal["float32", "auto", "bfloat16", "float16"] = "float32"

    @classmethod
    def check(cls, sections: Sequence[I3DSection], recipe: Recipe) -> None:
        methods = [section.method for section in recipe.flow]
        for section in sections:
            wanted = "flow" in section.streams
            if wanted and (section.flow not in methods or section.flow == "auto"):
                raise ValueError(
                    f"i3d.flow: {section.flow!r} is not a method of the flow section ({methods}); "
                    "add it there, or leave flow out of i3d.streams"
                )

    def make(self, request: StageRequest) -> Sequence[Stage]:
        return [self._stage(tower, request) for tower in self.streams]

    def takes_device(self) -> bool:
        return True

    def _stage(self, tower: Tower, request: StageRequest) -> I3DStage:
        from foveal.models.i3d.weights import load_i3d, weights_identity
        from foveal.models.weights import find

        weights = self.weights_rgb if tower == "rgb" else self.weights_flow

        def load() -> tuple[I3D, str]:
            path = weights if weights.split(":")[0] == "random" else find(weights).path
            return load_i3d(tower, path), weights_identity(path)

        network, identity = request.shared.once(("i3d", tower, weights), load)
        return I3DStage(self, tower, network, identity, request.recipe.device)


class I3DStage(PlainStage):
    """Store the features of each window of one tower, in the order of their starts.

    A window's start is a frame: for ``rgb`` its first frame, for ``flow`` the frame in which its
    first motion ends. Windows of both towers with equal starts belong together, as in Öztürk's
    LSTS (RGB frames s … s + 78 with the motion that ends in each of them).

    Parameters
    ----------
    section : I3DSection
        Settings of the recipe.
    tower : {'rgb', 'flow'}
        Which of the two networks.
    network : I3D
        Used by all videos.
    weights : str
        Identifies its weights; enters the fingerprint.
    device : str
        See `foveal.models.device`.
    """

    def __init__(
        self,
        section: I3DSection,
        tower: Tower,
        network: I3D,
        weights: str,
        device: str,
    ) -> None:
        from foveal.models.i3d.windows import WindowFeatures

        self.name = f"i3d_{tower}"
        self.inputs = (FRAMES,) if tower == "rgb" else (f"flow_{section.flow}",)
        self.arrays = (self.name, f"{self.name}_window_start", f"{self.name}_valid_frames")
        self._section = section
        self._weights = weights
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
        # A trial needs two windows to measure the cost of one more.
        sample_frames = self._shift + self._features.first_start + section.window + section.stride
        self.cost = Cost(self.windows, sample_frames)

    def parameters(self) -> dict[str, Any]:
        own = f"weights_{self.name.removeprefix('i3d_')}"
        settings = {
            key: value
            for key, value in self._section.resolved().items()
            if key != "streams" and not (key.startswith("weights_") and key != own)
        }
        return {**settings, own: self._weights}

    def outputs(self) -> Sequence[ArraySpec]:
        from foveal.models.i3d.windows import feature_shape

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
        starts = window_start_spec(self.name)
        valid_frames = numbers_spec(
            f"{self.name}_valid_frames",
            windows,
            "frames of the window that are the video's own",
            "window",
            _COUNTS_PER_CHUNK,
            starts=starts.name,
        )
        return [features, starts, valid_frames]

    def windows(self, frames: int) -> int:
        """Return the number of windows of a video with this many `frames`."""
        from foveal.models.i3d.windows import window_starts

        section, items = self._section, frames - self._shift
        first = self._features.first_start
        starts = window_starts(items, section.window, section.stride, first, section.short_clips)
        return len(starts)

    def push(self, batch: FrameBatch | ArrayBatch) -> Arrays:
        if isinstance(batch, FrameBatch):
            return self._arrays(self._features.push(batch.frames))
        return self._arrays(self._features.push(batch.physical.astype(np.float32, copy=False)))

    def finish(self) -> Iterable[Arrays]:
        return [self._arrays(self._features.finish())]

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
