"""This module normalises the inputs of networks as the papers do: pixels, or motion in pixels.

The functions take tensors [..., channel, height, width]; they return float32 of the same shape.
Pictures are RGB with values 0 … 255 (uint8 or float). Flow is (u, v) in pixels of its own grid, any
number of maps stacked on the channel axis.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from foveal.errors import RecipeError

Normaliser = Callable[[Tensor], Tensor]
"""Takes and returns a tensor [..., channel, height, width]."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of RGB in 0 … 1 over ImageNet, as torchvision has it."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of RGB in 0 … 1 over ImageNet, as torchvision has it."""

BGR_MEAN = (103.939, 116.779, 123.68)
"""Mean of BGR in 0 … 255 over ImageNet, as Caffe has it."""

FLOW_LIMIT_PX = 20.0
"""Larger flow components are clipped to this value."""

FLOW_DEAD_ZONE_PX = 0.1
"""Smaller flow components become 0."""


def none(values: Tensor) -> Tensor:
    """Return `values` (cached features) unchanged, as float32."""
    return values.float()


def i3d(frames: Tensor) -> Tensor:
    """Convert `frames` from RGB 0 … 255 to -1 … 1: x / 127.5 - 1 (Carreira & Zisserman 2017)."""
    return frames.float() / 127.5 - 1


def imagenet(frames: Tensor) -> Tensor:
    """Convert `frames` from RGB 0 … 255 to zero mean and unit deviation over ImageNet."""
    return (frames.float() / 255 - _channels(IMAGENET_MEAN, frames)) / _channels(
        IMAGENET_STD, frames
    )


def bgr_mean(frames: Tensor) -> Tensor:
    """Convert `frames` from RGB 0 … 255 to BGR minus `BGR_MEAN`, about -124 … 151.

    Source: Linardos et al. 2019.
    """
    return frames.float().flip(-3) - _channels(BGR_MEAN, frames)


def lsts_flow(flow_px: Tensor) -> Tensor:
    """Clip `flow_px` to ±20 pixels and divide by 20 (the I3D flow tower, as LSTS uses it)."""
    return flow_px.float().clamp(-FLOW_LIMIT_PX, FLOW_LIMIT_PX) / FLOW_LIMIT_PX


def tpcmr_flow(flow_px: Tensor) -> Tensor:
    """Set components of `flow_px` under 0.1 px to 0, and clip to ±20 px (STRA-Net's code)."""
    flow = flow_px.float().clamp(-FLOW_LIMIT_PX, FLOW_LIMIT_PX)
    return torch.where(flow.abs() < FLOW_DEAD_ZONE_PX, torch.zeros_like(flow), flow)


NORMALISERS: dict[str, Normaliser] = {
    function.__name__: function
    for function in (none, i3d, imagenet, bgr_mean, lsts_flow, tpcmr_flow)
}
"""Normalisers by name."""


def normaliser(name: str) -> Normaliser:
    """Return a normaliser by its name.

    Parameters
    ----------
    name : str
        A key of `NORMALISERS`.

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
