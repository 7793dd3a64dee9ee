"""UCF-Sports: 150 clips of sports, gaze by Mathe and Sminchisescu.

The repackaged form is that of W. Wang et al. (CVPR 2018). Its folders are spelled
``Diving-Side-001``, the files in them ``Diving-Side_001_001.png``; one clip has 55 maps but 54
images. Its 135 to 222 fixated pixels a frame stem from all observers, those with a task included.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from foveal.pipeline.recipe.section import GazeSelection
from foveal.pipeline.sources.base import Dataset
from foveal.pipeline.sources.mathe import CITATION, TERMS, MatheConfig, MatheSource, Split, forms
from foveal.pipeline.sources.readers.clips import ClipSource, split_clips
from foveal.pipeline.sources.readers.files import dataset_root
from foveal.pipeline.video.density_kernels import DensityConstants, DensityKernel

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
"""The first so many clips of an action are for testing, the others for training."""


class UCFSportsConfig(MatheConfig):
    """UCF-Sports; see `MatheConfig`."""

    kind: Literal["ucf_sports"]
    fps: Annotated[float, Field(gt=0, le=1000)] = 10.0
    videos: str = "videos"
    gaze: str = "gaze_ucf_sports"


def open_ucf_sports(
    config: UCFSportsConfig, fixations: GazeSelection | None
) -> ClipSource | MatheSource:
    """The source for the form the recipe names."""
    root = dataset_root(config.root)
    if config.form == "raw":
        return MatheSource(config, fixations, split_of)
    return ClipSource(config, fixations, split_clips(root, config.splits, _CLIP, config.fps))


def split_of(name: str) -> Split | None:
    """``train`` or ``test`` of a clip, None where it is no clip of UCF-Sports."""
    match = _CLIP.fullmatch(name)
    if match is None:
        return None
    return "test" if int(match[2]) <= _TEST_CLIPS.get(match[1], 0) else "train"


# Repackaged by the DHF1K authors with the same filter as Hollywood-2.
DENSITY = DensityConstants(
    DensityKernel(20.0, half_width_px=74.5, offset_px=-0.5, border="replicate")
)

_PUBLISHED = {"train": 103, "test": 47}

DATASET = Dataset(
    "ucf_sports",
    "UCF-Sports",
    UCFSportsConfig,
    open_ucf_sports,
    forms=forms(
        "UCF-Sports",
        "[A-Z]*-[0-9][0-9][0-9]",
        "videos",
        "gaze_ucf_sports",
        _PUBLISHED,
        _PUBLISHED,
    ),
    density=DENSITY,
    citation=CITATION,
    redistribution="forbidden",
    terms=TERMS + "https://www.crcv.ucf.edu/",
)
