"""Dataset adapters: one file per dataset, all yielding the same `Video` and `Fixations`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from foveal.errors import RecipeError
from foveal.pipeline.recipe.section import DatasetSection, GazeSelection
from foveal.pipeline.sources.base import Dataset, Source
from foveal.pipeline.video.types import Video
from foveal.registry import find

_log = logging.getLogger("foveal")


def open_source(dataset: Any, gaze: GazeSelection | None) -> Source:
    """The source of a recipe's dataset section.

    Raises
    ------
    RecipeError
        Where the root is not there or the settings do not fit what lies in it.
    """
    about: Dataset = find("sources", dataset.kind)
    return about.open(dataset, gaze)


def annotated_frames(source: Source, video: Video) -> int | None:
    """Frames that the annotation of a video has, None where the dataset does not tell.

    As listed; a source that must open the annotation to know answers ``annotated_frames(video)``.

    Raises
    ------
    GazeError
        The annotation cannot be read, or its own parts differ and the rule is strict.
    """
    count: Callable[[Video], int | None] | None = getattr(source, "annotated_frames", None)
    if video.expected_frames is not None or count is None or not video.has_ground_truth:
        return video.expected_frames
    return count(video)


def list_videos(source: Source, dataset: DatasetSection) -> list[Video]:
    """All videos of the wanted splits; files beside them that are not read are told in the log.

    Raises
    ------
    RecipeError
        There is none, or two bear the same id.
    """
    videos = list(source.videos())
    if not videos:
        splits = dataset.resolved().get("splits")
        wanted = f" of the wanted splits ({', '.join(splits)})" if splits else ""
        raise RecipeError(
            f"dataset.root {dataset.root} holds no video{wanted}; "
            f"`foveal init {dataset.root}` tells what is there"
        )
    twice = [name for name, count in Counter(video.id for video in videos).items() if count > 1]
    if twice:
        paths = ", ".join(str(video.path) for video in videos if video.id == twice[0])
        raise RecipeError(f"two videos are called {twice[0]}: {paths}; rename or remove one")
    if beside := getattr(source, "left_out", ""):
        _log.warning(beside)
    return videos
