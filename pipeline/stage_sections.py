"""Sections of a recipe that say what a stage makes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from foveal.pipeline.recipe.section import Section, Size
from foveal.pipeline.stages.density_kernels import (
    DensityKernel,
    gaussian,
    preset_kernel,
    sigma_px_from_degrees,
)
from foveal.pipeline.stages.density_maps import Normalise

CLASSICAL_FLOW = ("tvl1", "dis")
"""Flow methods without a network."""

Interpolation = Literal["area", "linear", "cubic", "lanczos"]
Sigma = Annotated[float, Field(gt=0, le=1000)]


class DecodeSection(Section):
    """How strict the decoder is.

    Attributes
    ----------
    errors : {'quarantine', 'accept'}
        What a complaint of the decoder (corrupt packets, fewer frames than an AVI declares) means:
        the video is given up with its reason, or taken as the decoder concealed it.
    """

    errors: Literal["quarantine", "accept"] = "quarantine"


class FramesSection(Section):
    """Decoded frames kept in the store.

    Attributes
    ----------
    size : [height, width] or null
        Null keeps the source's size.
    interpolation : {'area', 'linear', 'cubic', 'lanczos'}
        Used when shrinking; enlarging by ``area`` falls to ``linear``, as area averaging has
        nothing to average there.
    """

    size: Size | None = None
    interpolation: Interpolation = "area"


class Geometry(Section):
    """The screen the observers looked at, for sizes in degrees of visual angle.

    Attributes
    ----------
    screen_width_px, screen_width_cm, viewing_distance_cm
        As the recording's paper states them.
    shown : {'full_width', 'unscaled'}
        Whether videos were scaled to the screen's width (DHF1K, Hollywood-2) or shown pixel for
        pixel (DIEM).
    """

    screen_width_px: Annotated[int, Field(gt=0)]
    screen_width_cm: Annotated[float, Field(gt=0)]
    viewing_distance_cm: Annotated[float, Field(gt=0)]
    shown: Literal["full_width", "unscaled"] = "full_width"


DensityPreset = Literal["dhf1k", "hollywood2", "ucf_sports", "ledov", "salicon", "published"]


class DensitySection(Section):
    """Gaussian-blurred fixation density.

    Exactly one of `preset`, `sigma_px` and `sigma_degrees` is given.

    Attributes
    ----------
    preset : str
        A dataset's own constants (σ, kernel, border, normalisation); ``published`` keeps the
        pictures that the dataset publishes, unchanged (needs ``dataset.ground_truth: import``).
    sigma_px : float
        Standard deviation in pixels of the source video.
    sigma_degrees : float
        Standard deviation in degrees of visual angle; needs `geometry`.
    size : [height, width] or null
        Size of the stored maps; null keeps the source's size.
    normalise : {'max', 'sum', 'none'} or null
        Peak 1 (255 in uint8), sum 1, or plain sums of unit-peak Gaussians; null takes the preset's
        own, ``max`` without a preset.
    dtype : {'uint8', 'float32'} or null
        Null takes uint8 for ``max`` and float32 otherwise.
    """

    preset: DensityPreset | None = None
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
        if self.preset == "published" and (self.size or self.normalise or self.dtype):
            raise ValueError("preset: published keeps maps as they are: no size, normalise, dtype")
        if (self.sigma_degrees is None) != (self.geometry is None):
            raise ValueError("sigma_degrees and geometry go together: the screen fixes the angle")
        if self.dtype == "uint8" and self.resolved_normalise != "max":
            raise ValueError(f"uint8 cannot hold normalise: {self.resolved_normalise}; use float32")
        return self

    @property
    def resolved_normalise(self) -> Normalise:
        """The normalisation that applies: LEDOV's authors leave the sum as it is."""
        return self.normalise or ("none" if self.preset == "ledov" else "max")

    @property
    def resolved_dtype(self) -> str:
        """The dtype that applies."""
        return self.dtype or ("uint8" if self.resolved_normalise == "max" else "float32")

    def kernel(self, source_width_px: int) -> DensityKernel:
        """What one point leaves on the map of a video of this width."""
        if self.preset is not None:
            return preset_kernel(self.preset)
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


class FlowSection(Section):
    """One optical flow array, ``flow_<method>``.

    Attributes
    ----------
    method : str
        ``tvl1`` and ``dis`` run anywhere; ``raft``, ``raft_small``, ``pwcnet``, ``flownet2`` or
        another ptlflow model want weights; ``auto`` takes RAFT on a GPU whose weights are at hand,
        else TV-L1, and says which.
    weights : str or null
        Of learned methods: a variant (``sintel``), a name of ``foveal weights``, a path, or
        ``random``; null takes the method's own.
    size : [height, width] or null
        Grid the flow is stored on; null keeps the source's size.
    compute_size : [height, width] or null
        Grid it is computed on; null takes `size`. LSTS: 112x112, stored at 224x224.
    scale_flow_on_resize : bool
        Whether vectors grow with the grid when computing and stored size differ.
    encoding : {'float16', 'float32', 'fixed16', 'lsts8'}
        float16 holds motion below 16 px to 1/128 px; fixed16 is int16 in 1/64 px; lsts8 is 8 bit
        over ±20 px.
    fallback : {'error', 'tvl1'}
        Where the GPU is lost or out of memory with a single pair: the video fails, or gets
        ``flow_tvl1`` instead.
    """

    method: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_+-]*$")] = "tvl1"
    weights: str | None = None
    size: Size | None = None
    compute_size: Size | None = None
    scale_flow_on_resize: bool = True
    encoding: Literal["float16", "float32", "fixed16", "lsts8"] = "float16"
    fallback: Literal["error", "tvl1"] = "error"

    @model_validator(mode="after")
    def _weights_have_a_network(self) -> FlowSection:
        if self.weights is not None and self.method in CLASSICAL_FLOW:
            raise ValueError(f"{self.method} has no weights; leave weights out")
        return self


class I3DSection(Section):
    """I3D features of every window of frames (Carreira & Zisserman 2017).

    Attributes
    ----------
    streams : list of {'rgb', 'flow'}
        Arrays ``i3d_rgb`` (from frames) and ``i3d_flow`` (from the flow array named by `flow`).
    flow : str
        Method of a section of `flow`.
    window, stride : int
        Frames in a window, and from one window's start to the next one's.
    pooling : {'paper', 'k3s1', 'none'}
        Of the last map: to 5x5x5, to 8x5x5, or left at 10x7x7 (79 frames of 224x224).
    endpoint : {'mixed_5c', 'mixed_4f', 'global'}
    preprocessing : {'lsts', 'deepmind'}
        Whole frames resized to `size`, or the shorter side resized and the centre cropped.
    scale_flow_on_resize : bool
        Whether vectors grow with the grid when flow is brought to `size`.
    size : [height, width]
        Input of the network.
    weights_rgb, weights_flow : str
        A path, a name of ``foveal weights``, or ``random`` (``random:SEED``), which is recorded.
    short_clips : {'skip', 'repeat_first'}
        Videos shorter than a window have no window, or one that begins with copies of the first
        frame.
    dtype : {'float16', 'float32'}
    precision : {'float32', 'auto', 'bfloat16', 'float16'}
        ``auto`` takes half precision (float16 on a GPU, bfloat16 on a CPU that has instructions
        for it and is faster with them) where the first window agrees within 1e-2; what ran stands
        in the array's provenance.
    """

    streams: Annotated[tuple[Literal["rgb", "flow"], ...], Field(min_length=1)] = ("rgb", "flow")
    flow: str = "tvl1"
    window: Annotated[int, Field(ge=1, le=1024)] = 79
    stride: Annotated[int, Field(ge=1)] = 1
    pooling: Literal["paper", "k3s1", "none"] = "paper"
    endpoint: Literal["mixed_5c", "mixed_4f", "global"] = "mixed_5c"
    preprocessing: Literal["lsts", "deepmind"] = "lsts"
    scale_flow_on_resize: bool = True
    size: Size = (224, 224)
    weights_rgb: str = "i3d_rgb-piergiaj"
    weights_flow: str = "i3d_flow-piergiaj"
    short_clips: Literal["skip", "repeat_first"] = "skip"
    dtype: Literal["float16", "float32"] = "float16"
    precision: Literal["float32", "auto", "bfloat16", "float16"] = "float32"
