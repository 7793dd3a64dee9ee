"""This module makes the pictures of one moment: frame, ground truth, and the map of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.pipeline.preview.panels import Picture, as_map, backdrop, heat, resized
from foveal.pipeline.preview.view import Moment, VideoView

PANEL_WIDTH_PX = 320


@dataclass(frozen=True)
class Shown:
    """A frame and the pictures of it.

    Attributes
    ----------
    video : str
    frame : int
    seconds : float
    panels : mapping of str to Picture or None
        By column: `FRAME`, `TRUTH`, and the arrays of models; None where the video lacks it.
    """

    video: str
    frame: int
    seconds: float
    panels: Mapping[str, Picture | None]


FRAME, TRUTH = "frame", "ground truth"


def shown_moments(view: VideoView, models: Sequence[str], frames: Sequence[int]) -> list[Shown]:
    """Return the pictures of some frames; maps are drawn over the dimmed frame.

    Each map is shown from its minimum to its maximum, the ground truth from 0.

    Parameters
    ----------
    view : VideoView
    models : sequence of str
        Arrays of predictions.
    frames : sequence of int
    """
    height, width = view.source_size
    size = (max(2, round(PANEL_WIDTH_PX * height / width)), PANEL_WIDTH_PX)
    maps = [each for each in (view.ground_truth_map, *models) if each in view.infos]
    names = [*maps, *([view.ground] if view.ground else [])]
    ordered = sorted({int(frame) for frame in frames})
    found = {
        moment.frame: _shown(view, models, moment, size) for moment in view.moments(names, ordered)
    }
    return [found[int(frame)] for frame in frames]


def _shown(view: VideoView, models: Sequence[str], moment: Moment, size: tuple[int, int]) -> Shown:
    picture = moment.items.get(view.ground or "")
    ground = backdrop(picture, size)
    panels: dict[str, Picture | None] = {
        FRAME: None if picture is None else np.asarray(resized(picture, size), np.uint8)
    }
    for column, name in ((TRUTH, view.ground_truth_map), *((each, each) for each in models)):
        item = moment.items.get(name or "")
        floor = 0.0 if column == TRUTH else None
        panels[column] = None if item is None else heat(ground, _stretched(item, size, floor))
    return Shown(view.video, moment.frame, float(view.seconds[moment.frame]), panels)


def _stretched(
    item: NDArray[Any], size: tuple[int, int], floor: float | None
) -> NDArray[np.float32]:
    """Resize a map to a panel, with values from 0 to 1."""
    values = np.nan_to_num(as_map(item))
    low = float(values.min()) if floor is None else floor
    high = float(values.max())
    return np.asarray(resized((values - low) / np.float32(max(high - low, 1e-12)), size))
