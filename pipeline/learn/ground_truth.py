"""This module reads the ground truth of a video for an evaluation, part by part."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.errors import StoreError
from foveal.models.metrics import FixatedPixels, challenge
from foveal.pipeline.learn.inputs import resized_maps
from foveal.pipeline.stages.density import PUBLISHED, DensitySection
from foveal.pipeline.stages.frames import TIMELINE
from foveal.pipeline.video.density_kernels import DensityKernel
from foveal.storage.marks import infos_of
from foveal.storage.reader import Store
from foveal.storage.slices import Gatherer, Slice

DENSITY = "density"
POINTS = ("fixation_frame", "fixation_x", "fixation_y", "fixation_subject")


@dataclass(frozen=True)
class Points:
    """Fixated points of a video, sorted by frame; positions in pixels of the source video."""

    frame: NDArray[np.int32]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    subject: NDArray[np.int16]

    def between(self, start: int, stop: int) -> Points:
        """Return the points of frames `start` … `stop` - 1, with these frames numbered from 0."""
        part = slice(*np.searchsorted(self.frame, (start, stop)))
        return Points(self.frame[part] - start, self.x[part], self.y[part], self.subject[part])

    def only(self, wanted: NDArray[np.bool_]) -> Points:
        """Return the points where `wanted` is true."""
        return Points(self.frame[wanted], self.x[wanted], self.y[wanted], self.subject[wanted])


class Truth:
    """Ground truth of one video.

    Parameters
    ----------
    store : Store
    video : str
    variant : str
        Whose definitions of the metrics are used: they say how maps are resized to the density's
        grid.

    Attributes
    ----------
    frames : int
    source_size, size : (int, int)
        Height and width of the source video and of the density maps; scores use the grid of the
        density maps.

    Raises
    ------
    StoreError
        The video has no complete fixations or density.
    """

    def __init__(self, store: Store, video: str, variant: str = "mit") -> None:
        self.store, self.video, self.variant = store, video, variant
        self.marks = store.marks(video)
        self.infos = infos_of(self.marks)
        missing = [name for name in (TIMELINE, *POINTS, DENSITY) if name not in self.infos]
        if missing:
            raise StoreError(
                f"{store.location}: video {video!r} has no complete {', '.join(missing)}; it "
                "cannot be scored: build fixations and density, or choose another split"
            )
        self.frames = self.infos[TIMELINE].items
        height, width = self.marks[TIMELINE].provenance["video"]["source_size"]
        self.source_size = (int(height), int(width))
        height, width = self.infos[DENSITY].item_shape
        self.size = (height, width)
        self._gatherer = Gatherer(store.location)

    def read(self, array: str, start: int, stop: int) -> NDArray[Any]:
        """Read items `start` … `stop` - 1 of one of the video's arrays."""
        values: NDArray[Any] = self._gatherer.read([Slice(self.video, array, start, stop)])[0]
        return values

    def density(self, start: int, stop: int) -> Tensor:
        """Read density maps [n, height, width]: float32, for the challenge's scores as stored."""
        maps = self.read(DENSITY, start, stop)
        if self.variant != challenge.NAME:
            maps = maps.astype(np.float32, copy=False)
        return torch.from_numpy(maps)

    def on_grid(self, maps: Tensor) -> Tensor:
        """Resize maps [n, h, w] to the density's grid as the variant defines it, float32."""
        if self.variant == challenge.NAME:
            return challenge.on_grid(maps, self.size)
        return resized_maps(maps, self.size)

    def fixated(self, start: int, stop: int) -> FixatedPixels:
        """Return the fixated pixels of these frames on the density's grid."""
        return self.pixels(self.points.between(start, stop), stop - start)

    def pixels(self, points: Points, frames: int) -> FixatedPixels:
        """Return points, whose frames are numbered from 0, on the density's grid."""
        return FixatedPixels.from_points(
            torch.from_numpy(points.frame),
            torch.from_numpy(points.x),
            torch.from_numpy(points.y),
            frames,
            self.source_size,
            self.size,
        )

    @property
    def is_published(self) -> bool:
        """Whether the density is the dataset's own, at the size of the video."""
        about = self.marks[self.infos[DENSITY].stage].identity.get("parameters", {})
        return about.get("preset") == PUBLISHED and self.size == self.source_size

    @cached_property
    def points(self) -> Points:
        """All fixated points."""
        count = self.infos[POINTS[0]].items
        return Points(*(self.read(name, 0, count) for name in POINTS))

    @cached_property
    def kernel(self) -> DensityKernel:
        """The kernel by which one point was drawn on this store's density maps.

        Raises
        ------
        StoreError
            The maps are the published ones, whose kernel is unknown.
        """
        given = self.marks[self.infos[DENSITY].stage].identity["parameters"]
        known = {key: given[key] for key in DensitySection.model_fields if key in given}
        try:
            section = DensitySection.model_validate_json(json.dumps(known))
        except ValueError:
            raise StoreError(
                f"{self.store.location}: it is not recorded how the density of {self.video!r} was "
                "blurred; leave out the baseline of one observer against the others"
            ) from None
        return section.kernel(self.source_size[1])
