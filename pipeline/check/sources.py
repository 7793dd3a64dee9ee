"""Check whether the raw files of a dataset are still those that a store was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from foveal.errors import InputError
from foveal.machine import forget_hashes
from foveal.pipeline.build.digests import content_of, video_files
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources import list_videos, open_source
from foveal.storage.marks import Mark
from foveal.storage.verify import Problem

_IDENTITY = {"content_sha256": "video", "annotations_sha256": "annotations"}
"""Files by the key of a stage's identity that remembers their content."""


def check_sources(
    recipe: Recipe,
    marks: Mapping[str, Mapping[str, Mark]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Problem]:
    """Hash the raw files of every stored video again, and compare with what its stages remember.

    Parameters
    ----------
    recipe : Recipe
        The store's own recipe, with the present folder of the dataset as ``dataset.root``.
    marks : mapping
        Marks of the store, by video and stage.
    progress : callable
        Called with the number of videos done and of all videos.

    Returns
    -------
    list of Problem
        One per stage whose files are missing, unreadable or changed.

    Raises
    ------
    RecipeError
        The dataset cannot be listed.
    """
    source = open_source(recipe.dataset, recipe.fixations)
    videos = {video.id: video for video in list_videos(source, recipe.dataset)}
    forget_hashes()
    problems = []
    for done, (name, stages) in enumerate(marks.items(), start=1):
        video = videos.get(name)
        if video is None:
            message = f"no such video is listed below {recipe.dataset.root}"
            problems.append(Problem(name, "", "", "missing", message))
            continue
        files = {"video": video_files(video), "annotations": list(video.annotation_paths)}
        found: dict[str, tuple[str, str]] = {}
        for stage, mark in stages.items():
            for key in _IDENTITY.keys() & mark.identity.keys():
                what = _IDENTITY[key]
                if what not in found:
                    found[what] = _hash(what, files[what])
                sha256, message = found[what]
                if sha256 != mark.identity[key]:
                    where = str(files[what][0] if len(files[what]) == 1 else video.path)
                    problems.append(Problem(name, stage, where, "changed", message))
        progress(done, len(marks))
    return problems


def _hash(what: str, paths: list[Path]) -> tuple[str, str]:
    """SHA-256 of files now, and the message for a store that remembers another."""
    try:
        sha256 = content_of(paths, None, InputError).sha256
    except InputError as error:
        return "", str(error)
    return sha256, f"{what}: the files have changed since the stage was computed"
