"""What the report says of optical flow: can it be trusted, and is it by the method wanted?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import pandas as pd

from foveal.pipeline.report.journal import Journal
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

    @property
    def flags(self) -> list[str]:
        """What looks wrong."""
        return list(self.figures["flags"])

    @property
    def values(self) -> list[str]:
        """The figures for people, in the order of the headings."""
        known = [(form, self.figures.get(name)) for name, (_, form) in _FIGURES.items()]
        return ["" if value is None else form.format(value) for form, value in known]


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


@dataclass(frozen=True)
class FlowReport:
    """Everything on flow.

    Attributes
    ----------
    headings : list of str
        Of the figures.
    methods : list of dict
        ``name``, ``videos``, ``suspicious`` (a count) and ``figures``: for each ``median``,
        ``most`` and whose that is (``video``), or None where no video has it.
    choices : list of str
        What ``auto`` chose, a sentence for each reason.
    suspicious : list of FlowOfVideo
        Those whose figures say that something is wrong.
    fallbacks : list of Fallback
    """

    headings: list[str]
    methods: list[dict[str, Any]]
    choices: list[str]
    suspicious: list[FlowOfVideo]
    fallbacks: list[Fallback]


def flow_of(store: Store, journal: Journal) -> FlowReport | None:
    """All there is to say on a store's flow; None where there is nothing."""
    found = [
        FlowOfVideo(video, stage, mark.provenance["quality"])
        for video, marks in journal.items()
        for stage, mark in marks.items()
        if _is_flow(mark) and "quality" in mark.provenance
    ]
    found.sort(key=lambda each: (each.method, each.video))
    report = FlowReport(
        [heading for heading, _ in _FIGURES.values()],
        [_method(name, found) for name in sorted({each.method for each in found})],
        _choices(journal),
        [each for each in found if each.flags],
        _fallbacks(store, journal),
    )
    return report if report.methods or report.choices or report.fallbacks else None


def _is_flow(mark: Mark) -> bool:
    return any(info.kind == "flow" for info in mark.infos.values())


def _method(name: str, found: list[FlowOfVideo]) -> dict[str, Any]:
    its = [each for each in found if each.method == name]
    return {
        "name": name,
        "videos": len(its),
        "suspicious": sum(bool(each.flags) for each in its),
        "figures": [_spread(its, figure, form) for figure, (_, form) in _FIGURES.items()],
    }


def _spread(found: list[FlowOfVideo], figure: str, form: str) -> dict[str, str] | None:
    """The median of some videos, the largest, and whose it is."""
    known = [
        (value, each.video) for each in found if (value := each.figures.get(figure)) is not None
    ]
    if not known:
        return None
    most, video = max(known)
    middle = median(value for value, _ in known)
    return {"median": form.format(middle), "most": form.format(most), "video": video}


def _choices(journal: Journal) -> list[str]:
    counts: dict[tuple[str, str], int] = {}
    for marks in journal.values():
        for stage, mark in marks.items():
            if mark.provenance.get("chosen_by") == "auto":
                key = stage, str(mark.provenance["because"])
                counts[key] = counts.get(key, 0) + 1
    return [
        f"Method auto made {stage} of {count:,} video{'' if count == 1 else 's'}: {because}."
        for (stage, because), count in counts.items()
    ]


def _fallbacks(store: Store, journal: Journal) -> list[Fallback]:
    """Videos that lack a method the recipe wants because another one stood in for it.

    Told by the marks; by the index's reason where the other method's flow was complete before. A
    video that has got the wanted flow since is not listed.
    """
    wanted = [flow["method"] for flow in store.recipe.get("flow") or ()]
    found = []
    for video, row in store.videos.iterrows():
        made = [mark for mark in journal.get(str(video), {}).values() if _is_flow(mark)]
        reasons = (str(mark.provenance.get("fallback_because", "")) for mark in made)
        why = next(filter(None, reasons), "")
        if not why and row.status in ("complete", "partial") and pd.notna(row.reason):
            why = str(row.reason)
        there = {method for mark in made for method in _methods_of(mark)}
        missing = [method for method in wanted if method not in there]
        if why and missing:
            found.append(Fallback(str(video), ", ".join(missing), why))
    return found


def _methods_of(mark: Mark) -> set[object]:
    """The method that made a flow, and the one that chose it."""
    parameters = mark.provenance.get("parameters", {})
    estimator = parameters.get("estimator", {})
    return {parameters.get("method"), estimator.get("method"), mark.provenance.get("chosen_by")}
