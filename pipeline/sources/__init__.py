"""Dataset adapters: each file reads one dataset, and all give the same `Video` and `Fixations`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from foveal.errors import RecipeError
from foveal.pipeline.recipe.section import DatasetSection, GazeSelection
from foveal.pipeline.sources.base import Dataset, Source
from foveal.pipeline.video.types import Video
from foveal.registry import find, plugins

_log = logging.getLogger("foveal")


def open_source(dataset: Any, gaze: GazeSelection | None) -> Source:
    """Open the source that a recipe's dataset section describes.

    Parameters
    ----------
    dataset : DatasetSection
        The section.
    gaze : GazeSelection or None
        The recipe's choice of observers; None selects all.

    Raises
    ------
    RecipeError
        The root does not exist, or the settings do not fit its content.
    """
    about: Dataset = find("sources", dataset.kind)
    return about.open(dataset, gaze)


def known_dataset(kind: str) -> Dataset | None:
    """Find what is registered about a dataset; None where its package is not installed.

    Parameters
    ----------
    kind : str
        The recipe's ``dataset.kind``.
    """
    found: Any = find("sources", kind) if kind in plugins("sources") else None
    return found if isinstance(found, Dataset) else None


def annotated_frames(source: Source, video: Video) -> int | None:
    """Count the frames that the annotation of a video has; None where nothing says it.

    The count is known from listing, or the source opens the annotation and answers
    ``annotated_frames(video)``.

    Parameters
    ----------
    source : Source
    video : Video

    Raises
    ------
    GazeError
        The annotation cannot be read, or its parts differ in length and the rule is ``strict``.
    """
    count: Callable[[Video], int | None] | None = getattr(source, "annotated_frames", None)
    if video.expected_frames is not None or count is None or not video.has_ground_truth:
        return video.expected_frames
    return count(video)


def list_videos(source: Source, dataset: DatasetSection) -> list[Video]:
    """List all videos of the wanted splits; the log names files beside them that are not read.

    Parameters
    ----------
    source : Source
    dataset : DatasetSection
        The recipe's section that describes it.

    Raises
    ------
    RecipeError
        There is no video, or two have the same id.
    """
    videos = list(source.videos())
    if not videos:
        splits = dataset.resolved().get("splits")
        wanted = f" of the wanted splits ({', '.join(splits)})" if splits else ""
        raise RecipeError(
            f"dataset.root {dataset.root} holds no video{wanted}; "
            f"`foveal init {dataset.root}` shows what is there"
        )
    twice = [name for name, count in Counter(video.id for video in videos).items() if count > 1]
    if twice:
        paths = ", ".join(str(video.path) for video in videos if video.id == twice[0])
        raise RecipeError(f"two videos are called {twice[0]}: {paths}; rename or remove one")
    if beside := getattr(source, "left_out", ""):
        _log.warning(beside)
    return videos
