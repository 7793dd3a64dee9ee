"""What a clip can hold: each variable says which stored items belong to a frame.

Every value of a sample has one entry a frame of the clip along its first axis, so all variables are
aligned by frame whatever their own leading dimension is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.errors import StoreError
from foveal.torch.interface import Indices, Variable, VideoFacts


@dataclass(frozen=True)
class Items:
    """An array with one item a frame, as it is stored: ``frames``, ``density``, ….

    Pictures come channel first: [n, 3, height, width]; maps as [n, height, width].
    """

    array: str

    @property
    def key(self) -> str:
        return self.array

    @property
    def arrays(self) -> tuple[str, ...]:
        return (self.array,)

    whole_arrays = ()

    def has(self, facts: VideoFacts) -> NDArray[np.bool_]:
        if facts.dims[self.array][0] != "time":
            raise StoreError(
                f"{self.array} runs along {facts.dims[self.array][0]!r}, not along frames; "
                "flow is read by Flow(…), I3D features by Windows(…), fixations by FixationMap(…)"
            )
        return np.ones(facts.frames, bool)

    def items(self, facts: VideoFacts, frames: Indices) -> Indices:
        return frames

    def tensors(
        self,
        facts: VideoFacts,
        frames: Indices,
        items: Indices,
        values: Mapping[str, Tensor],
        whole: Mapping[str, NDArray[Any]],
    ) -> dict[str, Tensor]:
        return {self.key: _channels_first(values[self.array])}


@dataclass(frozen=True)
class Flow:
    """Optical flow of each frame, in pixels of its own grid.

    The store holds pair k, the motion of frame k to frame k + 1. Frames that lack a pair (the last
    one's outgoing motion, the first one's incoming) get the nearest pair there is, and
    ``<key>_valid`` says so.

    Parameters
    ----------
    array : str
        ``flow_tvl1``, ….
    direction : {'outgoing', 'incoming'}
        Motion of the frame to its successor (k → k + 1), or of its predecessor to it (k - 1 → k,
        as LSTS numbers it).
    stack : int
        Consecutive maps a frame, channels (u, v) of the first, of the second, …: the outgoing ones
        begin with the frame's own (TP-CMRNet: k … k + 8), the incoming ones end with it.

    Notes
    -----
    Gives float [n, 2 · stack, height, width] and bool [n, stack].
    """

    array: str
    direction: Literal["outgoing", "incoming"] = "outgoing"
    stack: int = 1

    def __post_init__(self) -> None:
        if self.direction not in ("outgoing", "incoming"):
            raise StoreError(f"direction is 'outgoing' or 'incoming', not {self.direction!r}")
        if self.stack < 1:
            raise StoreError(f"stack is a number of flow maps, at least 1, not {self.stack}")

    @property
    def key(self) -> str:
        return self.array if self.direction == "outgoing" else f"{self.array}_incoming"

    @property
    def arrays(self) -> tuple[str, ...]:
        return (self.array,)

    whole_arrays = ()

    def has(self, facts: VideoFacts) -> NDArray[np.bool_]:
        if facts.dims[self.array][0] != "pair":
            raise StoreError(f"{self.array} is no flow; it runs along {facts.dims[self.array][0]}")
        return np.ones(facts.frames, bool)

    def items(self, facts: VideoFacts, frames: Indices) -> Indices:
        pairs = max(1, facts.shapes[self.array][0])
        items = np.minimum(np.maximum(self._wanted(frames), 0), pairs - 1)
        return items if self.stack > 1 else items[:, 0]

    def tensors(
        self,
        facts: VideoFacts,
        frames: Indices,
        items: Indices,
        values: Mapping[str, Tensor],
        whole: Mapping[str, NDArray[Any]],
    ) -> dict[str, Tensor]:
        maps = _channels_first(values[self.array])
        if self.stack > 1:
            maps = maps.flatten(1, 2)
        wanted = self._wanted(frames)
        valid = (wanted >= 0) & (wanted < facts.shapes[self.array][0])
        return {self.key: maps, f"{self.key}_valid": torch.from_numpy(valid)}

    def _wanted(self, frames: Indices) -> Indices:
        first = frames if self.direction == "outgoing" else frames - self.stack
        return first[:, None] + np.arange(self.stack)


@dataclass(frozen=True)
class Windows:
    """Cached I3D features of each frame: those of the window that ends at it.

    Parameters
    ----------
    array : str
        ``i3d_rgb`` or ``i3d_flow``.
    missing : {'skip', 'mask'}
        Frames without a window of their own (the first 78 of a video, and those between windows at
        a stride over 1) stay out of all clips, or come as zeros that ``<key>_valid`` tells apart.

    Notes
    -----
    Gives [n, feature, time, y, x] as stored and bool [n].
    """

    array: str
    missing: Literal["skip", "mask"] = "skip"

    def __post_init__(self) -> None:
        if self.missing not in ("skip", "mask"):
            raise StoreError(f"missing is 'skip' or 'mask', not {self.missing!r}")

    @property
    def key(self) -> str:
        return self.array

    @property
    def arrays(self) -> tuple[str, ...]:
        return (self.array,)

    whole_arrays = ()

    def has(self, facts: VideoFacts) -> NDArray[np.bool_]:
        if self.array not in facts.window_end:
            raise StoreError(f"{self.array} holds no windows of I3D features")
        if self.missing == "mask":
            return np.ones(facts.frames, bool)
        has = np.zeros(facts.frames, bool)
        ends = facts.window_end[self.array]
        has[ends[(ends >= 0) & (ends < facts.frames)]] = True
        return has

    def items(self, facts: VideoFacts, frames: Indices) -> Indices:
        ends = facts.window_end[self.array]
        return np.minimum(ends.searchsorted(frames), max(0, len(ends) - 1))

    def tensors(
        self,
        facts: VideoFacts,
        frames: Indices,
        items: Indices,
        values: Mapping[str, Tensor],
        whole: Mapping[str, NDArray[Any]],
    ) -> dict[str, Tensor]:
        ends = facts.window_end[self.array]
        valid = ends[items] == frames if len(ends) else np.zeros(len(frames), bool)
        features, is_valid = values[self.array], torch.from_numpy(valid)
        if not valid.all():
            features = features.clone()
            features[~is_valid] = 0
        return {self.key: features, f"{self.key}_valid": is_valid}


@dataclass(frozen=True)
class FixationMap:
    """Fixated pixels of each frame, drawn from the stored points: uint8 [n, height, width].

    Parameters
    ----------
    size : (int, int), optional
        Height and width of the map; by default those of the source video.
    counts : bool
        How many points fell on each pixel (255 at most) instead of 0 or 1.
    """

    size: tuple[int, int] | None = None
    counts: bool = False

    key = "fixation_map"
    arrays = ()
    whole_arrays = ("fixation_offset", "fixation_x", "fixation_y")

    def has(self, facts: VideoFacts) -> NDArray[np.bool_]:
        return np.ones(facts.frames, bool)

    def items(self, facts: VideoFacts, frames: Indices) -> Indices:
        return frames

    def tensors(
        self,
        facts: VideoFacts,
        frames: Indices,
        items: Indices,
        values: Mapping[str, Tensor],
        whole: Mapping[str, NDArray[Any]],
    ) -> dict[str, Tensor]:
        height, width = self.size or facts.source_size
        offset = whole["fixation_offset"]
        maps = np.zeros((len(frames), height, width), np.uint8)
        for drawn, frame in zip(maps, frames, strict=True):
            points = slice(offset[frame], offset[frame + 1])
            rows = _rescaled(whole["fixation_y"][points], facts.source_size[0], height)
            columns = _rescaled(whole["fixation_x"][points], facts.source_size[1], width)
            if self.counts:
                counted = np.bincount(rows * width + columns, minlength=height * width)
                drawn[:] = np.minimum(counted, 255).reshape(height, width)
            else:
                drawn[rows, columns] = 1
        return {self.key: torch.from_numpy(maps)}


def make_variable(wanted: str | Variable) -> Variable:
    """The variable an array's bare name stands for."""
    if not isinstance(wanted, str):
        return wanted
    if wanted.startswith("flow_"):
        return Flow(wanted)
    if wanted.startswith("i3d_"):
        return Windows(wanted)
    if wanted == FixationMap.key:
        return FixationMap()
    return Items(wanted)


def _channels_first(values: Tensor) -> Tensor:
    """[…, height, width, channel] to […, channel, height, width], without moving anything."""
    return values.movedim(-1, -3) if values.ndim > 3 else values


def _rescaled(position: NDArray[np.float32], source_px: int, map_px: int) -> Indices:
    """Pixel of the map that a 0-based position in the source falls on."""
    scaled = np.floor((position.astype(np.float64) + 0.5) * (map_px / source_px))
    return np.clip(scaled, 0, map_px - 1).astype(np.int64)
