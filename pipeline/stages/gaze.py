"""Fixations (ragged points) and the density blurred from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from foveal.errors import GazeError
from foveal.pipeline.sources.base import PublishedMaps
from foveal.pipeline.stage_sections import DensitySection
from foveal.pipeline.stages.base import NO_ARRAYS, Arrays
from foveal.pipeline.stages.density_maps import density_maps
from foveal.pipeline.video.types import ArrayBatch, Fixations, VideoInfo
from foveal.storage.schema import ArraySpec

_POINTS_A_CHUNK = 2**16


class FixationsStage:
    """``fixation_{frame,x,y,subject}`` and ``fixation_offset``: who looked where, when.

    Parameters
    ----------
    load : callable
        Gives the video's fixations, not yet clipped to its length.
    parameters : dict
        Settings of the source that determine them.
    """

    name = "fixations"
    version = 1
    feed = "time"

    def __init__(self, load: Callable[[], Fixations], parameters: dict[str, Any]) -> None:
        self._load = load
        self._parameters = parameters
        self._frames = 0
        self._clipped: Fixations | None = None

    def parameters(self) -> dict[str, Any]:
        return self._parameters

    def outputs(self, info: VideoInfo) -> Sequence[ArraySpec]:
        pixel = {"units": f"pixels of the {info.width_px}x{info.height_px} source, 0-based"}
        subjects = self._load().subjects
        about: dict[str, tuple[str, str, dict[str, Any]]] = {
            "fixation_frame": ("fixation", "int32", {"long_name": "frame of the point"}),
            "fixation_x": ("fixation", "float32", {"long_name": "fixated x", **pixel}),
            "fixation_y": ("fixation", "float32", {"long_name": "fixated y", **pixel}),
            "fixation_subject": (
                "fixation",
                "int16",
                {
                    "long_name": "observer",
                    "flag_values": list(range(len(subjects))),
                    "flag_meanings": " ".join(subject.replace(" ", "_") for subject in subjects),
                    "subjects": list(subjects),
                },
            ),
            "fixation_offset": (
                "time_plus_1",
                "int64",
                {"long_name": "points of frame k are rows offset[k] … offset[k + 1] - 1"},
            ),
        }
        return [
            ArraySpec(
                name,
                (dim,),
                (),
                np.dtype(dtype),
                attributes,
                _POINTS_A_CHUNK,
                _POINTS_A_CHUNK,
                axis="point" if dim == "fixation" else "frame_plus_1",
                kind="points" if dim == "fixation" else "scalar",
                role="ground_truth",
            )
            for name, (dim, dtype, attributes) in about.items()
        ]

    def push(self, batch: ArrayBatch) -> Arrays:
        self._frames = batch.stop
        return NO_ARRAYS

    def finish(self) -> Arrays:
        fixations = self._clipped = self._load().clipped(self._frames)
        return {
            "fixation_frame": fixations.frame,
            "fixation_x": fixations.x,
            "fixation_y": fixations.y,
            "fixation_subject": fixations.subject,
            "fixation_offset": fixations.offsets(self._frames),
        }

    def provenance(self) -> dict[str, Any]:
        assert self._clipped is not None
        return {
            "excluded_samples": dict(self._clipped.excluded),
            "empty_frames": int((np.diff(self._clipped.offsets(self._frames)) == 0).sum()),
            **self._clipped.attributes,
        }


class DensityStage:
    """``density``: fixations under a Gaussian, a map a frame; zeros where nobody looked."""

    name = "density"
    version = 1
    feed = "time"

    def __init__(
        self,
        section: DensitySection,
        load: Callable[[], Fixations],
        parameters: dict[str, Any],
    ) -> None:
        self._section = section
        self._load = load
        self._parameters = parameters
        self._empty_frames = 0

    def parameters(self) -> dict[str, Any]:
        return {**self._section.resolved(), "fixations": self._parameters}

    def outputs(self, info: VideoInfo) -> Sequence[ArraySpec]:
        self._source_size = (info.height_px, info.width_px)
        self._size = self._section.size or self._source_size
        self._kernel = self._section.kernel(info.width_px)
        self._dtype = np.dtype(self._section.resolved_dtype)
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
        dims = ("time", "map_y", "map_x")
        return [
            ArraySpec(
                "density",
                dims,
                self._size,
                self._dtype,
                attributes,
                axis="frame",
                kind="map",
                role="ground_truth",
            )
        ]

    def push(self, batch: ArrayBatch) -> Arrays:
        fixations = self._load()
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

    def finish(self) -> Arrays:
        return NO_ARRAYS

    def provenance(self) -> dict[str, Any]:
        return {"empty_frames": self._empty_frames, "sigma_px": self._kernel.sigma_px}


class PublishedDensityStage:
    """``density`` as the dataset publishes it: grey pictures, copied value for value.

    Parameters
    ----------
    load : callable
        Gives the video's published maps, None where there are none.
    parameters : dict
        Settings of the source that determine them.
    """

    name = "density"
    version = 1
    feed = "time"

    def __init__(
        self, load: Callable[[], PublishedMaps | None], parameters: dict[str, Any]
    ) -> None:
        self._load = load
        self._parameters = parameters
        self._empty_frames = 0

    def parameters(self) -> dict[str, Any]:
        return {"preset": "published", "fixations": self._parameters}

    def outputs(self, info: VideoInfo) -> Sequence[ArraySpec]:
        maps = self._load()
        if maps is None:
            raise GazeError("this form of the dataset publishes no density maps")
        self._maps = maps
        self._size = (info.height_px, info.width_px)
        attributes = {
            "long_name": "fixation density as published",
            "units": "1",
            "valid_range": [0, 255],
            "preset": "published",
            "source_size": list(self._size),
        }
        dims = ("time", "map_y", "map_x")
        return [
            ArraySpec(
                "density",
                dims,
                self._size,
                np.dtype("uint8"),
                attributes,
                axis="frame",
                kind="map",
                role="ground_truth",
            )
        ]

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

    def finish(self) -> Arrays:
        return NO_ARRAYS

    def provenance(self) -> dict[str, Any]:
        return {"empty_frames": self._empty_frames, "origin": "published maps"}
