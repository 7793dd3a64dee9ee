"""Hollywood-2: shots of feature films, with gaze by Mathe and Sminchisescu.

The repackaged form is that of W. Wang et al. (CVPR 2018): each film excerpt is cut into shots, one
folder per shot. Shot numbers are not padded. Frames keep their number in the excerpt: the first
shot starts at 3, and three frames are left out between shots.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from foveal.pipeline.sources import mathe
from foveal.pipeline.sources.base import Dataset

_CLIP = re.compile(r"actionclip(?:autoauto)?(train|test)(\d+)(?:_(\d+))?", re.IGNORECASE)


class Hollywood2Config(mathe.MatheConfig):
    """Hollywood-2; see `MatheConfig`.

    Attributes
    ----------
    min_frames : int
        Shots with fewer frames are left out. 1 keeps all; 205 of 6,257 shots have a single frame,
        which training may pad.
    """

    kind: Literal["hollywood2"]
    fps: Annotated[float, Field(gt=0, le=1000)] = 25.0
    videos: str = "AVIClips"
    gaze: str = "gaze_hollywood2"
    min_frames: Annotated[int, Field(ge=1)] = 1


def _split_of(name: str) -> mathe.Split | None:
    match = _CLIP.fullmatch(Path(name).name)
    if match is None:
        return None
    return "train" if match[1].lower() == "train" else "test"


DATASET = Dataset(
    "hollywood2",
    "Hollywood-2",
    Hollywood2Config,
    partial(mathe.open_either, clip=_CLIP, split_of=_split_of),
    forms=mathe.forms(
        "Hollywood-2",
        "actionclip*",
        "AVIClips",
        "gaze_hollywood2",
        {"train": 2699, "test": 3558},
        {"train": 823, "test": 884},
    ),
    density=mathe.DENSITY,
    citation=mathe.CITATION,
    redistribution="forbidden",
    terms=mathe.TERMS + "https://www.di.ens.fr/~laptev/actions/hollywood2/",
    film=lambda shot: re.sub(r"(?<=\d)_\d+$", "", shot),
)
