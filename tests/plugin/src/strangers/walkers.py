"""A dataset: a folder of clips, each with a CSV of fixated points beside it.

``walkers/a.mp4`` goes with ``walkers/a.csv``, whose lines are ``frame,x,y,observer``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from foveal.errors import GazeError
from foveal.pipeline.recipe.section import DatasetSection, GazeSelection
from foveal.pipeline.sources.base import Dataset, Form
from foveal.pipeline.video.density_kernels import DensityConstants, gaussian
from foveal.pipeline.video.types import Fixations, Video


class WalkersConfig(DatasetSection):
    """Keys of the recipe's dataset section."""

    kind: Literal["walkers"]


class Walkers:
    """The source; see `foveal.pipeline.sources.base.Source`."""

    def __init__(self, config: WalkersConfig, gaze: GazeSelection | None) -> None:
        self.root = config.root / "walkers"

    def videos(self) -> Sequence[Video]:
        return [
            Video(path.stem, "train", path, annotation_paths=(path.with_suffix(".csv"),))
            for path in sorted(self.root.glob("*.mp4"))
        ]

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        with video.annotation_paths[0].open(newline="") as file:
            rows = sorted(csv.reader(file), key=lambda row: int(row[0]))
        if not rows:
            raise GazeError(f"{video.annotation_paths[0]} holds no point")
        observers = sorted({row[3] for row in rows})
        return Fixations(
            np.array([row[0] for row in rows], np.int32),
            np.array([row[1] for row in rows], np.float32),
            np.array([row[2] for row in rows], np.float32),
            np.array([observers.index(row[3]) for row in rows], np.int16),
            tuple(observers),
        )

    def published_maps(self, video: Video) -> None:
        return None

    def parameters(self) -> dict[str, Any]:
        return {"kind": "walkers"}


def folder_name(video: str) -> str:
    return f"walk_{video}"


DATASET = Dataset(
    "walkers",
    "Walkers",
    WalkersConfig,
    Walkers,
    forms=[Form("Walkers", [("walkers/*.mp4",), ("walkers/*.csv",)])],
    density=DensityConstants(gaussian(3.0)),
    citation="A. Stranger, Walkers, 2026.",
    terms="public domain",
    folder_name=folder_name,
)
