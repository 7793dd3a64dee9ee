"""This module defines the entries of a clip: which stored items belong to each frame.

Every value of a sample has one entry per frame of the clip along its first axis, so all variables
are aligned by frame, whatever their own leading axis is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.errors import StoreError
from foveal.storage.kinds import AXES, ArrayInfo
from foveal.torch.interface import Indices, Reading, Variable, VideoFacts
from foveal.torch.sound import Sound


@dataclass(frozen=True)
class _OfOneArray:
    """A variable that reads one array along `axis`, item by item, under the array's name."""

    array: str

    axis = "frame"

    @property
    def key(self) -> str:
        return self.array

    @property
    def arrays(self) -> tuple[str, ...]:
        return (self.array,)

    whole_arrays = ()

    def has(self, facts: VideoFacts) -> NDArray[np.bool_]:
        found = facts.infos[self.array].axis
        if found != self.axis:
            raise StoreError(
                f"{self.array} runs along {found!r}, but {type(self).__name__} reads along "
                f"{self.axis!r}; give the array's name alone, and it is read along its own axis"
            )
        return np.ones(facts.frames, bool)


@dataclass(frozen=True)
class Items(_OfOneArray):
    """An array with one item per frame, as it is stored: ``frames``, ``density``, ….

    Pictures are channels-first: [n, 3, height, width]; everything else is as stored. For an array
    of frames at another rate, a frame of the clip gets the item that is nearest in time.

    Parameters
    ----------
    array : str
    """

    def items(self, facts: VideoFacts, frames: Indices) -> Indices:
        if facts.infos[self.array].source_frames is None:
            return frames
        return np.maximum(facts.window_of[self.array][frames], 0)

    def tensors(self, read: Reading) -> dict[str, Tensor]:
        return {self.key: _channels_first(read.values[self.array], read.facts.infos[self.array])}


@dataclass(frozen=True)
class Flow(_OfOneArray):
    """Optical flow of each frame, in pixels of its own grid; or any array with an item per pair.

    Item k of the store is the motion from frame k to frame k + 1. Frames without a pair (the last
    frame's outgoing motion, the first frame's incoming motion) get the nearest pair, and
    ``<key>_valid`` says so.

    Parameters
    ----------
    array : str
        ``flow_tvl1``, ….
    direction : {'outgoing', 'incoming'}
        Motion from the frame to the next one (k → k + 1), or from the one before to it (k - 1 → k,
        as LSTS numbers it).
    stack : int
        Number of consecutive maps per frame, with channels (u, v) of the first, of the second, ….
        Outgoing stacks start with the frame's own map (TP-CMRNet: k … k + 8), incoming stacks end
        with it.

    Attributes
    ----------
    axis : str
        The axis along which it reads.

    Notes
    -----
    Gives float [n, 2 · stack, height, width] and bool [n, stack]. Arrays of another kind are given
    as stored, [n, stack, …] if `stack` is above 1.
    """

    direction: Literal["outgoing", "incoming"] = "outgoing"
    stack: int = 1

    axis = "pair"

    def __post_init__(self) -> None:
        if self.direction not in ("outgoing", "incoming"):
            raise StoreError(f"direction is 'outgoing' or 'incoming', not {self.direction!r}")
        if self.stack < 1:
            raise StoreError(f"stack is a number of flow maps, at least 1, not {self.stack}")

    @property
    def key(self) -> str:
        return self.array if self.direction == "outgoing" else f"{self.array}_incoming"

    def items(self, facts: VideoFacts, frames: Indices) -> Indices:
        pairs = max(1, facts.infos[self.array].items)
        items = np.minimum(np.maximum(self._wanted(frames), 0), pairs - 1)
        return items if self.stack > 1 else items[:, 0]

    def tensors(self, read: Reading) -> dict[str, Tensor]:
        info = read.facts.infos[self.array]
        maps = _channels_first(read.values[self.array], info)
        if self.stack > 1 and info.kind == "flow":
            maps = maps.flatten(1, 2)
        wanted = self._wanted(read.frames)
        valid = (wanted >= 0) & (wanted < info.items)
        return {self.key: maps, f"{self.key}_valid": torch.from_numpy(valid)}

    def _wanted(self, frames: Indices) -> Indices:
        first = frames if self.direction == "outgoing" else frames - self.stack
        return first[:, None] + np.arange(self.stack)


@dataclass(frozen=True)
class Windows(_OfOneArray):
    """For each frame, the item of the window that ends at it, such as its cached I3D features.

    If the stage that wrote the array records a ``span`` (`features` does), a frame has the window
    whose middle is nearest in time, so that every frame has one. If it records neither that nor the
    frames per ``window``, a frame has the latest window that has started.

    Parameters
    ----------
    array : str
        ``i3d_rgb``, ….
    missing : {'skip', 'mask'}
        Frames without a window of their own (the first 78 of a video, and those between windows at
        a stride above 1) are left out of all clips, or are zeros for which ``<key>_valid`` is
        False.

    Attributes
    ----------
    axis : str
        The axis along which it reads.

    Notes
    -----
    Gives items as stored (I3D: [n, feature, time, y, x]) and bool [n].
    """

    missing: Literal["skip", "mask"] = "skip"

    axis = "window"

    def __post_init__(self) -> None:
        if self.missing not in ("skip", "mask"):
            raise StoreError(f"missing is 'skip' or 'mask', not {self.missing!r}")

    def has(self, facts: VideoFacts) -> NDArray[np.bool_]:
        everything = super().has(facts)
        if self.array not in facts.window_of:
            raise StoreError(f"{self.array} does not say which array holds its windows' starts")
        return everything if self.missing == "mask" else facts.window_of[self.array] >= 0

    def items(self, facts: VideoFacts, frames: Indices) -> Indices:
        return np.maximum(facts.window_of[self.array][frames], 0)

    def tensors(self, read: Reading) -> dict[str, Tensor]:
        valid = read.facts.window_of[self.array][read.frames] >= 0
        features, is_valid = read.values[self.array], torch.from_numpy(valid)
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
        Whether each pixel holds its number of points (at most 255) instead of 0 or 1.
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

    def tensors(self, read: Reading) -> dict[str, Tensor]:
        source_height, source_width = read.facts.source_size
        height, width = self.size or read.facts.source_size
        offset, x, y = (read.whole[f"fixation_{name}"] for name in ("offset", "x", "y"))
        maps = np.zeros((len(read.frames), height, width), np.uint8)
        for drawn, frame in zip(maps, read.frames, strict=True):
            points = slice(offset[frame], offset[frame + 1])
            rows = _rescaled(y[points], source_height, height)
            columns = _rescaled(x[points], source_width, width)
            if self.counts:
                counted = np.bincount(rows * width + columns, minlength=height * width)
                drawn[:] = np.minimum(counted, 255).reshape(height, width)
            else:
                drawn[rows, columns] = 1
        return {self.key: torch.from_numpy(maps)}


_BY_AXIS: dict[str, Callable[[str], Variable]] = {"frame": Items, "pair": Flow, "window": Windows}
_BY_RUN = ("sample", "hop")


def make_variable(wanted: str | Variable, known: Mapping[str, ArrayInfo]) -> Variable:
    """Return the variable for an array's name, by its axis.

    Parameters
    ----------
    wanted : str or Variable
        Name of an array, or a variable, which is returned.
    known : mapping of str to ArrayInfo
        Arrays by name. An unknown array is read along frames, and found missing later.

    Raises
    ------
    StoreError
        The array's items belong to no frame.
    """
    if not isinstance(wanted, str):
        return wanted
    if wanted == FixationMap.key:
        return FixationMap()
    axis = known[wanted].axis if wanted in known else "frame"
    if axis in _BY_RUN and known[wanted].offset is not None:
        return Sound(wanted)
    if axis not in _BY_AXIS:
        means = f" ({AXES[axis]})" if axis in AXES else ""
        raise StoreError(
            f"{wanted} runs along {axis!r}{means}; clips read arrays along {', '.join(_BY_AXIS)}. "
            "fixation_map draws fixated points; for anything else write a foveal.torch.Variable"
        )
    return _BY_AXIS[axis](wanted)


def _channels_first(values: Tensor, info: ArrayInfo) -> Tensor:
    """Move the channels of pictures and flow […, height, width, channel] first, without a copy."""
    return values.movedim(-1, -3) if info.kind in ("picture", "flow") else values


def _rescaled(position: NDArray[np.float32], source_px: int, map_px: int) -> Indices:
    """Return the pixel of the map for a 0-based position in the source."""
    scaled = np.floor((position.astype(np.float64) + 0.5) * (map_px / source_px))
    return np.clip(scaled, 0, map_px - 1).astype(np.int64)
