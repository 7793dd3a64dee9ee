"""This module lists the layers of I3D: names, channels, kernels and strides, without weights.

Sources: J. Carreira and A. Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics
Dataset", CVPR 2017; the authors' ``kinetics-i3d/i3d.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Tower = Literal["rgb", "flow"]
"""The two networks of I3D, for frames and for flow."""

Endpoint = Literal["mixed_4f", "mixed_5c", "global"]
"""The layer whose output is the feature; ``global`` is the mean of Mixed_5c."""

Triple = tuple[int, int, int]

IN_CHANNELS: dict[Tower, int] = {"rgb": 3, "flow": 2}
"""Channels of a tower's input."""

BATCH_NORM_EPS = 1e-3

MIXED_WIDTHS: dict[str, tuple[int, int, int, int, int, int]] = {
    # b0, b1a, b1b, b2a, b2b, b3b
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""Channels of the convolutions of each inception block."""

POOLS: dict[str, tuple[Triple, Triple]] = {
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}
"""Kernel and stride over (time, y, x) of each max-pooling."""

LAYERS = (
    "Conv3d_1a_7x7",
    "MaxPool3d_2a_3x3",
    "Conv3d_2b_1x1",
    "Conv3d_2c_3x3",
    "MaxPool3d_3a_3x3",
    "Mixed_3b",
    "Mixed_3c",
    "MaxPool3d_4a_3x3",
    "Mixed_4b",
    "Mixed_4c",
    "Mixed_4d",
    "Mixed_4e",
    "Mixed_4f",
    "MaxPool3d_5a_2x2",
    "Mixed_5b",
    "Mixed_5c",
)
"""Every layer in order; 57 convolutions in all."""

LAST_LAYER: dict[Endpoint, str] = {
    "mixed_4f": "Mixed_4f",
    "mixed_5c": "Mixed_5c",
    "global": "Mixed_5c",
}
"""The last layer that an endpoint needs."""

CONVS: dict[str, tuple[int, int]] = {
    "Conv3d_1a_7x7": (7, 2),
    "Conv3d_2b_1x1": (1, 1),
    "Conv3d_2c_3x3": (3, 1),
}
"""Kernel and stride, over every axis, of each convolution outside the inception blocks."""


def check_name(what: str, name: str, allowed: Iterable[str]) -> None:
    """Raise a ValueError unless `name`, the value of `what`, is one of the `allowed` ones."""
    if name not in (names := list(allowed)):
        raise ValueError(f"{what} {name!r} is unknown; allowed: {', '.join(names)}")


def layers_until(endpoint: Endpoint) -> tuple[str, ...]:
    """Return the names of the layers up to the last one of an `endpoint`."""
    return LAYERS[: LAYERS.index(LAST_LAYER[endpoint]) + 1]


def time_layers(endpoint: Endpoint) -> tuple[tuple[int, int], ...]:
    """Return kernel and stride over time of each layer up to `endpoint` that mixes time steps."""
    found = []
    for name in layers_until(endpoint):
        if name in POOLS:
            (kernel, *_), (stride, *_) = POOLS[name]
        else:
            kernel, stride = CONVS.get(name, (3, 1))
        if kernel > 1:
            found.append((kernel, stride))
    return tuple(found)


def scaled(channels: int, width: float) -> int:
    """Return `channels` of the published network times `width`, at least 1."""
    return max(1, round(channels * width))


def map_size(endpoint: Endpoint, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the map of an `endpoint` for frames of a `size`."""
    scale = 16 if endpoint == "mixed_4f" else 32
    return -(-size[0] // scale), -(-size[1] // scale)
