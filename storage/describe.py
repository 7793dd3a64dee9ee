"""This module describes a store in a few lines, for a terminal and for a notebook."""

from __future__ import annotations

import html
from collections import Counter
from typing import TYPE_CHECKING

from foveal.storage.selection import count_splits

if TYPE_CHECKING:
    from foveal.storage.reader import Store

_ROWS = 10
_COLUMNS = ["split", "status", "frames", "fps", "duration_seconds", "fixations"]


def describe(store: Store) -> str:
    """Return text for a terminal: videos by split and status, stages, and what to do next."""
    lines = [f"<foveal store {store.location}: {store.dataset}>", f"  {_summary(store)}"]
    lines += [f"  {stage}: {count} videos{note}" for stage, count, note in _stages(store)]
    lines.append(
        f"  store.videos lists them, store[{next(iter(store), '…')!r}] opens one, "
        "store.recipe says how they were made"
    )
    return "\n".join(lines)


def describe_html(store: Store) -> str:
    """Return HTML for a notebook: the same, and a table of the first and last videos."""
    rows = "".join(
        f"<tr><td>{html.escape(stage)}</td><td style='text-align:right'>{count}</td>"
        f"<td>{note}</td></tr>"
        for stage, count, note in _stages(store)
    )
    return (
        f"<b>foveal store</b> <code>{html.escape(str(store.location))}</code>: "
        f"{html.escape(store.dataset)}<br>{html.escape(_summary(store))}"
        f"<table><tr><th>stage</th><th>videos</th><th></th></tr>{rows}</table>"
        f"{store.videos[_COLUMNS].to_html(max_rows=_ROWS, border=0)}"
    )


def _summary(store: Store) -> str:
    table = store.videos
    statuses = table.status.value_counts()
    size = table.stored_bytes.fillna(0).sum() / 1e9
    hours = table.duration_seconds.fillna(0).sum() / 3600
    return (
        f"{len(table)} videos ({count_splits(table) or 'none'}): "
        + ", ".join(f"{count} {status}" for status, count in statuses.items())
        + f"; {hours:.2f} hours, {size:.2f} GB"
    )


def _stages(store: Store) -> list[tuple[str, int, str]]:
    """Return each stage, its number of videos, and a note on random weights."""
    counts = store.videos.stages.explode().value_counts()
    untrained = Counter(stage for names in store.videos.random_weights for stage in names)
    return [
        (
            str(stage),
            int(count),
            f" ({untrained[stage]} by random weights)" if untrained[stage] else "",
        )
        for stage, count in counts.items()
    ]
