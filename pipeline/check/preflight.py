"""Reads a dataset cheaply before a night is spent on it, and says what is wrong or odd.

Every file is looked at, but few are read whole: videos up to their first frame, gaze tables whole,
of pictures only the first, middle and last of each video.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from foveal.pipeline.check.video import Finding, Row, look
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources import list_videos, open_source
from foveal.registry import find

__all__ = ["Finding", "Report", "Row", "check"]


@dataclass(frozen=True)
class Report:
    """The outcome of a preflight.

    Attributes
    ----------
    dataset, form, root : str
    reconcile : str
        The rule in the recipe for frames and annotation that differ in number.
    videos : dict of str to int
        Found by split.
    published : dict of str to int
        As the dataset's authors count them; empty where unknown.
    rows : tuple of Row
    findings : tuple of Finding
        The dataset's first, then in the order of the videos.
    """

    dataset: str
    form: str
    root: str
    reconcile: str
    videos: Mapping[str, int]
    published: Mapping[str, int]
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing would be quarantined."""
        return not any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types."""
        return {**asdict(self), "ok": self.ok}


def check(
    recipe: Recipe,
    *,
    limit: int | None = None,
    workers: int = 4,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Look at every video of a recipe's dataset and its annotation.

    Parameters
    ----------
    recipe : Recipe
    limit : int, optional
        Only the first so many videos.
    workers : int
        Threads that read.
    advance : callable
        Called with videos done and in all.

    Returns
    -------
    Report

    Raises
    ------
    RecipeError
        Where the dataset cannot be listed at all.
    """
    source = open_source(recipe.dataset, recipe.fixations)
    videos = list_videos(source, recipe.dataset)[:limit]
    wants_gaze = recipe.fixations is not None or recipe.density is not None
    rows, findings = [], []
    with ThreadPoolExecutor(workers) as pool:
        looked = pool.map(lambda video: look(source, video, recipe, wants_gaze), videos)
        for done, (row, found) in enumerate(looked, start=1):
            rows.append(row)
            findings.extend(found)
            advance(done, len(videos))
    form = getattr(recipe.dataset, "form", "raw")
    counts = Counter(video.split or "all" for video in videos)
    forms = find("sources", recipe.dataset.kind).forms
    edition = getattr(recipe.dataset, "edition", None)
    fitting = (
        one.videos
        for one in forms
        if one.settings.get("form", form) == form
        and one.settings.get("edition", edition) == edition
    )
    published: Mapping[str, int] = next(fitting, {})
    return Report(
        dataset=recipe.dataset.kind,
        form=form,
        root=str(recipe.dataset.root),
        reconcile=recipe.dataset.reconcile,
        videos=dict(counts),
        published={split: count for split, count in published.items() if split in counts},
        rows=tuple(rows),
        findings=(
            *(_missing(counts, published) if limit is None else ()),
            *(Finding("note", "", one) for one in [getattr(source, "left_out", "")] if one),
            *findings,
        ),
    )


def _missing(counts: Mapping[str, int], published: Mapping[str, int]) -> list[Finding]:
    return [
        Finding("warning", "", f"{counts[split]} of {published[split]} published {split} videos")
        for split in counts
        if counts[split] != published.get(split, counts[split])
    ]
