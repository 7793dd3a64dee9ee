"""Who is told how a build gets on. Tasks carry names only, so the listener is set beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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


_listener: Listener = Silent()


def listener() -> Listener:
    """The one who listens now."""
    return _listener


@contextmanager
def listening(someone: Listener) -> Iterator[None]:
    """Let someone listen to the builds of this process."""
    global _listener
    former, _listener = _listener, someone
    try:
        yield
    finally:
        _listener = former
