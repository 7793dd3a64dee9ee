"""Write the report: one self-contained HTML page on a store, readable on a phone without a network.

This module and those beside it collect the content; ``templates/`` holds the layout.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup, escape

from foveal.errors import writing
from foveal.pipeline.report import survey
from foveal.pipeline.report.charts import data_uri, statistics_boxes
from foveal.pipeline.report.evaluation import evaluation_of
from foveal.pipeline.report.flow import FlowSummary
from foveal.pipeline.report.journal import JournalSummary, utc
from foveal.pipeline.report.kept import REPORT, kept_report
from foveal.storage.location import Location
from foveal.storage.lost import read_journal_parts
from foveal.storage.reader import Store, open_store
from foveal.units import size_text, time_text

MAX_ROWS = 2000
"""Rows of a table of videos, at most."""

_PROBLEMS = ("quarantined", "failed")
_LISTED = [
    "video", "split", "status", "reason", "frames", "fps", "duration_seconds", "width_px",
    "height_px", "fixations", "empty_frames", "stored_bytes",
]  # fmt: skip

_log = logging.getLogger("foveal")


def write_report(
    store_url: str | Path, path: str | Path, run: Mapping[str, object] | None = None
) -> Path:
    """Write a page on everything a person asks of a store after a build.

    What was built and from what recipe, how long each stage took and on which device, disk space,
    videos that were given up with their reasons, gaze samples left out, statistics, and videos with
    pictures and curves. The page loads nothing: styles and pictures are inside.

    Size and time are bounded for stores of any length: marks are read for all videos, pictures and
    curves for at most 48 evenly spread ones (32 frames of each), and the table of all videos ends
    after 2000 rows. The page says so wherever it applies.

    Parameters
    ----------
    store_url : str or Path
        Path or URL of the store.
    path : str or Path
        The ``.html`` file; replaced where it exists.
    run : mapping of str to object, optional
        What to say of the run that has just ended, label by label, e.g.
        ``{"took": "3 min 20 s", "workers": 2}``; shown as given.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        Where there is no store.
    Unreachable
        Where the file cannot be written.
    """
    path = Path(path)
    content = report_page(open_store(store_url), run)
    with writing(path):
        path.write_text(content, encoding="utf-8")
    return path


def keep_report(url: str, run: Mapping[str, object] | None = None) -> str | None:
    """Write the report of a store into it, in place of the former one, as every build does.

    A build does not fail because of its report: where the report cannot be made, that is
    logged, and the former one is removed, because it describes another build.

    Parameters
    ----------
    url : str
        The store.
    run : mapping of str to object, optional
        See `write_report`.

    Returns
    -------
    str or None
        Path or URL of the report; None where it could not be written.
    """
    try:
        page = report_page(open_store(url), run)
        Location(url).write(REPORT, page.encode())
    except Exception as error:
        _log.warning(
            "the build is whole, but its report could not be written to %s/%s (%s: %s); "
            "`foveal report` writes one elsewhere",
            url,
            REPORT,
            type(error).__name__,
            error,
        )
        with contextlib.suppress(Exception):
            Location(url).delete(REPORT)
    return kept_report(url)


def report_page(store: Store, run: Mapping[str, object] | None = None) -> str:
    """The page that `write_report` writes, as HTML."""
    journal, flow = JournalSummary(), FlowSummary(store)
    damaged = []
    for names, part, hurt in read_journal_parts(store.location):
        damaged += hurt
        for video in names:
            journal.add(part.marks.get(video, {}))
            flow.add(video, part.marks.get(video, {}))
    damaged.sort(key=lambda damage: damage.key)
    table = store.videos.reset_index()[_LISTED].astype(object)
    videos = table.where(table.notna(), None).to_dict("records")
    cards, statistics, scope = survey.survey(store)
    flows = flow.result()
    return (
        templates()
        .get_template("report.html")
        .render(
            store=store,
            videos=videos,
            splits=store.videos.split.dropna().value_counts(sort=False).to_dict(),
            tiles=_tiles(store.videos, flows, len(damaged)),
            run=_run(run, journal),
            problems=_PROBLEMS,
            damaged=damaged,
            broken=[row for row in videos if row["status"] in _PROBLEMS],
            stages=journal.stages(),
            flow=flows,
            excluded=journal.excluded_samples(),
            evaluation=evaluation_of(store),
            statistics={"boxes": statistics_boxes(statistics), "scope": scope},
            cards=cards,
            most_cards=survey.CARDS,
            moments=survey.MOMENTS,
            covered=survey.COVERED,
        )
    )


def _tiles(
    videos: pd.DataFrame, flows: Mapping[str, Any] | None, damaged: int
) -> list[dict[str, Any]]:
    """Tiles with a figure and its label; some report problems."""
    status = videos.status
    bad = {
        "without the wanted flow, see Flow": len(flows["fallbacks"]) if flows else 0,
        "with suspicious flow, see Flow": len({row["video"] for row in flows["suspicious"]})
        if flows
        else 0,
        "given up, see below": int(status.isin(_PROBLEMS).sum()),
        "records damaged, see below": damaged,
    }
    pending = int((status == "pending").sum())
    shown = [
        (f"{int((status == 'complete').sum()):,}", f"of {len(videos):,} videos complete", False),
        *([(f"{pending:,}", "not tried yet", False)] if pending else []),
        *((f"{count:,}", label, True) for label, count in bad.items() if count),
        (f"{int(videos.frames.fillna(0).sum()):,}", "frames", False),
        (time_text(float(videos.duration_seconds.fillna(0).sum())), "of video", False),
        (size_text(float(videos.stored_bytes.fillna(0).sum())), "on disk", False),
    ]
    return [dict(zip(("value", "label", "bad"), tile, strict=True)) for tile in shown]


def _run(run: Mapping[str, object] | None, journal: JournalSummary) -> dict[str, object]:
    lines: dict[str, object] = dict(run or {})
    if journal.completed_at:
        lines["first stage completed"] = utc(journal.completed_at[0])
        lines["last stage completed"] = utc(journal.completed_at[-1])
        lines["computing, all stages"] = time_text(journal.compute_seconds)
        slowest = journal.stages()[0]
        if journal.compute_seconds > 0:
            share = slowest.compute_seconds / journal.compute_seconds
            lines["slowest stage"] = f"{slowest.name}, {share:.0%} of the computing"
        lines["devices"] = ", ".join(sorted(journal.devices))
    lines["report written"] = utc(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    return lines


@functools.cache
def templates() -> jinja2.Environment:
    """The templates, in which everything is escaped that does not come from a template."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("foveal.pipeline.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    found.globals["max_rows"] = MAX_ROWS
    found.filters |= {
        "blank": lambda value, form: "" if value is None else form.format(value),
        "count": lambda value: f"{value:,}",
        "data_uri": data_uri,
        "duration": time_text,
        "percent": lambda share: f"{share:.1%}",
        "prose": prose,
        "python": repr,
        "size": size_text,
        "yaml": lambda values: yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True),
    }
    return found


def prose(value: object) -> Markup:
    """Text with the parts between backquotes as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(value))))
