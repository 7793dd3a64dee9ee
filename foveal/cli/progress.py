"""Show the progress of a build: bars in a terminal, lines in a file."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from foveal.cli.console import err
from foveal.units import time_text

if TYPE_CHECKING:
    from foveal.pipeline.build.run import VideoResult
    from foveal.pipeline.stages.meter import Meter

_SAY_EVERY_SECONDS = 60.0


class LiveProgress:
    """A bar for the whole build, by bytes of raw video, and one for each video at work."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=err,
        )
        self._lock = threading.Lock()
        self._sizes: Mapping[str, int] = {}
        self._done: dict[str, float] = {}
        self._rows: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}
        self._whole: TaskID | None = None
        self._ended = 0

    def __enter__(self) -> LiveProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was: the cursor visible, the next line free."""
        if self._progress.live.is_started:
            self._progress.stop()

    def planned(self, to_do: Mapping[str, int], settled: Sequence[VideoResult]) -> None:
        self._sizes = to_do
        if to_do:
            total = sum(max(1, size) for size in to_do.values())
            self._whole = self._progress.add_task(
                "all videos", total=total, note=f"0 of {len(to_do)}"
            )

    def started(self, video: str) -> None:
        with self._lock:
            if video not in self._rows:
                self._began[video] = time.monotonic()
                self._rows[video] = self._progress.add_task(f"  {video}", total=None, note="")

    def advanced(self, video: str, frames: int, expected: int | None, meter: Meter) -> None:
        with self._lock:
            row = self._rows.get(video)
            if row is not None:
                rate = frames / max(0.1, time.monotonic() - self._began[video])
                slowest = f", {meter.slowest} slowest" if meter.slowest else ""
                note = f"{frames} frames, {rate:.1f}/s{slowest}"
                self._progress.update(row, completed=frames, total=expected, note=note)
            if expected:
                self._done[video] = min(1.0, frames / expected)
                self._update_whole()

    def ended(self, result: VideoResult) -> None:
        with self._lock:
            self._ended += 1
            self._done[result.video] = 1.0
            row = self._rows.pop(result.video, None)
            if row is not None:
                self._progress.remove_task(row)
            self._update_whole()
            if not result.ok:
                self._progress.console.print(
                    f"{result.video}: {result.status}: {result.reason}", markup=False
                )

    def _update_whole(self) -> None:
        if self._whole is not None:
            done = sum(max(1, self._sizes.get(name, 0)) * part for name, part in self._done.items())
            note = f"{self._ended} of {len(self._sizes)}"
            self._progress.update(self._whole, completed=done, note=note)


class LineProgress:
    """A line per finished video, and one on the whole build every minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = self._said = time.monotonic()
        self._videos = 0
        self._ended = 0
        self._frames: dict[str, int] = {}

    def planned(self, to_do: Mapping[str, int], settled: Sequence[VideoResult]) -> None:
        self._videos = len(to_do)
        if to_do:
            self._say(f"{len(to_do)} videos to do, {len(settled)} settled")

    def started(self, video: str) -> None:
        with self._lock:
            self._frames[video] = 0

    def advanced(self, video: str, frames: int, expected: int | None, meter: Meter) -> None:
        with self._lock:
            self._frames[video] = frames
            if time.monotonic() > self._said + _SAY_EVERY_SECONDS:
                self._said = time.monotonic()
                at_work = ", ".join(f"{name} (frame {n})" for name, n in self._frames.items())
                self._say(f"{self._ended} of {self._videos} videos, at work: {at_work}")

    def ended(self, result: VideoResult) -> None:
        with self._lock:
            self._frames.pop(result.video, None)
            self._ended += 1
            told = f"{result.frames} frames in {time_text(result.wall_seconds)}"
            if result.meter.slowest:
                told += f", {result.meter.slowest} slowest"
            if not result.ok:
                told = result.reason
            count = f"{self._ended} of {self._videos}"
            self._say(f"{result.video}: {result.status}: {told} ({count})")

    def _say(self, text: str) -> None:
        passed = time_text(time.monotonic() - self._began)
        err.print(f"[{passed}] {text}", markup=False)
