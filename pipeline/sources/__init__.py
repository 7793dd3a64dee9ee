"""Dataset adapters: one file per dataset, all yielding the same `Video` and `Fixations`."""

from __future__ import annotations

from typing import Any

from foveal.pipeline.recipe.section import GazeSelection
from foveal.pipeline.sources.base import Dataset, Source
from foveal.registry import find


def open_source(dataset: Any, gaze: GazeSelection | None) -> Source:
    """The source of a recipe's dataset section.

    Raises
    ------
    RecipeError
        Where the root is not there or the settings do not fit what lies in it.
    """
    about: Dataset = find("sources", dataset.kind)
    return about.open(dataset, gaze)
