"""What commands share: options, tables for people, JSON for programs, and progress bars."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

INCOMPLETE = 3
"""Exit status of a command that did its work, but found something wrong or incomplete."""

ROWS = 40
"""Largest number of rows in a table for people; `--json` prints all."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

Cluster = Annotated[
    str | None,
    typer.Option(
        envvar="FOVEAL_CLUSTER",
        help="Dask cluster: local:4, local:gpus, tcp://scheduler:8786. Default: this machine.",
    ),
]

_PIPE_COLUMNS = 200

_QUIET_SECONDS = 60.0

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print `value` as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: str = ""
) -> None:
    """Print `title` and a table as wide as the terminal; None in `rows` is an empty cell.

    `columns` are the headings; those in `numbers`, separated by blanks, are aligned right.
    """
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


@contextmanager
def following(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for the current video, on a terminal only; `what` is its first label.

    Yields
    ------
    callable
        Call it with the video, the amount done, and the amount of all.
    """
    with Progress(console=err, disable=not err.is_terminal) as progress:
        bar = progress.add_task(what, total=None)

        def advance(video: str, done: int, of: int) -> None:
            progress.update(bar, description=video, completed=done, total=of)

        yield advance


@contextmanager
def counting(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show the progress of `what`: on a terminal a bar with the time left, else a line per minute.

    Yields
    ------
    callable
        Call it with the current item, the amount done, and the amount of all.
    """
    spoke = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("·"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
        bar = progress.add_task(what, total=None)

        def advance(name: str, done: int, of: int) -> None:
            nonlocal spoke
            progress.update(bar, description=f"{what} {name}", completed=done, total=of)
            if not err.is_terminal and time.monotonic() - spoke > _QUIET_SECONDS:
                spoke = time.monotonic()
                err.print(f"{what} {name}: {done:,} of {of:,}", markup=False)

        yield advance
