"""Input normalisers of the papers, by name: raw pixels or pixel motion in, network input out.

Pure functions of tensors laid out [..., channel, height, width]; they give float32 and keep the
shape. Pictures are RGB with values 0 … 255 (uint8 or float); flow is (u, v) in pixels of the grid
it lies on, any number of maps stacked on the channel axis.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from foveal.errors import RecipeError

Normaliser = Callable[[Tensor], Tensor]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BGR_MEAN = (103.939, 116.779, 123.68)

FLOW_LIMIT_PX = 20.0
FLOW_DEAD_ZONE_PX = 0.1


def none(values: Tensor) -> Tensor:
    """Cached features as they are, float32."""
    return values.float()


def i3d(frames: Tensor) -> Tensor:
    """RGB 0 … 255 to -1 … 1: ``x / 127.5 - 1`` (Carreira & Zisserman 2017)."""
    return frames.float() / 127.5 - 1


def imagenet(frames: Tensor) -> Tensor:
    """RGB 0 … 255 to zero mean and unit deviation over ImageNet (torchvision's constants)."""
    return (frames.float() / 255 - _channels(IMAGENET_MEAN, frames)) / _channels(
        IMAGENET_STD, frames
    )


def bgr_mean(frames: Tensor) -> Tensor:
    """RGB 0 … 255 to BGR less the Caffe ImageNet mean, about -124 … 151 (Linardos et al. 2019)."""
    return frames.float().flip(-3) - _channels(BGR_MEAN, frames)


def lsts_flow(flow_px: Tensor) -> Tensor:
    """Clip motion to ±20 pixels and divide by 20 (the I3D flow tower, as LSTS uses it)."""
    return flow_px.float().clamp(-FLOW_LIMIT_PX, FLOW_LIMIT_PX) / FLOW_LIMIT_PX


def tpcmr_flow(flow_px: Tensor) -> Tensor:
    """Motion under 0.1 pixel becomes 0, the rest is clipped to ±20 pixels (STRA-Net's code)."""
    flow = flow_px.float().clamp(-FLOW_LIMIT_PX, FLOW_LIMIT_PX)
    return torch.where(flow.abs() < FLOW_DEAD_ZONE_PX, torch.zeros_like(flow), flow)


NORMALISERS: dict[str, Normaliser] = {
    function.__name__: function
    for function in (none, i3d, imagenet, bgr_mean, lsts_flow, tpcmr_flow)
}


def normaliser(name: str) -> Normaliser:
    """Look a normaliser up by its name.

    Raises
    ------
    RecipeError
        No normaliser has this name.
    """
    if name not in NORMALISERS:
        raise RecipeError(f"unknown normaliser {name!r}; choose one of {', '.join(NORMALISERS)}")
    return NORMALISERS[name]


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device).view(-1, 1, 1)
