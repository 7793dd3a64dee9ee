"""What a build of a whole dataset has to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from foveal.errors import RecipeError
from foveal.pipeline.build.plan import VideoPlan
from foveal.pipeline.build.run import VideoResult
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.video.types import Video
from foveal.storage.marks import Quarantine


@dataclass(frozen=True)
class BuildPlan:
    """What a build will do.

    Attributes
    ----------
    to_do : list of VideoPlan
        Videos with pending stages.
    settled : list of VideoResult
        Videos that need nothing: unchanged, or quarantined before for the same inputs.
    touched : list of VideoPlan
        Unchanged videos with files that were touched or moved: their marks are updated.
    wanted : dict of str to list of str
        Stages that the recipe wants, by video.
    rows : dict of str to dict
        Index rows of unchanged videos, kept so that their marks are read once.
    quarantined : dict of str to Quarantine
        Records of the settled videos.
    """

    to_do: list[VideoPlan] = field(default_factory=list)
    settled: list[VideoResult] = field(default_factory=list)
    touched: list[VideoPlan] = field(default_factory=list)
    wanted: dict[str, list[str]] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    quarantined: dict[str, Quarantine] = field(default_factory=dict)


def select(known: Mapping[str, Video], only: Sequence[str], limit: int | None) -> list[Video]:
    """Select the videos of a run.

    Raises
    ------
    RecipeError
        Where `only` names one that is not there.
    """
    videos = list(known.values())
    if only:
        missing = [name for name in only if name not in known]
        if missing:
            some = ", ".join(list(known)[:5])
            raise RecipeError(
                f"no video {', '.join(missing)} in the dataset's wanted splits; "
                f"there are {len(known)}: {some}{', …' if len(known) > 5 else ''}"
            )
        videos = [known[name] for name in only]
    return videos if limit is None else videos[:limit]


def without_device(recipe: Recipe) -> Recipe | None:
    """The recipe with what its sections fall back to; None where none may.

    Arrays of the substitute have its name: methods are never mixed inside one.
    """
    sections = recipe.stage_sections()
    if all(section.without_device() is None for section in sections):
        return None
    return recipe.with_sections(lambda section: section.without_device() or section)
