"""The report: one self-contained HTML page on a store, readable on a phone, without a network.

What it says is gathered here and in the modules beside; how it looks is in ``templates/``.
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
from foveal.pipeline.report.flow import flow_of
from foveal.pipeline.report.journal import (
    Journal,
    device,
    excluded_samples,
    stage_summaries,
    utc,
)
from foveal.storage.location import Location
from foveal.storage.marks import read_journal
from foveal.storage.reader import Store, open_store

REPORT = "report.html"
"""At the store's root, in folders and object stores alike."""

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
    pictures and curves. Nothing is fetched when it is opened: styles and pictures lie inside.

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

    A build is not lost for its report: where it cannot be made, that is logged, and the former one
    is removed, as it would tell of another build.

    Parameters
    ----------
    url : str
        The store.
    run : mapping of str to object, optional
        See `write_report`.

    Returns
    -------
    str or None
        Where it lies; None where it could not be written.
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


def kept_report(url: str) -> str | None:
    """Where the latest build left its report; None where there is none."""
    location = Location(url, read_only=True)
    return f"{location}/{REPORT}" if REPORT in location.list_folder("") else None


def report_page(store: Store, run: Mapping[str, object] | None = None) -> str:
    """The page that `write_report` writes, as HTML."""
    journal, _ = read_journal(store.location)
    damaged = store.damage()
    table = store.videos.reset_index()[_LISTED].astype(object)
    videos = table.where(table.notna(), None).to_dict("records")
    cards, statistics, scope = survey.survey(store)
    flows = flow_of(store, journal)
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
            stages=stage_summaries(journal),
            flow=flows,
            excluded=excluded_samples(journal),
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
    """Big figures with what they count; some are bad news."""
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
        (duration(float(videos.duration_seconds.fillna(0).sum())), "of video", False),
        (size(float(videos.stored_bytes.fillna(0).sum())), "on disk", False),
    ]
    return [dict(zip(("value", "label", "bad"), tile, strict=True)) for tile in shown]


def _run(run: Mapping[str, object] | None, journal: Journal) -> dict[str, object]:
    made = [mark for stages in journal.values() for mark in stages.values()]
    lines: dict[str, object] = dict(run or {})
    if made:
        ended = sorted(str(mark.provenance["completed_at"]) for mark in made)
        computing = sum(mark.provenance.get("compute_seconds", 0.0) for mark in made)
        lines["first stage completed"] = utc(ended[0])
        lines["last stage completed"] = utc(ended[-1])
        lines["computing, all stages"] = duration(computing)
        slowest = stage_summaries(journal)[0]
        if computing > 0:
            share = slowest.compute_seconds / computing
            lines["slowest stage"] = f"{slowest.name}, {share:.0%} of the computing"
        lines["devices"] = ", ".join(sorted({device(mark) for mark in made}))
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
        "duration": duration,
        "percent": lambda share: f"{share:.1%}",
        "prose": prose,
        "python": repr,
        "size": size,
        "yaml": lambda values: yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True),
    }
    return found


def prose(value: object) -> Markup:
    """Text in which what stands between backquotes is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(value))))


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
