"""Which frames are kept where a stage takes them at another rate than the video has.

Everything goes on being counted in frames of the source: beside an array of kept frames lies the
array of their numbers, which it names as its ``source_frames``.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foveal.storage.schema import ArraySpec

Every = Annotated[int, Field(ge=1, le=100_000)]
Rate = Annotated[float, Field(gt=0, le=1000)]

_NUMBERS_A_CHUNK = 2**14
_CLOCK_SECONDS = 1e-6


class Sampling:
    """Chooses frames of one video, batch by batch.

    Parameters
    ----------
    every : int or None
        Keep frames 0, `every`, 2 `every`, ….
    fps : float or None
        Keep the frame nearest to each multiple of 1 / `fps` seconds, by its presentation time: the
        first one that is at most half a nominal frame too early. No frame is kept twice, so a
        slower video keeps all of its frames. Where both are None all frames are kept.
    source_fps : float
        Nominal rate of the video.

    Attributes
    ----------
    next_tick : int
        The first multiple of 1 / `fps` seconds that no kept frame stands for yet.
    """

    def __init__(self, every: int | None, fps: float | None, source_fps: float) -> None:
        self._every, self._fps, self._source_fps = every or 1, fps, source_fps
        self.next_tick = 0

    @property
    def keeps_all(self) -> bool:
        """Whether the array is one along all frames, and needs no numbers beside it."""
        return self._fps is None and self._every == 1

    def choose(self, start: int, pts_seconds: NDArray[np.float64]) -> NDArray[np.int64]:
        """Numbers in the source of the frames that are kept.

        Parameters
        ----------
        start : int
            Number of the first frame.
        pts_seconds : ndarray, float64 [n]
            Presentation times of consecutive frames; batches come in order.

        Returns
        -------
        ndarray, int64 [m]
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
    """Name of the array that holds the numbers of kept frames."""
    return f"{array}_source_frame"


def source_frame_spec(array: str, dim: str) -> ArraySpec:
    """The array of the kept frames' numbers in the source, int64."""
    return ArraySpec(
        source_frame_name(array),
        (dim,),
        (),
        np.dtype("int64"),
        {"long_name": f"frame of the source that each item of {array} is"},
        _NUMBERS_A_CHUNK,
        _NUMBERS_A_CHUNK,
        axis="frame",
        kind="scalar",
        source_frames=source_frame_name(array),
    )
