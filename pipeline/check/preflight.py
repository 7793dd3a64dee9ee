"""Check a dataset in minutes, before a build spends hours on it.

Every file is checked, but few are read to the end: videos up to their first frame, tables of gaze
completely, and of the pictures of a video only the first, middle and last.
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


@dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes
    ----------
    dataset, form, root : str
        Kind of the dataset, its published form, and its folder.
    reconcile : str
        The recipe's rule for frames and annotation that differ in number.
    videos : mapping of str to int
        Number of videos found, by split.
    published : mapping of str to int
        Number of videos by the dataset's authors; empty where it is unknown.
    rows : tuple of Row
        One per video.
    findings : tuple of Finding
        Those about the dataset first, then in the order of the videos.
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
        """Whether a build would quarantine no video."""
        return not any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Convert the report to plain JSON types."""
        return {**asdict(self), "ok": self.ok}


def check(
    recipe: Recipe,
    *,
    limit: int | None = None,
    workers: int = 4,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Check every video of a recipe's dataset and its annotation.

    Parameters
    ----------
    recipe : Recipe
    limit : int, optional
        Number of videos to check, from the first; default is all.
    workers : int
        Threads that read.
    advance : callable
        Called with the number of videos done and of all videos.

    Raises
    ------
    RecipeError
        The dataset cannot be listed.
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
