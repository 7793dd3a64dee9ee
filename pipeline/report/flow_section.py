"""The report on optical flow: can it be trusted, and was it made by the method that was wanted?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import pandas as pd

from foveal.pipeline.report.page import MAX_ROWS, first_rows, prose, section, table, text
from foveal.pipeline.report.survey import Journal
from foveal.storage.marks import Mark
from foveal.storage.reader import Store

_FIGURES = {
    "mean_magnitude_px": ("mean motion", "{:.2f} px"),
    "p99_magnitude_px": ("99th percentile", "{:.1f} px"),
    "photometric_error": ("grey error", "{:.1f}"),
    "photometric_error_unwarped": ("without flow", "{:.1f}"),
    "forward_backward_px": ("there and back", "{:.2f} px"),
    "non_finite_values": ("not finite", "{:,.0f}"),
}
"""Heading and form of the figures of `foveal.models.flow.quality`."""


@dataclass(frozen=True)
class FlowOfVideo:
    """One method's flow of one video: its figures, with ``flags``."""

    video: str
    method: str
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Fallback:
    """A video that was computed by another method than the recipe wants.

    Attributes
    ----------
    video : str
    wanted : str
        Methods that it lacks.
    why : str
    """

    video: str
    wanted: str
    why: str


def flows(journal: Journal) -> list[FlowOfVideo]:
    """Flow of every video and method that has figures, by method and video."""
    found = [
        FlowOfVideo(video, stage, mark.provenance["quality"])
        for video, marks in journal.items()
        for stage, mark in marks.items()
        if "quality" in mark.provenance
    ]
    return sorted(found, key=lambda flow: (flow.method, flow.video))


def flagged(found: list[FlowOfVideo]) -> list[FlowOfVideo]:
    """Those whose figures say that something is wrong."""
    return [flow for flow in found if flow.figures["flags"]]


def fallbacks(store: Store, journal: Journal) -> list[Fallback]:
    """Videos that lack a method the recipe wants because another one stood in for it.

    Told by the marks; by the index's reason where the other method's flow was complete before. A
    video that has got the wanted flow since is not listed.
    """
    wanted = [f"flow_{flow['method']}" for flow in store.recipe.get("flow") or ()]
    found = []
    for video, row in store.videos.iterrows():
        marks = journal.get(str(video), {})
        why = next(filter(None, (_fallback_because(mark) for mark in marks.values())), "")
        if not why and row.status in ("complete", "partial") and pd.notna(row.reason):
            why = str(row.reason)
        missing = [stage for stage in wanted if not _made(stage, marks)]
        if why and missing:
            found.append(Fallback(str(video), ", ".join(missing), why))
    return found


def _made(stage: str, marks: Mapping[str, Mark]) -> bool:
    if stage != "flow_auto":
        return stage in marks
    return any("chosen_by" in mark.provenance for mark in marks.values())


def _fallback_because(mark: Mark) -> str:
    return str(mark.provenance.get("fallback_because", ""))


def flow_section(store: Store, journal: Journal) -> str:
    """Figures by method, videos with suspicious flow, choices of ``auto``, fallbacks."""
    found = flows(journal)
    parts = [
        _methods(found),
        "".join(f"<p>{prose(line)}</p>" for line in _choices(journal)),
        _suspicious(flagged(found)),
        _fallen_back(fallbacks(store, journal)),
    ]
    content = "".join(part for part in parts if part)
    if not content:
        return ""
    about = (
        "Of each video: motion in pixels of the grid that it is computed on, mean grey difference "
        "(0 to 255) of consecutive frames after following the flow and without it, and how far "
        "from its start a pixel ends after going there and back. By method the median over the "
        "videos, and below it the largest and whose it is."
    )
    return section("Flow", content, about)


def _methods(found: list[FlowOfVideo]) -> str:
    by_method: dict[str, list[FlowOfVideo]] = {}
    for flow in found:
        by_method.setdefault(flow.method, []).append(flow)
    rows = []
    for method, its_flows in by_method.items():
        bad = len(flagged(its_flows))
        rows.append(
            [text(method), f"{len(its_flows):,}"]
            + [_spread(its_flows, figure) for figure in _FIGURES]
            + [f'<td class="n bad">{bad:,}</td>' if bad else "0"]
        )
    if not rows:
        return ""
    head = ("flow", "videos", *(name for name, _ in _FIGURES.values()), "suspicious")
    return table(head, rows, range(1, len(head)))


def _spread(found: list[FlowOfVideo], figure: str) -> str:
    """The median of some videos, and below it the largest and whose it is."""
    known = [(value, flow.video) for flow in found if (value := flow.figures[figure]) is not None]
    if not known:
        return ""
    form = _FIGURES[figure][1]
    most, video = max(known)
    return (
        f"{form.format(median(value for value, _ in known))}"
        f'<span class="under">{form.format(most)}<br>{text(video)}</span>'
    )


def _choices(journal: Journal) -> Iterator[str]:
    """What ``auto`` chose, one line for each reason."""
    counts: dict[tuple[str, str], int] = {}
    for marks in journal.values():
        for stage, mark in marks.items():
            if mark.provenance.get("chosen_by") == "auto":
                key = stage, str(mark.provenance["because"])
                counts[key] = counts.get(key, 0) + 1
    for (stage, because), count in counts.items():
        yield f"Method auto took {stage.removeprefix('flow_')} for {_videos(count)}: {because}."


def _suspicious(found: list[FlowOfVideo]) -> str:
    if not found:
        return ""
    rows = []
    for flow in found[:MAX_ROWS]:
        flags = ", ".join(flag.replace("_", "-") for flag in flow.figures["flags"])
        figures = [
            "" if (value := flow.figures[name]) is None else form.format(value)
            for name, (_, form) in _FIGURES.items()
        ]
        rows.append(
            [text(flow.video), text(flow.method), f'<td class="bad">{text(flags)}</td>', *figures]
        )
    head = ("video", "flow", "looks", *(name for name, _ in _FIGURES.values()))
    about = (
        "Constant: the same motion everywhere although the picture changes. Exploding: one pixel "
        "in a hundred moves farther than the picture's diagonal. Non-finite: values that are no "
        "numbers."
    )
    return (
        f'<h3>Suspicious flow</h3><p class="faint">{text(about)}{first_rows(len(found))}</p>'
        + table(head, rows, range(3, len(head)))
    )


def _fallen_back(found: list[Fallback]) -> str:
    if not found:
        return ""
    rows = [
        [text(each.video), f'<td class="bad">{text(each.wanted)}</td>',
         f'<td class="long">{text(each.why)}</td>']
        for each in found[:MAX_ROWS]
    ]  # fmt: skip
    about = "Computed by another method than the recipe wants; the next build tries again."
    return f'<h3>Fallbacks</h3><p class="faint">{text(about)}{first_rows(len(found))}</p>' + table(
        ("video", "lacks", "why"), rows
    )


def _videos(count: int) -> str:
    return f"{count:,} video{'' if count == 1 else 's'}"
