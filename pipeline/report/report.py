"""The report: one self-contained HTML page on a store, readable on a phone, without a network."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from foveal.errors import FovealError
from foveal.pipeline.report.evaluation_section import evaluation_section
from foveal.pipeline.report.flow_section import fallbacks, flagged, flow_section, flows
from foveal.pipeline.report.gallery import cards_section, statistics_section
from foveal.pipeline.report.page import (
    MAX_ROWS,
    duration,
    first_rows,
    folded,
    meter,
    page,
    section,
    size,
    table,
    text,
    tiles,
)
from foveal.pipeline.report.survey import (
    Journal,
    StageSummary,
    device,
    excluded_samples,
    stage_summaries,
    survey,
)
from foveal.storage.marks import read_journal
from foveal.storage.reader import Store, open_store

_PROBLEMS = ("quarantined", "failed")


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
    FovealError
        Where the file cannot be written.
    """
    path = Path(path)
    content = report_page(open_store(store_url), run)
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise FovealError(f"the report cannot be written to {path}: {error}") from None
    return path


def report_page(store: Store, run: Mapping[str, object] | None = None) -> str:
    """The page that `write_report` writes, as HTML."""
    journal, _ = read_journal(store.location)
    cards, figures = survey(store)
    title = f"{store.dataset}: {store.location}"
    parts = [
        _head(store, journal),
        _run(run, journal),
        _problems(store.videos),
        _stages(stage_summaries(journal)),
        flow_section(store, journal),
        _excluded(journal),
        evaluation_section(store),
        statistics_section(figures),
        cards_section(cards, len(store.videos)),
        _videos(store.videos),
        _origin(store),
    ]
    return page(title, "\n".join(part for part in parts if part))


def _head(store: Store, journal: Journal) -> str:
    videos = store.videos
    splits = videos.split.dropna().value_counts(sort=False)
    hours = videos.duration_seconds.fillna(0).sum() / 3600
    problems = int(videos.status.isin(_PROBLEMS).sum())
    pending = int((videos.status == "pending").sum())
    shown = [
        (
            f"{int((videos.status == 'complete').sum()):,}",
            f"of {len(videos):,} videos complete",
            False,
        ),
        (f"{int(videos.frames.fillna(0).sum()):,}", "frames", False),
        (duration(hours * 3600), "of video", False),
        (size(float(videos.stored_bytes.fillna(0).sum())), "on disk", False),
    ]
    if problems:
        shown.insert(1, (f"{problems:,}", "given up, see below", True))
    if suspicious := len({flow.video for flow in flagged(flows(journal))}):
        shown.insert(1, (f"{suspicious:,}", "with suspicious flow, see Flow", True))
    if fallen_back := len(fallbacks(store, journal)):
        shown.insert(1, (f"{fallen_back:,}", "without the wanted flow, see Flow", True))
    if pending:
        shown.insert(1, (f"{pending:,}", "not tried yet", False))
    about = ", ".join(f"{count:,} {split}" for split, count in splits.items())
    return (
        f"<header><h1>{text(store.dataset)}</h1>"
        f'<p class="faint"><code>{text(store.location)}</code>{" · " if about else ""}{text(about)}'
        f"</p>{tiles(shown)}</header>"
    )


def _run(run: Mapping[str, object] | None, journal: Journal) -> str:
    marks = [mark for marks in journal.values() for mark in marks.values()]
    lines: dict[str, object] = dict(run or {})
    if marks:
        ended = sorted(str(mark.provenance["completed_at"]) for mark in marks)
        computing = sum(mark.provenance.get("compute_seconds", 0.0) for mark in marks)
        lines["first stage completed"] = _utc(ended[0])
        lines["last stage completed"] = _utc(ended[-1])
        lines["computing, all stages"] = duration(computing)
        lines["devices"] = ", ".join(sorted({device(mark) for mark in marks}))
    lines["report written"] = _utc(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    pairs = "".join(
        f"<div><dt>{text(label)}</dt><dd>{text(value)}</dd></div>" for label, value in lines.items()
    )
    return section("Run", f'<dl class="box">{pairs}</dl>')


def _utc(stamp: str) -> str:
    return stamp.replace("T", " ").replace("Z", " UTC")


def _problems(videos: pd.DataFrame) -> str:
    broken = videos[videos.status.isin(_PROBLEMS)]
    if not len(broken):
        return ""
    rows = [
        [text(name), text(row.split or ""), f'<td class="bad">{text(row.status)}</td>',
         f'<td class="long">{text(row.reason)}</td>']
        for name, row in broken[:MAX_ROWS].iterrows()
    ]  # fmt: skip
    about = (
        "Everything else is unaffected. They are tried again when their files or the recipe change."
    )
    return section(
        "Given up",
        table(("video", "split", "status", "reason"), rows),
        about + first_rows(len(broken)),
    )


def _stages(stages: Sequence[StageSummary]) -> str:
    whole = max(sum(stage.compute_seconds for stage in stages), 1e-9)
    stored = max(sum(stage.stored_bytes for stage in stages), 1)
    rows = []
    for stage in stages:
        pace = (
            f"{stage.frames / stage.compute_seconds:,.0f}" if stage.compute_seconds > 0.01 else ""
        )
        devices = ", ".join(
            device if len(stage.devices) == 1 else f"{device} ({count})"
            for device, count in stage.devices.most_common()
        )
        rows.append(
            [
                f"{text(stage.name)}{_untrained(stage)}",
                f"{stage.videos:,}",
                f"{duration(stage.compute_seconds)}{meter(stage.compute_seconds / whole)}",
                pace,
                text(devices),
                f"{size(stage.stored_bytes)}{meter(stage.stored_bytes / stored)}",
                size(stage.stored_bytes / max(1, stage.frames)),
            ]
        )
    head = ("stage", "videos", "computing", "frames/s", "device", "on disk", "a frame")
    parameters = "".join(
        f"<pre><b>{text(stage.name)}</b>{_version(k, stage)}\n{text(_yaml(values))}</pre>"
        for stage in stages
        if any(stage.parameters)
        for k, values in enumerate(stage.parameters[:5], start=1)
    )
    details = folded("Parameters of the stages", parameters) if parameters else ""
    about = "Time spent computing, summed over videos; decoding and writing run beside it."
    return section("Stages", table(head, rows, (1, 2, 3, 5, 6)) + details, about)


def _untrained(stage: StageSummary) -> str:
    if not stage.by_random_weights:
        return ""
    return '<span class="under bad">random weights</span>'


def _version(number: int, stage: StageSummary) -> str:
    count = len(stage.parameters)
    return f", version {number} of {count}" if count > 1 else ""


def _excluded(journal: Journal) -> str:
    counts, read = excluded_samples(journal)
    if not counts:
        return ""
    of_all = f" of {read:,} read" if read else ""
    whole = read or counts.total()
    rows = [
        [text(reason.replace("_", " ")), f"{count:,}", f"{count / whole:.1%}{meter(count / whole)}"]
        for reason, count in counts.most_common()
    ]
    share = "of all" if read else "of those left out"
    about = f"{counts.total():,} gaze samples{of_all} are in no fixated point, by reason."
    return section("Gaze left out", table(("reason", "samples", share), rows, (1, 2)), about)


def _videos(videos: pd.DataFrame) -> str:
    rows = []
    for name, row in videos[:MAX_ROWS].iterrows():
        kind = "good" if row.status == "complete" else "bad" if row.status in _PROBLEMS else ""
        rows.append(
            [
                text(name),
                text(_or_blank(row.split)),
                f'<td class="{kind}">{text(row.status)}</td>',
                _or_blank(row.frames, ",d"),
                _or_blank(row.fps, ".4g"),
                _or_blank(row.duration_seconds, ".1f"),
                f"{_or_blank(row.width_px)}×{_or_blank(row.height_px)}"
                if pd.notna(row.width_px)
                else "",
                _or_blank(row.fixations, ",d"),
                _or_blank(row.empty_frames, ",d"),
                size(row.stored_bytes) if pd.notna(row.stored_bytes) else "",
            ]
        )
    head = ("video", "split", "status", "frames", "fps", "seconds", "pixels", "fixations",
            "empty frames", "on disk")  # fmt: skip
    listing = table(head, rows, range(3, 10))
    if len(rows) > 24:
        listing = folded(f"{len(rows):,} videos", listing)
    about = ""
    if len(videos) > MAX_ROWS:
        about = f"The first {MAX_ROWS:,} of {len(videos):,}; index.parquet in the store has all."
    return section("All videos", listing, about)


def _origin(store: Store) -> str:
    software = table(
        ("software", "version"), [[text(k), text(v)] for k, v in store.software.items()]
    )
    opening = f"import foveal\nstore = foveal.open_store({str(store.location)!r})\nstore.videos"
    return section(
        "How it was made",
        folded("Recipe, every default visible", f"<pre>{text(_yaml(store.recipe))}</pre>")
        + folded("Software", software)
        + folded("Open it in Python", f"<pre>{text(opening)}</pre>"),
    )


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


def _or_blank(value: Any, form: str = "") -> str:
    return "" if pd.isna(value) else format(value, form)
