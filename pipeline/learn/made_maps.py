"""This module writes predictions that no network makes, in the same way as those of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from foveal.pipeline.learn.predict import PREFIX, Advance, Prediction, check_name, predict_each
from foveal.pipeline.stages.base import Stage
from foveal.pipeline.stages.beside import write_beside
from foveal.pipeline.stages.frames import TIMELINE
from foveal.storage.location import Location
from foveal.storage.marks import Mark, infos_of
from foveal.storage.reader import open_store
from foveal.storage.schema import ArraySpec

MakeStage = Callable[[str, Mapping[str, Mark]], Stage | str]
"""Returns the stage of a video from its marks, or the reason why it can have none."""


def array_name(name: str) -> str:
    """Return ``saliency_<name>``.

    Raises
    ------
    RecipeError
        The name is not valid.
    """
    name = name.removeprefix(PREFIX)
    check_name(name)
    return PREFIX + name


def map_spec(array: str, size: tuple[int, int], long_name: str, **about: Any) -> ArraySpec:
    """Describe a prediction's array of float16 maps."""
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
    """Write one more prediction of each video; complete ones are not computed again.

    Parameters
    ----------
    url : str
        The store.
    make : callable
        See `MakeStage`.
    split : str, optional
    videos : sequence of str, optional
    advance : callable
        Called with a video, the number of frames done and the number of its frames.

    Returns
    -------
    list of Prediction
        One per video.

    Raises
    ------
    StoreError, StoreLocked
        The store lacks a video, or a build that must be alone is at work on it.
    """

    def one(video: str, marks: Mapping[str, Mark], location: Location) -> Prediction:
        stage = make(video, marks)
        if isinstance(stage, str):
            return Prediction(video, "skipped", stage)
        frames = infos_of(marks)[TIMELINE].items
        mark = write_beside(
            location, video, marks, stage, advance=lambda count: advance(video, count, frames)
        )
        return Prediction(video, "unchanged" if mark is None else "complete", frames=frames)

    return predict_each(open_store(url), Location(url), split, videos, one)
