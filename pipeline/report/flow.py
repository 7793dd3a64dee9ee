"""What the report says of optical flow: can it be trusted, and is it by the method wanted?"""

from __future__ import annotations

from collections.abc import Mapping
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


Figures = Mapping[str, Any]
"""Of one method's flow of one video, with ``flags``."""


def flow_of(store: Store, journal: Journal) -> dict[str, Any] | None:
    """All there is to say on a store's flow; None where there is nothing.

    Returns
    -------
    dict or None
        ``headings`` of the figures; ``methods`` (``name``, ``videos``, how many are ``suspicious``,
        and by figure ``median``, ``most`` and whose that is, or None where no video has it);
        ``choices`` of ``auto``, a sentence for each reason; ``suspicious`` videos (``video``,
        ``method``, ``flags``, ``shown``); ``fallbacks`` (``video``, what it lacks, ``why``).
    """
    found: dict[str, dict[str, Figures]] = {}
    for video, marks in sorted(journal.items()):
        for stage, mark in marks.items():
            if _is_flow(mark) and "quality" in mark.provenance:
                found.setdefault(stage, {})[video] = mark.provenance["quality"]
    choices, fallen_back = _choices(journal), _fallbacks(store, journal)
    if not found and not choices and not fallen_back:
        return None
    return {
        "headings": [heading for heading, _ in _FIGURES.values()],
        "methods": [_method(name, found[name]) for name in sorted(found)],
        "choices": choices,
        "suspicious": [
            {"video": video, "method": name, "flags": of["flags"], "shown": _shown(of)}
            for name in sorted(found)
            for video, of in found[name].items()
            if of["flags"]
        ],
        "fallbacks": fallen_back,
    }


def _is_flow(mark: Mark) -> bool:
    return any(info.kind == "flow" for info in mark.infos.values())


def _method(name: str, figures: Mapping[str, Figures]) -> dict[str, Any]:
    return {
        "name": name,
        "videos": len(figures),
        "suspicious": sum(bool(of["flags"]) for of in figures.values()),
        "figures": [_spread(figures, figure, form) for figure, (_, form) in _FIGURES.items()],
    }


def _spread(figures: Mapping[str, Figures], figure: str, form: str) -> dict[str, str] | None:
    """The median of some videos, the largest, and whose it is."""
    known = [(of[figure], video) for video, of in figures.items() if of.get(figure) is not None]
    if not known:
        return None
    most, video = max(known)
    middle = median(value for value, _ in known)
    return {"median": form.format(middle), "most": form.format(most), "video": video}


def _shown(of: Figures) -> list[str]:
    known = [(form, of.get(name)) for name, (_, form) in _FIGURES.items()]
    return ["" if value is None else form.format(value) for form, value in known]


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


def _fallbacks(store: Store, journal: Journal) -> list[dict[str, str]]:
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
            found.append({"video": str(video), "wanted": ", ".join(missing), "why": why})
    return found


def _methods_of(mark: Mark) -> set[object]:
    """The method that made a flow, and the one that chose it."""
    parameters = mark.provenance.get("parameters", {})
    estimator = parameters.get("estimator", {})
    return {parameters.get("method"), estimator.get("method"), mark.provenance.get("chosen_by")}
