"""Predictions that no network makes, written into a store like those of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from foveal.errors import RecipeError, StoreError
from foveal.pipeline.learn.predict import PREFIX, Advance, Prediction
from foveal.pipeline.stages.base import Stage
from foveal.pipeline.stages.beside import write_beside
from foveal.pipeline.stages.frames import TIMELINE
from foveal.storage.index import refresh_index
from foveal.storage.location import Location
from foveal.storage.marks import Mark, infos_of, read_journal
from foveal.storage.reader import open_store
from foveal.storage.root import store_lock
from foveal.storage.schema import ArraySpec

MakeStage = Callable[[str, Mapping[str, Mark]], Stage | str]
"""Gives the stage of a video from its marks, or says why it can have none."""


def array_name(name: str) -> str:
    """``saliency_<name>``, where the name is one.

    Raises
    ------
    RecipeError
    """
    name = name.removeprefix(PREFIX)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name):
        raise RecipeError(
            f"prediction name {name!r}: use lower-case letters, digits and _ (ensemble_2)"
        )
    return PREFIX + name


def map_spec(array: str, size: tuple[int, int], long_name: str, **about: Any) -> ArraySpec:
    """A prediction's array of float16 maps."""
    return ArraySpec(
        array,
        ("time", f"{array}_y", f"{array}_x"),
        size,
        np.dtype(np.float16),
        {"long_name": long_name, "units": "1", **about},
        axis="frame",
        kind="map",
        role="prediction",
    )


def write_made_maps(
    url: str,
    make: MakeStage,
    *,
    split: str | None = None,
    videos: Sequence[str] | None = None,
    advance: Advance = lambda video, done, frames: None,
) -> list[Prediction]:
    """Write one more prediction of each video; what is complete already is left alone.

    Parameters
    ----------
    url : str
        The store.
    make : callable
    split : str, optional
        Only videos of this split.
    videos : sequence of str, optional
        Only these.
    advance : callable

    Raises
    ------
    StoreError, StoreLocked
        The store lacks a video, or another build is writing it.
    """
    store, location = open_store(url), Location(url)
    wanted = store.select(split) if videos is None else list(videos)
    results = []
    with store_lock(location):
        marks, quarantined = read_journal(location, wanted)
        for video in wanted:
            if video in quarantined:
                reason = f"quarantined: {quarantined[video].reason}"
                results.append(Prediction(video, "skipped", reason))
                continue
            if TIMELINE not in marks.get(video, {}):
                raise StoreError(f"{url}: nothing of video {video!r} is complete; build it first")
            stage = make(video, marks[video])
            if isinstance(stage, str):
                results.append(Prediction(video, "skipped", stage))
                continue
            frames = infos_of(marks[video])[TIMELINE].items

            def done(count: int, video: str = video, frames: int = frames) -> None:
                advance(video, count, frames)

            mark = write_beside(location, video, marks[video], stage, advance=done)
            results.append(
                Prediction(video, "unchanged" if mark is None else "complete", frames=frames)
            )
        refresh_index(location, [result.video for result in results])
    return results
