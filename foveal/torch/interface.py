"""This module defines what a variable of a clip must provide, and what it receives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from foveal.storage.kinds import ArrayInfo

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class VideoFacts:
    """What a variable must know of a video before anything of it is read.

    Attributes
    ----------
    video : str
    frames : int
    source_size : (int, int)
        Height and width of the source video in pixels.
    infos : mapping of str to ArrayInfo
        Description of each complete array, by name.
    window_of : mapping of str to ndarray, int64 [frames]
        By name of an array of windows or of frames at another rate, the number of the item that
        belongs to each frame, -1 for none.
    offset_of : mapping of str to ndarray, int64 [frames + 1]
        By name of an array of samples, where each frame's run of items starts.
    """

    video: str
    frames: int
    source_size: tuple[int, int]
    infos: Mapping[str, ArrayInfo]
    window_of: Mapping[str, Indices]
    offset_of: Mapping[str, Indices] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What was read for a variable of one clip.

    Attributes
    ----------
    facts : VideoFacts
    frames, items : ndarray
        Frames of the clip, and what `Variable.items` returned for them.
    values : mapping of str to Tensor
        Those items of `Variable.arrays`.
    whole : mapping of str to ndarray
        The `Variable.whole_arrays`.
    """

    facts: VideoFacts
    frames: Indices
    items: Indices
    values: Mapping[str, Tensor]
    whole: Mapping[str, NDArray[Any]]


class Variable(Protocol):
    """One entry of a sample.

    Attributes
    ----------
    key : str
        Name of the entry.
    arrays : tuple of str
        Arrays that are read item by item.
    whole_arrays : tuple of str
        Small arrays that are read whole, once per video.
    """

    @property
    def key(self) -> str: ...

    @property
    def arrays(self) -> tuple[str, ...]: ...

    @property
    def whole_arrays(self) -> tuple[str, ...]: ...

    def has(self, facts: VideoFacts) -> NDArray[np.bool_]:
        """Return which frames of the video may be in a clip, bool [frames].

        Parameters
        ----------
        facts : VideoFacts
        """

    def items(self, facts: VideoFacts, frames: Indices) -> Indices:
        """Return the items of `arrays` that the frames need: [n], or [n, m] for m items per frame.

        Parameters
        ----------
        facts : VideoFacts
        frames : ndarray, int64 [n]
            Numbers of frames.
        """

    def tensors(self, read: Reading) -> dict[str, Tensor]:
        """Return entries of the sample, by key.

        Parameters
        ----------
        read : Reading
            What was read.
        """
