"""This module stores fixation density: blurred fixations, or the maps that a dataset publishes."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from foveal.errors import GazeError
from foveal.pipeline.recipe.section import Section, Size, StageSection
from foveal.pipeline.stages.base import (
    ANNOTATION,
    Arrays,
    PlainStage,
    Stage,
    StageContext,
    StageRequest,
)
from foveal.pipeline.stages.frames import TIMELINE
from foveal.pipeline.video.density_kernels import (
    DensityConstants,
    DensityKernel,
    Normalise,
    gaussian,
    sigma_px_from_degrees,
)
from foveal.pipeline.video.types import ArrayBatch
from foveal.registry import find, plugins
from foveal.storage.schema import ArraySpec

if TYPE_CHECKING:
    from foveal.pipeline.recipe.recipe import Recipe

PUBLISHED = "published"
"""Preset that keeps the dataset's own pictures."""

Sigma = Annotated[float, Field(gt=0, le=1000)]
"""Standard deviation of a Gaussian."""


class Geometry(Section):
    """The screen of the recording, to convert degrees of visual angle to pixels.

    Attributes
    ----------
    screen_width_px, screen_width_cm, viewing_distance_cm : int, float, float
        Geometry as the paper of the recording states it.
    shown : {'full_width', 'unscaled'}
        Whether videos were scaled to the screen's width (DHF1K, Hollywood-2) or shown pixel for
        pixel (DIEM).
    """

    screen_width_px: Annotated[int, Field(gt=0)]
    screen_width_cm: Annotated[float, Field(gt=0)]
    viewing_distance_cm: Annotated[float, Field(gt=0)]
    shown: Literal["full_width", "unscaled"] = "full_width"


class DensitySection(StageSection):
    """Store fixation density: fixations blurred by a Gaussian.

    Exactly one of `preset`, `sigma_px` and `sigma_degrees` is given.

    Attributes
    ----------
    preset : str
        Name of a dataset, for its own constants (σ, kernel, border, normalisation). ``published``
        keeps the pictures that the dataset publishes, unchanged (needs ``dataset.ground_truth:
        import``).
    sigma_px : float
        Standard deviation in pixels of the source video.
    sigma_degrees : float
        Standard deviation in degrees of visual angle; needs `geometry`.
    geometry : Geometry
        The screen of the recording.
    size : [height, width] or null
        Size of the stored maps; null keeps the source's size.
    normalise : {'max', 'sum', 'none'} or null
        Peak 1 (255 in uint8), sum 1, or plain sums of Gaussians with peak 1; null takes the
        preset's own, or ``max`` without a preset.
    dtype : {'uint8', 'float32'} or null
        Type of the stored maps; null takes uint8 for ``max`` and float32 otherwise.
    """

    preset: str | None = None
    sigma_px: Sigma | None = None
    sigma_degrees: Sigma | None = None
    geometry: Geometry | None = None
    size: Size | None = None
    normalise: Normalise | None = None
    dtype: Literal["uint8", "float32"] | None = None

    @model_validator(mode="after")
    def _one_width(self) -> DensitySection:
        given = [
            name
            for name in ("preset", "sigma_px", "sigma_degrees")
            if getattr(self, name) is not None
        ]
        if len(given) != 1:
            raise ValueError(
                "give exactly one of preset, sigma_px and sigma_degrees, not "
                + (" and ".join(given) or "none")
            )
        _ = self._constants
        if self.preset == PUBLISHED and (self.size or self.normalise or self.dtype):
            raise ValueError("preset: published keeps maps as they are: no size, normalise, dtype")
        if (self.sigma_degrees is None) != (self.geometry is None):
            raise ValueError(
                "give sigma_degrees and geometry together: an angle has a size only on a screen"
            )
        if self.dtype == "uint8" and self.resolved_normalise != "max":
            raise ValueError(f"uint8 cannot hold normalise: {self.resolved_normalise}; use float32")
        return self

    @property
    def resolved_normalise(self) -> Normalise:
        """The normalisation that applies: the recipe's, else the dataset's own."""
        return self.normalise or (self._constants.normalise if self._constants else "max")

    @property
    def resolved_dtype(self) -> str:
        """The dtype that applies."""
        return self.dtype or ("uint8" if self.resolved_normalise == "max" else "float32")

    def kernel(self, source_width_px: int) -> DensityKernel:
        """Return what one point adds to the map of a video with a width of `source_width_px`."""
        if self._constants is not None:
            return self._constants.kernel
        if self.sigma_px is not None:
            return gaussian(self.sigma_px)
        assert self.sigma_degrees is not None
        assert self.geometry is not None
        screen = self.geometry
        fills = screen.shown == "full_width"
        sigma_px = sigma_px_from_degrees(
            self.sigma_degrees,
            screen_width_px=screen.screen_width_px,
            screen_width_cm=screen.screen_width_cm,
            viewing_distance_cm=screen.viewing_distance_cm,
            video_px_per_screen_px=source_width_px / screen.screen_width_px if fills else 1.0,
        )
        return gaussian(sigma_px)

    @functools.cached_property
    def _constants(self) -> DensityConstants | None:
        return None if self.preset in (None, PUBLISHED) else density_constants(self.preset)

    @classmethod
    def check(cls, sections: Sequence[DensitySection], recipe: Recipe) -> None:
        imported = getattr(recipe.dataset, "ground_truth", None) == "import"
        if not imported and any(section.preset == PUBLISHED for section in sections):
            raise ValueError("density.preset: published needs dataset.ground_truth: import")

    def make(self, request: StageRequest) -> Sequence[Stage]:
        if not request.video.has_ground_truth:
            return []
        parameters = request.source.parameters()
        if self.preset == PUBLISHED:
            return [PublishedDensityStage(parameters)]
        return [DensityStage(self, parameters)]


def density_constants(preset: str) -> DensityConstants:
    """Return how a dataset's authors blur fixations.

    Parameters
    ----------
    preset : str
        Name of the dataset.

    Raises
    ------
    ValueError
        The dataset is unknown, or its authors publish no constants; the message lists the allowed
        names.
    """
    if preset in plugins("sources"):
        constants: DensityConstants | None = find("sources", preset).density
        if constants is not None:
            return constants
    known = [name for name in plugins("sources") if find("sources", name).density is not None]
    raise ValueError(
        f"preset {preset!r} is unknown; allowed: {', '.join([*known, PUBLISHED])}, or give sigma_px"
    )


class _DensityMaps(PlainStage):
    name = "density"
    inputs = (TIMELINE, ANNOTATION)
    arrays = ("density",)

    _empty_frames = 0
    _size: tuple[int, int]
    _dtype: np.dtype[Any]

    def _outputs(self, attributes: Mapping[str, Any]) -> Sequence[ArraySpec]:
        return [
            ArraySpec(
                "density",
                ("time", "map_y", "map_x"),
                self._size,
                self._dtype,
                attributes,
                axis="frame",
                kind="map",
                role="ground_truth",
            )
        ]

    def snapshot(self) -> Mapping[str, Any]:
        return {"empty_frames": self._empty_frames}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._empty_frames = int(state["empty_frames"])


class DensityStage(_DensityMaps):
    """Store ``density``: one map of blurred fixations per frame, zeros where nobody looked.

    Parameters
    ----------
    section : DensitySection
        Settings of the recipe.
    parameters : dict
        Settings of the source that determine the points.
    """

    def __init__(self, section: DensitySection, parameters: dict[str, Any]) -> None:
        self._section = section
        self._parameters = parameters

    def parameters(self) -> dict[str, Any]:
        return {**self._section.resolved(), "fixations": self._parameters}

    def prepare(self, context: StageContext) -> None:
        self._fixations = context.fixations()
        self._source_size = context.info.size
        self._size = self._section.size or self._source_size
        self._kernel = self._section.kernel(context.info.width_px)
        self._dtype = np.dtype(self._section.resolved_dtype)

    def outputs(self) -> Sequence[ArraySpec]:
        normalise = self._section.resolved_normalise
        attributes = {
            "long_name": "fixation density",
            "units": "1",
            "normalise": normalise,
            "peak": (255 if self._dtype == np.uint8 else 1.0) if normalise == "max" else None,
            "kernel": asdict(self._kernel),
            "preset": self._section.preset,
            "source_size": list(self._source_size),
        }
        return self._outputs(attributes)

    def push(self, batch: ArrayBatch) -> Arrays:
        from foveal.pipeline.stages.density_maps import density_maps

        fixations = self._fixations
        offsets = np.searchsorted(fixations.frame, np.arange(batch.start, batch.stop + 1))
        self._empty_frames += int((np.diff(offsets) == 0).sum())
        maps = density_maps(
            np.stack([fixations.x, fixations.y], axis=1),
            offsets,
            self._source_size,
            self._size,
            self._kernel,
            self._section.resolved_normalise,
            self._dtype,
        )
        return {"density": maps}

    def provenance(self) -> dict[str, Any]:
        return {"empty_frames": self._empty_frames, "sigma_px": self._kernel.sigma_px}


class PublishedDensityStage(_DensityMaps):
    """Store ``density`` as the dataset publishes it: grey pictures, copied value for value.

    Parameters
    ----------
    parameters : dict
        Settings of the source that determine the pictures.
    """

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._parameters = parameters

    def parameters(self) -> dict[str, Any]:
        return {"preset": PUBLISHED, "fixations": self._parameters}

    def prepare(self, context: StageContext) -> None:
        maps = context.published_maps()
        if maps is None:
            raise GazeError("this form of the dataset publishes no density maps")
        self._maps = maps
        self._size = context.info.size
        self._dtype = np.dtype(getattr(maps, "dtype", np.uint8))

    def outputs(self) -> Sequence[ArraySpec]:
        attributes = {
            "long_name": "fixation density as published",
            "units": "1",
            "valid_range": [0, 255],
            "preset": PUBLISHED,
            "source_size": list(self._size),
            **getattr(self._maps, "about", {}),
        }
        return self._outputs(attributes)

    def push(self, batch: ArrayBatch) -> Arrays:
        if batch.stop > len(self._maps):
            raise GazeError(
                f"frame {len(self._maps)} has no published map: there are {len(self._maps)}; "
                "dataset.reconcile: truncate_to_shorter keeps the frames that have one"
            )
        maps = [self._maps.density(frame) for frame in range(batch.start, batch.stop)]
        for frame, picture in enumerate(maps, start=batch.start):
            if picture.shape != self._size:
                raise GazeError(
                    f"the published map of frame {frame} is {picture.shape[1]}x{picture.shape[0]}, "
                    f"the video {self._size[1]}x{self._size[0]}"
                )
        self._empty_frames += sum(not picture.any() for picture in maps)
        return {"density": np.stack(maps)}

    def provenance(self) -> dict[str, Any]:
        return {"empty_frames": self._empty_frames, "origin": "published maps"}
