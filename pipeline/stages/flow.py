"""This module stores optical flow: the motion from frame k to frame k + 1, by any estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foveal.errors import RecipeError
from foveal.models.flow.base import FlowEstimator
from foveal.models.flow.encode import EncodingRecord, flow_encoding
from foveal.pipeline.recipe.section import Size, StageSection
from foveal.pipeline.stages.base import (
    FRAMES,
    NO_ARRAYS,
    OF_THIS_RUN,
    Arrays,
    PlainStage,
    Stage,
    StageContext,
    StageRequest,
)
from foveal.pipeline.video.types import FrameBatch
from foveal.storage.schema import ArraySpec

if TYPE_CHECKING:
    from foveal.pipeline.recipe.recipe import Recipe

_OF_THIS_MACHINE = ("threads", "pairs_at_once", "device_name")


class FlowSection(StageSection):
    """Store one optical flow array, ``flow_<method>``.

    Attributes
    ----------
    method : str
        ``tvl1`` and ``dis`` run anywhere; ``raft``, ``raft_small``, ``pwcnet``, ``flownet2`` and
        other ptlflow models need weights; ``auto`` takes RAFT if there are a GPU and its weights,
        else TV-L1, and records which.
    weights : str or null
        Weights of a learned method: a variant (``sintel``), a name of ``foveal weights``, a path,
        or ``random``; null takes the method's own.
    size : [height, width] or null
        Size of the stored flow; null keeps the source's size.
    compute_size : [height, width] or null
        Size at which the flow is computed; null takes `size`. LSTS: 112x112, stored at 224x224.
    scale_flow_on_resize : bool
        Whether vectors are scaled with the grid when the two sizes differ.
    encoding : {'float16', 'float32', 'fixed16', 'lsts8'}
        float16 stores motion below 16 px to 1/128 px; fixed16 is int16 in 1/64 px; lsts8 is 8 bits
        for ±20 px.
    fallback : {'error', 'tvl1'}
        What happens if the GPU is lost or has no memory for a single pair: the video fails, or it
        gets ``flow_tvl1`` instead.
    """

    many: ClassVar[bool] = True
    fills_cores: ClassVar[bool] = True

    method: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_+-]*$")] = "tvl1"
    weights: str | None = None
    size: Size | None = None
    compute_size: Size | None = None
    scale_flow_on_resize: bool = True
    encoding: Literal["float16", "float32", "fixed16", "lsts8"] = "float16"
    fallback: Literal["error", "tvl1"] = "error"

    @classmethod
    def check(cls, sections: Sequence[FlowSection], recipe: Recipe) -> None:
        from foveal.models.flow import takes_weights

        for section in sections:
            if section.weights is not None and not takes_weights(section.method):
                raise ValueError(f"flow: {section.method} has no weights; leave weights out")
        methods = [section.method for section in sections]
        if len(set(methods)) != len(methods):
            raise ValueError(f"flow: give each method once, got {methods}")
        if "auto" in methods and len(methods) > 1:
            raise ValueError("flow: give method auto alone: it may choose one of the others")

    def make(self, request: StageRequest) -> Sequence[Stage]:
        from foveal.models.flow import make_estimator

        device = request.recipe.device

        def estimator() -> FlowEstimator:
            return make_estimator(self.method, weights=self.weights, device=device)

        try:
            shared = request.shared.once(("flow", self.method, self.weights, device), estimator)
        except ValueError as error:
            raise RecipeError(f"flow.method {self.method}: {error}") from None
        return [FlowStage(self, shared)]

    def takes_device(self) -> bool:
        from foveal.models.flow import takes_device

        return takes_device(self.method)

    def without_device(self) -> FlowSection | None:
        """Return a section with TV-L1 in place of a learned method that may fall back."""
        if self.fallback == "error" or self.method == self.fallback:
            return None
        return self.model_copy(update={"method": self.fallback, "weights": None})


class FlowStage(PlainStage):
    """Store ``flow_<method>`` on its own grid.

    The last frame of each batch is kept for the next one, so every consecutive pair is computed
    once.

    Parameters
    ----------
    section : FlowSection
        Settings of the recipe.
    estimator : FlowEstimator
        Used by all videos.
    """

    inputs = (FRAMES,)

    def __init__(self, section: FlowSection, estimator: FlowEstimator) -> None:
        self.name = f"flow_{estimator.name}"
        self.arrays = (self.name,)
        self._section = section
        self._estimator = estimator
        self._record = EncodingRecord(flow_encoding(section.encoding))
        self._last: NDArray[np.uint8] | None = None

    def parameters(self) -> dict[str, Any]:
        return self._parameters(self._estimator.parameters())

    def former_parameters(self) -> Sequence[Mapping[str, Any]]:
        former: Sequence[Mapping[str, Any]]
        former = getattr(self._estimator, "former_parameters", tuple)()
        return [self._parameters(parameters) for parameters in former]

    def _parameters(self, estimator: Mapping[str, Any]) -> dict[str, Any]:
        settings = self._section.resolved()
        del settings["fallback"]
        return {**settings, "estimator": dict(estimator)}

    def prepare(self, context: StageContext) -> None:
        from foveal.models.flow.quality import FlowQuality

        self._quality = FlowQuality(self._estimator)
        self._source_size = context.info.size
        self._size = self._section.size or context.info.size
        self._compute_size = self._section.compute_size or self._size

    def outputs(self) -> Sequence[ArraySpec]:
        encoding = self._record.encoding
        grid = "of this grid"
        if not self._section.scale_flow_on_resize and self._compute_size != self._size:
            grid = f"of a {self._compute_size[1]}x{self._compute_size[0]} grid"
        attributes = {
            "long_name": f"optical flow ({self._estimator.name}) of frame k to frame k + 1",
            "units": f"pixels {grid}",
            "components": ["u: right", "v: down"],
            "compute_size": list(self._compute_size),
            "source_size": list(self._source_size),
            **encoding.attributes,
        }
        return [
            ArraySpec(
                self.name,
                ("pair", f"{self.name}_y", f"{self.name}_x", "uv"),
                (*self._size, 2),
                encoding.dtype,
                attributes,
                axis="pair",
                kind="flow",
            )
        ]

    def push(self, batch: FrameBatch) -> Arrays:
        from foveal.models.flow.resize import resize_flow
        from foveal.pipeline.video.resize import resize_frames

        frames = resize_frames(batch.frames, self._compute_size)
        if self._last is not None:
            frames = np.concatenate([self._last[None], frames])
        self._last = frames[-1].copy()
        if len(frames) < 2:
            return NO_ARRAYS
        flow = self._estimator(frames)
        self._quality.add(frames, flow)
        scale = self._section.scale_flow_on_resize
        stored = resize_flow(flow, self._size, scale_flow_on_resize=scale)
        return {self.name: self._record.encode(stored)}

    def snapshot(self) -> Mapping[str, Any]:
        last = {} if self._last is None else {"last": self._last}
        return {**last, **self._quality.snapshot(), "encoded": self._record.snapshot()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._last = np.asarray(state["last"], np.uint8) if "last" in state else None
        self._quality.restore(state)
        self._record.restore(state["encoded"])

    def provenance(self) -> dict[str, Any]:
        found = self._estimator.provenance()
        here = {key: found.pop(key) for key in _OF_THIS_MACHINE if key in found}
        quality = {"quality": self._quality.summary()}
        return {**found, **self._record.summary(), **quality, OF_THIS_RUN: here}
