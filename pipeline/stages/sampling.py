"""This module chooses the frames that a stage keeps when it takes fewer than the video has.

Frames are still counted as in the source: each array of kept frames names another array as its
``source_frames``, which holds their numbers in the source.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foveal.pipeline.stages.base import numbers_spec
from foveal.storage.schema import ArraySpec

Every = Annotated[int, Field(ge=1, le=100_000)]
"""Keep one frame of this many."""

Rate = Annotated[float, Field(gt=0, le=1000)]
"""Frames per second."""

_CLOCK_SECONDS = 1e-6


class Sampling:
    """Choose frames of one video, batch by batch.

    Parameters
    ----------
    every : int or None
        Keep frames 0, `every`, 2 `every`, ….
    fps : float or None
        Keep the frame nearest to each multiple of 1 / `fps` seconds, by its presentation time: the
        first frame that is at most half a nominal frame too early. No frame is kept twice, so a
        slower video keeps all of its frames. If both are None, all frames are kept.
    source_fps : float
        Nominal rate of the video.

    Attributes
    ----------
    next_tick : int
        Number of the first multiple of 1 / `fps` seconds that has no kept frame yet.
    """

    def __init__(self, every: int | None, fps: float | None, source_fps: float) -> None:
        self._every, self._fps, self._source_fps = every or 1, fps, source_fps
        self.next_tick = 0

    def choose(self, start: int, pts_seconds: NDArray[np.float64]) -> NDArray[np.int64]:
        """Choose among the next frames.

        Parameters
        ----------
        start : int
            Number of the first frame.
        pts_seconds : ndarray, float64 [n]
            Presentation times of consecutive frames; batches come in order.

        Returns
        -------
        ndarray, int64 [m]
            Numbers of the kept frames in the source.
        """
        numbers = np.arange(start, start + len(pts_seconds))
        if self._fps is None:
            return np.flatnonzero(numbers % self._every == 0) + start
        early_seconds = 0.5 / self._source_fps + _CLOCK_SECONDS
        ticks = np.floor((pts_seconds + early_seconds) * self._fps).astype(np.int64)
        kept = []
        for number, tick in zip(numbers.tolist(), ticks.tolist(), strict=True):
            if tick >= self.next_tick:
                kept.append(number)
                self.next_tick = tick + 1
        return np.array(kept, np.int64)


def source_frame_name(array: str) -> str:
    """Name the array that holds the numbers of the frames that `array` keeps."""
    return f"{array}_source_frame"


def source_frame_spec(array: str, dim: str) -> ArraySpec:
    """Describe the array with the source's numbers of the frames that `array` keeps along `dim`."""
    name = source_frame_name(array)
    about = f"frame of the source that each item of {array} is"
    return numbers_spec(name, dim, about, "frame", 2**14, source_frames=name)
