"""This module stores features of any backbone, per frame or per window: ``features_<name>``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from foveal.errors import FovealError
from foveal.pipeline.recipe.section import Size, StageSection
from foveal.pipeline.stages.base import (
    FRAMES,
    NO_ARRAYS,
    OF_THIS_RUN,
    Arrays,
    Cost,
    PlainStage,
    Stage,
    StageContext,
    StageRequest,
)
from foveal.pipeline.stages.frames import Interpolation
from foveal.pipeline.stages.sampling import (
    Every,
    Rate,
    Sampling,
    source_frame_spec,
)
from foveal.pipeline.stages.windows import FrameWindows, window_start_spec
from foveal.pipeline.video.types import FrameBatch
from foveal.storage.schema import ArraySpec

if TYPE_CHECKING:
    from foveal.models.features import Backbone, Extractor
    from foveal.pipeline.recipe.recipe import Recipe

_SHARD_BYTES = 32 * 2**20
_AXES = {
    1: ("feature",),
    2: ("token", "feature"),
    3: ("feature", "y", "x"),
    4: ("feature", "t", "y", "x"),
}
_NOT_IN_THE_NUMBERS = ("name", "batch_size", "every", "fps", "frames", "stride", "step")


class FeaturesSection(StageSection):
    """Store activations of a picture or video network of any library.

    Attributes
    ----------
    backbone : str
        ``torchvision:swin3d_b``, ``timm:vit_base_patch14_dinov2``, ``huggingface:ORG/NAME``,
        ``module:package.factory``.
    weights : str or null
        A file, a published set of torchvision, or ``random`` (``random:SEED``), which is recorded.
        Null takes the weights that the library publishes and ``foveal weights get`` has fetched.
    name : str or null
        The arrays are called ``features_<name>``; null takes the network's own name.
    layers : list of str
        Submodules whose output is stored, one array each (``features_<name>_0``, …). Empty stores
        the network's last features as ``features_<name>``.
    pooling : {'none', 'mean', 'cls', 'grid'}
        See `foveal.models.features.Extractor`; ``grid`` needs `grid`.
    grid : [height, width] or null
        Size of the pooled map.
    time : {'keep', 'mean'}
        Whether maps of windows keep their time axis or are averaged over it.
    size : [height, width] or null
        Size that whole frames are resized to; null takes the size of the network's training.
    interpolation : {'area', 'linear', 'cubic', 'lanczos'}
        How frames are resized.
    every, fps : int, float, or null
        For networks of pictures: which frames, as in `FramesSection`; null takes all.
    frames : int or null
        For networks of clips: frames in a window.
    stride, step : int, int or null
        Distance from one frame of a window to its next, and from one window's start to the next
        one's. A null step starts each window where the one before ended.
    short_clips : {'skip', 'repeat_first'}
        Videos shorter than a window have no window, or one that begins with copies of the first
        frame.
    dtype : {'float16', 'float32'}
        Type of the stored values.
    precision : {'float32', 'bfloat16', 'float16'}
        Type that the network computes in.
    batch_size : int or null
        Pictures or windows computed together; null chooses by device.
    """

    many: ClassVar[bool] = True
    fills_cores: ClassVar[bool] = True

    backbone: Annotated[str, Field(min_length=3, max_length=300)]
    weights: str | None = None
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,63}$")] | None = None
    layers: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    pooling: Literal["none", "mean", "cls", "grid"] = "none"
    grid: Size | None = None
    time: Literal["keep", "mean"] = "keep"
    size: Size | None = None
    interpolation: Interpolation = "area"
    every: Every | None = None
    fps: Rate | None = None
    frames: Annotated[int, Field(ge=1, le=1024)] | None = None
    stride: Annotated[int, Field(ge=1, le=1024)] = 1
    step: Annotated[int, Field(ge=1, le=100_000)] | None = None
    short_clips: Literal["skip", "repeat_first"] = "skip"
    dtype: Literal["float16", "float32"] = "float16"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None

    @model_validator(mode="after")
    def _go_together(self) -> FeaturesSection:
        if (self.pooling == "grid") != (self.grid is not None):
            raise ValueError("give pooling: grid and grid: [height, width] together")
        if self.every is not None and self.fps is not None:
            raise ValueError("every and fps both say which frames are taken; give one of them")
        if self.frames is None and (self.stride, self.step, self.time) != (1, None, "keep"):
            raise ValueError(
                "stride, step and time are for windows: give frames, the length of a window"
            )
        if self.frames is not None and (self.every or self.fps):
            raise ValueError(
                "every and fps are for single pictures; for windows (frames), stride says which "
                "frames a window takes, and step where the next window starts"
            )
        if len(set(self.layers)) != len(self.layers):
            raise ValueError(f"give each layer once, got {list(self.layers)}")
        return self

    @property
    def stage_name(self) -> str:
        """Name of the stage, ``features_<name>``."""
        parts = r"[:/.]" if self.backbone.startswith("module:") else r"[:/]"
        own = re.split(parts, self.backbone.lower())[-1]
        return f"features_{self.name or re.sub(r'[^a-z0-9]+', '_', own).strip('_')}"

    @classmethod
    def check(cls, sections: Sequence[FeaturesSection], recipe: Recipe) -> None:
        names = [section.stage_name for section in sections]
        if len(set(names)) != len(names):
            raise ValueError(f"features: the arrays {names} are not all different; set name")

    def make(self, request: StageRequest) -> Sequence[Stage]:
        from foveal.models.features import Extractor, open_backbone

        device = request.recipe.device
        opened = ("backbone", self.backbone, self.weights, self.size, self.frames)

        def backbone() -> Backbone:
            return open_backbone(self.backbone, self.weights, self.size, self.frames)

        shared = request.shared.once(opened, backbone)

        def extractor() -> Extractor:
            made = Extractor(
                shared,
                self.layers,
                self.size or shared.size or (224, 224),
                self.pooling,
                self.grid,
                device,
                self.precision,
                self.time,
            )
            # An unknown layer ends the command before any video is read.
            made.check()
            return made

        return [FeaturesStage(self, request.shared.once((opened, self, device), extractor))]

    def takes_device(self) -> bool:
        return True


class FeaturesStage(PlainStage):
    """Store ``features_<name>`` of one video.

    Parameters
    ----------
    section : FeaturesSection
        Settings of the recipe.
    extractor : Extractor
        Used by all videos.
    """

    inputs = (FRAMES,)

    def __init__(self, section: FeaturesSection, extractor: Extractor) -> None:
        self.name = section.stage_name
        self._section, self._extractor = section, extractor
        self._layers = [self.name]
        if len(section.layers) > 1:
            self._layers = [f"{self.name}_{n}" for n in range(len(section.layers))]
        self._all_frames = section.fps is None and section.every in (None, 1)
        self._windows: FrameWindows | None = None
        self._numbers_spec: ArraySpec | None = None
        self._dim = "time"
        if section.frames is not None:
            self._windows = FrameWindows(
                section.frames, section.stride, section.step, section.short_clips
            )
            self._numbers_spec = window_start_spec(self.name)
            self.cost = Cost(self._windows.count, self._windows.span + self._windows.step)
        elif not self._all_frames:
            self._numbers_spec = source_frame_spec(self.name, f"{self.name}_kept")
        self.arrays = tuple(self._layers)
        if self._numbers_spec is not None:
            self.arrays += (self._numbers_spec.name,)
            (self._dim,) = self._numbers_spec.dims
        self._waiting: list[NDArray[np.uint8]] = []
        self._numbers: list[int] = []

    def parameters(self) -> dict[str, Any]:
        section, backbone = self._section, self._extractor.backbone
        settings = {
            key: value
            for key, value in section.resolved().items()
            if key not in _NOT_IN_THE_NUMBERS
        }
        settings |= {
            "weights": backbone.weights,
            "size": list(self._extractor.size),
            "mean": list(backbone.mean),
            "std": list(backbone.std),
        }
        if self._windows is not None:
            windows = self._windows
            cut = {"frames": windows.frames, "stride": windows.stride, "step": windows.step}
            return {**settings, **cut, "span": windows.span}
        del settings["short_clips"], settings["time"]
        return {**settings, "every": section.every or 1, "fps": section.fps}

    def prepare(self, context: StageContext) -> None:
        self._sampling = Sampling(self._section.every, self._section.fps, context.info.fps)
        default = {"cpu": (8, 1), "cuda": (32, 8)}[self._extractor.device.type]
        self._batch = self._section.batch_size or default[self._windows is not None]

    def outputs(self) -> Sequence[ArraySpec]:
        shapes = self._extractor.shapes(self._section.frames)
        layers = self._section.layers or ("",)
        specs = [
            self._spec(array, layer, shape)
            for array, layer, shape in zip(self._layers, layers, shapes, strict=True)
        ]
        return specs if self._numbers_spec is None else [*specs, self._numbers_spec]

    def _spec(self, array: str, layer: str, shape: tuple[int, ...]) -> ArraySpec:
        section, backbone = self._section, self._extractor.backbone
        axes = _AXES.get(len(shape)) or tuple(f"axis_{n}" for n in range(len(shape)))
        numbers = self._numbers_spec
        untrained = ", random weights" if backbone.is_random else ""
        attributes: dict[str, Any] = {
            "long_name": f"{backbone.name} {layer}".strip() + untrained,
            "units": "1",
            "backbone": backbone.name,
            "layer": layer,
            "weights": backbone.weights,
            "pooling": section.pooling,
        }
        if self._windows is not None:
            attributes["window_frames"] = self._windows.span
        dtype = np.dtype(section.dtype)
        item_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return ArraySpec(
            array,
            (self._dim, *(f"{array}_{axis}" for axis in axes)),
            shape,
            dtype,
            attributes,
            chunk_items=1,
            shard_items=max(1, min(128, _SHARD_BYTES // max(1, item_bytes))),
            compress=False,
            axis="frame" if self._windows is None else "window",
            kind="features",
            starts=None if numbers is None else numbers.starts,
            source_frames=None if numbers is None else numbers.source_frames,
        )

    def push(self, batch: FrameBatch) -> Arrays:
        from foveal.pipeline.video.resize import resize_frames

        size, how = self._extractor.size, self._section.interpolation
        if self._windows is None:
            kept = self._sampling.choose(batch.start, batch.pts_seconds)
            frames = batch.frames
            if len(kept) < len(frames):
                frames = frames[kept - batch.start]
            self._take(kept.tolist(), list(resize_frames(frames, size, how)))
            return _joined([self._computed(self._batch) for _ in range(self._full_batches)])
        parts = []
        # Frame by frame, so that no more windows are held than one batch has.
        for frame in resize_frames(batch.frames, size, how):
            self._take(*self._windows.push(frame[None]))
            if self._full_batches:
                parts.append(self._computed(self._batch))
        return _joined(parts)

    def finish(self) -> Iterable[Arrays]:
        if self._windows is not None:
            self._take(*self._windows.finish())
        yield self._computed(len(self._waiting))

    @property
    def _full_batches(self) -> int:
        return len(self._waiting) // self._batch

    def _take(self, numbers: Sequence[int], items: Sequence[NDArray[np.uint8]]) -> None:
        self._numbers += numbers
        self._waiting += items

    def _computed(self, count: int) -> Arrays:
        """Compute the features of the first `count` waiting items, at most a batch."""
        if not count:
            return NO_ARRAYS
        found = self._extractor(np.stack(self._waiting[:count]))
        arrays = {
            array: self._stored(array, values)
            for array, values in zip(self._layers, found, strict=True)
        }
        if self._numbers_spec is not None:
            arrays[self._numbers_spec.name] = np.array(self._numbers[:count], np.int64)
        del self._waiting[:count], self._numbers[:count]
        return arrays

    def _stored(self, array: str, values: NDArray[np.float32]) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            stored = values.astype(self._section.dtype)
        if not np.isfinite(stored).all():
            advice = (
                "store them with dtype: float32"
                if np.isfinite(values).all()
                else "compute with precision: float32, or check the network's weights"
            )
            raise FovealError(f"{array} is not finite in {self._section.dtype}; {advice}")
        return stored

    def provenance(self) -> dict[str, Any]:
        backbone = self._extractor.backbone
        here = {"device": str(self._extractor.device), "batch_size": self._batch}
        return {**backbone.about, OF_THIS_RUN: here}


def _joined(parts: Sequence[Arrays]) -> Arrays:
    """Join the items of several batches."""
    names = parts[0] if parts else ()
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
