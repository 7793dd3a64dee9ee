"""This module cuts a stream of frames into windows, in memory that does not grow with it."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.pipeline.stages.base import numbers_spec
from foveal.storage.schema import ArraySpec


def window_start_spec(array: str) -> ArraySpec:
    """Describe ``<array>_window_start``: the first frame of each window of `array`, int64."""
    name, about = f"{array}_window_start", "frame that the window starts with"
    return numbers_spec(name, f"{array}_window", about, "window", 2**12, starts=name)


class FrameWindows:
    """Cut consecutive frames into windows.

    Parameters
    ----------
    frames : int
        Frames in a window.
    stride : int
        Distance from one frame of a window to its next, in frames of the stream.
    step : int, optional
        Distance from one window's start to the next one's; by default each window begins where the
        one before ended.
    short_clips : {'skip', 'repeat_first'}
        A stream that is shorter than a window has no window, or one that begins with copies of the
        first frame and has a negative start.

    Attributes
    ----------
    span : int
        Frames of the stream from the first frame of a window to its last.
    """

    def __init__(
        self, frames: int, stride: int = 1, step: int | None = None, short_clips: str = "skip"
    ) -> None:
        self.frames, self.stride, self.step = frames, stride, step or frames * stride
        self.span = (frames - 1) * stride + 1
        self._repeats = short_clips == "repeat_first"
        self._held: deque[NDArray[Any]] = deque()
        self._received = 0
        self._next_start = 0

    def count(self, frames: int) -> int:
        """Return the number of windows of a stream with this many `frames`."""
        if frames < self.span:
            return int(self._repeats and frames > 0)
        return (frames - self.span) // self.step + 1

    def push(self, frames: NDArray[Any]) -> tuple[list[int], list[NDArray[Any]]]:
        """Take the next `frames` [n, …]; return the windows that are now complete, with starts."""
        starts, windows = [], []
        for frame in frames:
            if self._received >= self._next_start:
                self._held.append(frame)
            self._received += 1
            if self._received == self._next_start + self.span:
                starts.append(self._next_start)
                windows.append(np.stack([self._held[n] for n in range(0, self.span, self.stride)]))
                self._next_start += self.step
                for _ in range(min(self.step, len(self._held))):
                    self._held.popleft()
        return starts, windows

    def finish(self) -> tuple[list[int], list[NDArray[Any]]]:
        """Return start and window of a stream that was shorter than a window, if wanted."""
        missing = self.span - self._received
        if not self._repeats or missing <= 0 or not self._received:
            return [], []
        frames = [self._held[0]] * missing + list(self._held)
        return [-missing], [np.stack(frames[:: self.stride])]
