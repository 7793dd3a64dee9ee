"""Record the progress of a build in its store: in this process's record, and in a log."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from foveal.errors import StoreError
from foveal.pipeline.build.progress import Listener
from foveal.pipeline.build.run import VideoResult
from foveal.pipeline.stages.meter import Meter
from foveal.storage.claims import Claims
from foveal.storage.log import EventLog


@dataclass
class _AtWork:
    started: float
    frames: int = 0
    expected: int | None = None
    meter: Meter = field(default_factory=Meter)


class Recorder:
    """Passes every step on to another listener and records it in the store.

    Parameters
    ----------
    listener : Listener
    claims : Claims
        Claims of this process; its record shows the values of this recorder.
    """

    def __init__(self, listener: Listener, claims: Claims) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._log = EventLog(claims.location, claims.id)
        self._began = time.monotonic()
        self._sizes: dict[str, int] = {}
        self._ended: Counter[str] = Counter()
        self._ended_bytes = 0
        self._at_work: dict[str, _AtWork] = {}
        self._meter = Meter()
        claims.tell(self.values)

    def planned(self, to_do: Mapping[str, int], settled: Sequence[VideoResult]) -> None:
        with self._lock:
            self._sizes = dict(to_do)
        self._note("planned", videos=len(to_do), settled=len(settled), bytes=sum(to_do.values()))
        self._listener.planned(to_do, settled)

    def started(self, video: str) -> None:
        self._listener.started(video)
        with self._lock:
            self._at_work[video] = _AtWork(time.monotonic())
        self._note("started", video=video)

    def advanced(self, video: str, frames: int, expected: int | None, meter: Meter) -> None:
        with self._lock:
            at_work = self._at_work.setdefault(video, _AtWork(time.monotonic()))
            at_work.frames, at_work.expected, at_work.meter = frames, expected, meter
        self._listener.advanced(video, frames, expected, meter)

    def ended(self, result: VideoResult) -> None:
        with self._lock:
            self._at_work.pop(result.video, None)
            self._ended[result.status.value] += 1
            self._ended_bytes += self._sizes.get(result.video, 0)
            self._meter.join(result.meter)
        self._note(
            "ended",
            video=result.video,
            status=result.status.value,
            reason=result.reason,
            stages=list(result.stages),
            frames=result.frames,
            wall_seconds=round(result.wall_seconds, 3),
            stored_bytes=result.stored_bytes,
            seconds=result.meter.to_dict()["seconds"],
        )
        self._listener.ended(result)

    def forget(self, videos: Sequence[str]) -> None:
        """These videos are no longer at work, however they ended."""
        with self._lock:
            for video in videos:
                self._at_work.pop(video, None)

    def close(self, how: str) -> None:
        """Log that this process has ended its part, and how."""
        self._note("left", how=how, ended=dict(self._ended))
        with suppress(StoreError):
            self._log.flush()

    def values(self) -> dict[str, Any]:
        """Current progress as plain JSON types; see `foveal.pipeline.build.status`."""
        with suppress(StoreError):
            self._log.flush()
        now = time.monotonic()
        with self._lock:
            whole = Meter()
            whole.join(self._meter)
            for one in self._at_work.values():
                whole.join(one.meter)
            return {
                "doing": "build",
                "running_seconds": round(now - self._began, 1),
                "to_do": {"videos": len(self._sizes), "bytes": sum(self._sizes.values())},
                "ended": {"videos": dict(self._ended), "bytes": self._ended_bytes},
                "at_work": {
                    video: {
                        "frames": one.frames,
                        "expected": one.expected,
                        "seconds": round(now - one.started, 1),
                        "bytes": self._sizes.get(video, 0),
                        "slowest": one.meter.slowest,
                    }
                    for video, one in list(self._at_work.items())
                },
                "meter": whole.to_dict(),
            }

    def _note(self, event: str, **about: Any) -> None:
        # A build does not end because its log cannot be written; other writes will fail and say so.
        with suppress(StoreError):
            self._log.write(event, **about)


@contextmanager
def recorded(listener: Listener, claims: Claims) -> Iterator[Recorder]:
    """Record the progress in the store as long as the block lasts."""
    recorder = Recorder(listener, claims)
    try:
        yield recorder
    except BaseException as error:
        recorder.close(f"{type(error).__name__}: {error}".splitlines()[0][:500])
        raise
    recorder.close("finished")
