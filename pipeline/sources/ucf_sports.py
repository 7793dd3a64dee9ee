"""UCF-Sports: 150 clips of sports, with gaze by Mathe and Sminchisescu.

The repackaged form is that of W. Wang et al. (CVPR 2018). Its folders are spelled
``Diving-Side-001``, their files ``Diving-Side_001_001.png``; one clip has 55 maps but 54 images.
Its 135 to 222 fixated pixels per frame come from all observers, also from those with a task.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from foveal.pipeline.sources import mathe
from foveal.pipeline.sources.base import Dataset

_CLIP = re.compile(r"([A-Za-z-]+)[-_](\d+)")

_TEST_CLIPS = {
    "Diving-Side": 4,
    "Golf-Swing-Back": 5,
    "Golf-Swing-Front": 1,
    "Kicking-Front": 6,
    "Lifting": 2,
    "Riding-Horse": 4,
    "Run-Side": 4,
    "SkateBoarding-Front": 4,
    "Swing-Bench": 6,
    "Swing-SideAngle": 4,
    "Walk-Front": 7,
}
"""Number of test clips per action: the first ones; the others are for training."""


class UCFSportsConfig(mathe.MatheConfig):
    """UCF-Sports; see `MatheConfig`."""

    kind: Literal["ucf_sports"]
    fps: Annotated[float, Field(gt=0, le=1000)] = 10.0
    videos: str = "videos"
    gaze: str = "gaze_ucf_sports"


def _split_of(name: str) -> mathe.Split | None:
    match = _CLIP.fullmatch(name)
    if match is None:
        return None
    return "test" if int(match[2]) <= _TEST_CLIPS.get(match[1], 0) else "train"


_PUBLISHED = {"train": 103, "test": 47}

DATASET = Dataset(
    "ucf_sports",
    "UCF-Sports",
    UCFSportsConfig,
    partial(mathe.open_either, clip=_CLIP, split_of=_split_of),
    forms=mathe.forms(
        "UCF-Sports",
        "[A-Z]*-[0-9][0-9][0-9]",
        "videos",
        "gaze_ucf_sports",
        _PUBLISHED,
        _PUBLISHED,
    ),
    density=mathe.DENSITY,
    citation=mathe.CITATION,
    redistribution="forbidden",
    terms=mathe.TERMS + "https://www.crcv.ucf.edu/",
)
