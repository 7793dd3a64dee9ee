"""What commands share: options, tables for people, JSON for machines, live progress."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from foveal.pipeline.build.run import VideoResult

INCOMPLETE = 3
"""Exit status of a command that did its work but has bad news."""

ROWS = 40
"""Rows of a table for people; `--json` gives all."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

_PIPE_COLUMNS = 200

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """JSON on standard output, nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: str = ""
) -> None:
    """A table as wide as the terminal; columns named in `numbers` are set flush right."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    right = set(numbers.split())
    for column in columns:
        justify: Any = "right" if column in right else "left"
        table.add_column(column, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    # A pipe or a file has no width of its own.
    target = out if out.is_terminal else Console(width=_PIPE_COLUMNS, highlight=False)
    out.print(Text(title, style="italic"))
    target.print(table)


def size_text(count: float | None) -> str:
    """Bytes as people read them."""
    value = float(count or 0)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"


def time_text(seconds: float | None) -> str:
    """Seconds as people read them."""
    value = float(seconds or 0)
    if value < 60:
        return f"{value:.1f} s"
    if value < 3600:
        return f"{value / 60:.1f} min"
    return f"{value / 3600:.1f} h"


class LiveProgress:
    """A bar for the whole build, by bytes of raw video, and one for each video at work."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=err,
        )
        self._lock = threading.Lock()
        self._sizes: Mapping[str, int] = {}
        self._done: dict[str, float] = {}
        self._rows: dict[str, TaskID] = {}
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
                self._rows[video] = self._progress.add_task(f"  {video}", total=None, note="")

    def advanced(self, video: str, frames: int, expected: int | None) -> None:
        with self._lock:
            row = self._rows.get(video)
            if row is not None:
                self._progress.update(
                    row, completed=frames, total=expected, note=f"{frames} frames"
                )
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
