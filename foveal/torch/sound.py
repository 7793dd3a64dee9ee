"""This module gives the sound of a clip, or of each of its frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.errors import StoreError
from foveal.torch.interface import Indices, Reading, VideoFacts


@dataclass(frozen=True)
class Sound:
    """The sound during a clip, or at each of its frames, from an array of samples or hops.

    Parameters
    ----------
    array : str
        ``audio``, ``log_mel``, ….
    per_frame : int, optional
        Number of consecutive items per frame, the middle one at the frame's time; zeros where the
        video has none. By default the run of items that belong to the clip's frames, end to end.

    Notes
    -----
    By default ``<array>`` [items, …] as stored and ``<array>_count``, an integer; a batch holds as
    many items as its longest clip, padded with zeros. With `per_frame` ``<array>``
    [n, per_frame, …] and ``<array>_valid`` bool [n, per_frame]. A video without sound gives no
    items, or zeros that are not valid.
    """

    array: str
    per_frame: int | None = None

    whole_arrays = ()

    def __post_init__(self) -> None:
        if self.per_frame is not None and self.per_frame < 1:
            raise StoreError(f"per_frame is a number of items, at least 1, not {self.per_frame}")

    @property
    def key(self) -> str:
        return self.array

    @property
    def arrays(self) -> tuple[str, ...]:
        return (self.array,)

    def has(self, facts: VideoFacts) -> NDArray[np.bool_]:
        if self.array not in facts.offset_of:
            raise StoreError(
                f"{self.array} runs along {facts.infos[self.array].axis!r} and does not say which "
                "array (its offset) holds the first item of each frame"
            )
        return np.ones(facts.frames, bool)

    def items(self, facts: VideoFacts, frames: Indices) -> Indices:
        if self.per_frame is not None:
            last = max(0, facts.infos[self.array].items - 1)
            return np.clip(self._wanted(facts, frames), 0, last)
        offset = facts.offset_of[self.array]
        return np.arange(offset[frames.min()], offset[frames.max() + 1])

    def tensors(self, read: Reading) -> dict[str, Tensor]:
        values = read.values[self.array]
        if self.per_frame is None:
            return {self.key: values, f"{self.key}_count": torch.tensor(len(values))}
        wanted = self._wanted(read.facts, read.frames)
        valid = torch.from_numpy((wanted >= 0) & (wanted < read.facts.infos[self.array].items))
        if not valid.all():
            values = values.clone()
            values[~valid] = 0
        return {self.key: values, f"{self.key}_valid": valid}

    def _wanted(self, facts: VideoFacts, frames: Indices) -> Indices:
        assert self.per_frame is not None
        first = facts.offset_of[self.array][frames] - self.per_frame // 2
        return first[:, None] + np.arange(self.per_frame)
