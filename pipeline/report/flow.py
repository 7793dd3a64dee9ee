"""The report's section on optical flow: its quality, and whether the wanted method made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

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


class FlowSummary:
    """What all marks of a store say of its flow.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        table = store.videos
        self._wanted = [flow["method"] for flow in store.recipe.get("flow") or ()]
        self._order = {str(video): place for place, video in enumerate(table.index)}
        told = table[table.status.isin(("complete", "partial")) & table.reason.notna()].reason
        self._reasons = {str(video): str(reason) for video, reason in told.items()}
        self._figures: dict[str, dict[str, Figures]] = {}
        self._chosen: Counter[tuple[str, str]] = Counter()
        self._fallbacks: list[dict[str, str]] = []

    def add(self, video: str, marks: Mapping[str, Mark]) -> None:
        """Add the marks of one video, given by stage."""
        made = [mark for mark in marks.values() if _is_flow(mark)]
        for mark in made:
            if "quality" in mark.provenance:
                quality = mark.provenance["quality"]
                figures = {name: quality.get(name) for name in _FIGURES}
                of_stage = self._figures.setdefault(mark.stage, {})
                of_stage[video] = {**figures, "flags": quality["flags"]}
        for stage, mark in marks.items():
            if mark.provenance.get("chosen_by") == "auto":
                self._chosen[stage, str(mark.provenance["because"])] += 1
        self._note_fallback(video, made)

    def _note_fallback(self, video: str, made: Sequence[Mark]) -> None:
        """Note that a video lacks a wanted method because another one stood in for it.

        The marks say this, or the index's reason where the other method's flow was complete before.
        A video that has got the wanted flow since is left out.
        """
        if video not in self._order:
            return
        reasons = (str(mark.provenance.get("fallback_because", "")) for mark in made)
        why = next(filter(None, reasons), "") or self._reasons.get(video, "")
        there = {method for mark in made for method in _methods_of(mark)}
        missing = [method for method in self._wanted if method not in there]
        if why and missing:
            self._fallbacks.append({"video": video, "wanted": ", ".join(missing), "why": why})

    def result(self) -> dict[str, Any] | None:
        """All there is to say on a store's flow; None where there is nothing.

        Returns
        -------
        dict or None
            ``headings`` of the figures; ``methods`` (``name``, ``videos``, how many are
            ``suspicious``, and by figure ``median``, ``most`` and in which ``video``, or None where
            no video has it); ``choices`` of ``auto``, a sentence for each reason; ``suspicious``
            videos (``video``, ``method``, ``flags``, ``shown``); ``fallbacks`` (``video``, what it
            lacks, ``why``).
        """
        found = {name: dict(sorted(self._figures[name].items())) for name in sorted(self._figures)}
        if not found and not self._chosen and not self._fallbacks:
            return None
        return {
            "headings": [heading for heading, _ in _FIGURES.values()],
            "methods": [_method(name, figures) for name, figures in found.items()],
            "choices": [
                f"Method auto made {stage} of {count:,} video{'' if count == 1 else 's'}: {why}."
                for (stage, why), count in self._chosen.items()
            ],
            "suspicious": [
                {"video": video, "method": name, "flags": of["flags"], "shown": _shown(of)}
                for name, figures in found.items()
                for video, of in figures.items()
                if of["flags"]
            ],
            "fallbacks": sorted(self._fallbacks, key=lambda one: self._order[one["video"]]),
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
    """The median of some videos, the largest, and the video that has it."""
    known = [(of[figure], video) for video, of in figures.items() if of.get(figure) is not None]
    if not known:
        return None
    most, video = max(known)
    middle = median(value for value, _ in known)
    return {"median": form.format(middle), "most": form.format(most), "video": video}


def _shown(of: Figures) -> list[str]:
    known = [(form, of.get(name)) for name, (_, form) in _FIGURES.items()]
    return ["" if value is None else form.format(value) for form, value in known]


def _methods_of(mark: Mark) -> set[object]:
    """The method that made a flow, and the one that chose it."""
    parameters = mark.provenance.get("parameters", {})
    estimator = parameters.get("estimator", {})
    return {parameters.get("method"), estimator.get("method"), mark.provenance.get("chosen_by")}
