"""What a build reports while it runs, to whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from foveal.pipeline.build.run import VideoResult


class Listener(Protocol):
    """Told of every step of a build; called from the threads that work."""

    def planned(self, to_do: Mapping[str, int], settled: Sequence[VideoResult]) -> None:
        """The build knows what it will do: bytes of raw video by id."""

    def started(self, video: str) -> None:
        """A video is taken up."""

    def advanced(self, video: str, frames: int, expected: int | None) -> None:
        """So many of its frames are done."""

    def ended(self, result: VideoResult) -> None:
        """A video is complete, quarantined or failed."""


class Silent:
    """Listens to nothing."""

    def planned(self, to_do: Mapping[str, int], settled: Sequence[VideoResult]) -> None: ...

    def started(self, video: str) -> None: ...

    def advanced(self, video: str, frames: int, expected: int | None) -> None: ...

    def ended(self, result: VideoResult) -> None: ...
