"""A build reports its progress to a listener, which shows or records it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from foveal.pipeline.build.run import VideoResult
from foveal.pipeline.stages.meter import Meter


class Stopped(BaseException):
    """The build is being stopped: a listener raises this to end a video at its next batch.

    The video is not quarantined; what is not complete is removed.
    """


class Listener(Protocol):
    """Receives every step of a build; its methods are called from the threads that work.

    ``started`` and ``advanced`` may raise `Stopped`.
    """

    def planned(self, to_do: Mapping[str, int], settled: Sequence[VideoResult]) -> None:
        """The build has a plan: `to_do` has the bytes of each raw video by its id, `settled` the
        results that are known already."""

    def started(self, video: str) -> None:
        """Work on a `video` has begun."""

    def advanced(self, video: str, frames: int, expected: int | None, meter: Meter) -> None:
        """So many `frames` of the `expected` ones of a `video` are done; the `meter` says where the
        time went."""

    def ended(self, result: VideoResult) -> None:
        """A video is complete, quarantined or failed, as its `result` says."""


class Silent:
    """Ignores every step."""

    def planned(self, to_do: Mapping[str, int], settled: Sequence[VideoResult]) -> None: ...

    def started(self, video: str) -> None: ...

    def advanced(self, video: str, frames: int, expected: int | None, meter: Meter) -> None: ...

    def ended(self, result: VideoResult) -> None: ...


class Stoppable:
    """Passes every step on to another listener, and stops videos on request.

    Parameters
    ----------
    listener : Listener
    stopped : callable
        Whether the build is being stopped; asked at every step.
    """

    def __init__(self, listener: Listener, stopped: Callable[[], bool]) -> None:
        self._listener = listener
        self._stopped = stopped

    def planned(self, to_do: Mapping[str, int], settled: Sequence[VideoResult]) -> None:
        self._listener.planned(to_do, settled)

    def started(self, video: str) -> None:
        self._check(video)
        self._listener.started(video)

    def advanced(self, video: str, frames: int, expected: int | None, meter: Meter) -> None:
        self._check(video)
        self._listener.advanced(video, frames, expected, meter)

    def ended(self, result: VideoResult) -> None:
        self._listener.ended(result)

    def _check(self, video: str) -> None:
        if self._stopped():
            raise Stopped(f"{video}: the build was stopped; building again goes on here")
