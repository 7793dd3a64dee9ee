"""Hollywood-2: shots of feature films, gaze by Mathe and Sminchisescu.

The repackaged form is that of W. Wang et al. (CVPR 2018): each film excerpt cut into shots, a
folder a shot. Shot numbers are not padded, and frames keep the number they have in the excerpt: the
first shot starts at 3 and three frames are left out between shots.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from foveal.pipeline.recipe.section import GazeSelection
from foveal.pipeline.sources.base import Dataset
from foveal.pipeline.sources.mathe import CITATION, TERMS, MatheConfig, MatheSource, Split, forms
from foveal.pipeline.sources.readers.clips import ClipSource, split_clips
from foveal.pipeline.sources.readers.files import dataset_root
from foveal.pipeline.video.density_kernels import DensityConstants, DensityKernel

_CLIP = re.compile(r"actionclip(?:autoauto)?(train|test)(\d+)(?:_(\d+))?", re.IGNORECASE)


class Hollywood2Config(MatheConfig):
    """Hollywood-2; see `MatheConfig`.

    Attributes
    ----------
    min_frames : int
        Shots with fewer frames are left out (1 keeps all; 205 of 6,257 have a single one). How to
        pad short shots is left to training.
    """

    kind: Literal["hollywood2"]
    fps: Annotated[float, Field(gt=0, le=1000)] = 25.0
    videos: str = "AVIClips"
    gaze: str = "gaze_hollywood2"
    min_frames: Annotated[int, Field(ge=1)] = 1


def open_hollywood2(
    config: Hollywood2Config, fixations: GazeSelection | None
) -> ClipSource | MatheSource:
    """The source for the form the recipe names."""
    root = dataset_root(config.root)
    if config.form == "raw":
        return MatheSource(config, fixations, split_of)
    clips = split_clips(root, config.splits, _CLIP, config.fps)
    return ClipSource(config, fixations, clips, min_frames=config.min_frames)


def split_of(name: str) -> Split | None:
    """``train`` or ``test`` by the clip's name, None where it is no clip of Hollywood-2."""
    match = _CLIP.fullmatch(Path(name).name)
    if match is None:
        return None
    return "train" if match[1].lower() == "train" else "test"


# Repackaged by the DHF1K authors (Wang et al. 2018): the binary map filtered by imfilter(map,
# fspecial('gaussian', 150, 20), 'replicate'), divided by its maximum, times 255, rounded. A
# 150-pixel kernel has no middle pixel: MATLAB's correlation puts the peak half a pixel left and up.
DENSITY = DensityConstants(
    DensityKernel(20.0, half_width_px=74.5, offset_px=-0.5, border="replicate")
)

DATASET = Dataset(
    "hollywood2",
    "Hollywood-2",
    Hollywood2Config,
    open_hollywood2,
    forms=forms(
        "Hollywood-2",
        "actionclip*",
        "AVIClips",
        "gaze_hollywood2",
        {"train": 2699, "test": 3558},
        {"train": 823, "test": 884},
    ),
    density=DENSITY,
    citation=CITATION,
    redistribution="forbidden",
    terms=TERMS + "https://www.di.ens.fr/~laptev/actions/hollywood2/",
)
