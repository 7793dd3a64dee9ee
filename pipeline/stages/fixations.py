"""This module stores fixations: points, none to many per frame, and the rows of each frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from foveal.pipeline.recipe.section import GazeSelection, StageSection
from foveal.pipeline.stages.base import (
    ANNOTATION,
    NO_ARRAYS,
    Arrays,
    Cost,
    PlainStage,
    Stage,
    StageContext,
    StageRequest,
)
from foveal.pipeline.stages.frames import TIMELINE
from foveal.pipeline.video.types import ArrayBatch, Fixations
from foveal.storage.schema import ArraySpec

_POINTS_PER_CHUNK = 2**16


class FixationsSection(GazeSelection, StageSection):
    """Store fixated points; see `GazeSelection` for the keys."""

    def make(self, request: StageRequest) -> Sequence[Stage]:
        if not request.video.has_ground_truth:
            return []
        return [FixationsStage(request.source.parameters())]


class FixationsStage(PlainStage):
    """Store ``fixation_{frame,x,y,subject}`` and ``fixation_offset``.

    Parameters
    ----------
    parameters : dict
        Settings of the source that determine the points.
    """

    name = "fixations"
    inputs = (TIMELINE, ANNOTATION)
    arrays = (
        "fixation_frame",
        "fixation_x",
        "fixation_y",
        "fixation_subject",
        "fixation_offset",
    )
    # The recording is read completely, even for a few frames.
    cost = Cost(whole=True)

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._parameters = parameters
        self._frames = 0
        self._clipped: Fixations | None = None

    def parameters(self) -> dict[str, Any]:
        return self._parameters

    def prepare(self, context: StageContext) -> None:
        self._fixations = context.fixations()
        self._source_size = context.info.size

    def outputs(self) -> Sequence[ArraySpec]:
        height_px, width_px = self._source_size
        pixel = {"units": f"pixels of the {width_px}x{height_px} source, 0-based"}
        subjects = self._fixations.subjects
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
                _POINTS_PER_CHUNK,
                _POINTS_PER_CHUNK,
                axis="point" if dim == "fixation" else "frame_plus_1",
                kind="points" if dim == "fixation" else "scalar",
                role="ground_truth",
            )
            for name, (dim, dtype, attributes) in about.items()
        ]

    def push(self, batch: ArrayBatch) -> Arrays:
        self._frames = batch.stop
        return NO_ARRAYS

    def finish(self) -> Iterable[Arrays]:
        fixations = self._clipped = self._fixations.clipped(self._frames)
        return [
            {
                "fixation_frame": fixations.frame,
                "fixation_x": fixations.x,
                "fixation_y": fixations.y,
                "fixation_subject": fixations.subject,
                "fixation_offset": fixations.offsets(self._frames),
            }
        ]

    def snapshot(self) -> Mapping[str, Any]:
        return {"frames": self._frames}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._frames = int(state["frames"])

    def provenance(self) -> dict[str, Any]:
        assert self._clipped is not None
        return {
            "excluded_samples": dict(self._clipped.excluded),
            "empty_frames": int((np.diff(self._clipped.offsets(self._frames)) == 0).sum()),
            **self._clipped.attributes,
        }
