"""Windows of frames of a stream, in memory that does not grow with it."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FrameWindows:
    """Cuts consecutive frames into windows.

    Parameters
    ----------
    frames : int
        In a window.
    stride : int
        From one frame of a window to its next.
    step : int, optional
        From one window's start to the next one's; by default windows lie end to end.
    short_clips : {'skip', 'repeat_first'}
        A stream that is shorter than a window has none, or one that begins with copies of its first
        frame and has a negative start.

    Attributes
    ----------
    span : int
        Frames of the stream that a window reaches over.
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
        """Windows of a stream of so many frames."""
        if frames < self.span:
            return int(self._repeats and frames > 0)
        return (frames - self.span) // self.step + 1

    def push(self, frames: NDArray[Any]) -> tuple[list[int], list[NDArray[Any]]]:
        """Take the next frames [n, …]; give starts and windows [frames, …] that became complete."""
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
        """The only window of a stream that was shorter than one, where that is wanted."""
        missing = self.span - self._received
        if not self._repeats or missing <= 0 or not self._received:
            return [], []
        frames = [self._held[0]] * missing + list(self._held)
        return [-missing], [np.stack(frames[:: self.stride])]
