"""This module computes single time steps of I3D: gathering, max-pooling, folded convolutions.

Tensors are [steps, height, width, channels].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from foveal.models.i3d.network import Unit, same_padding

Taps = tuple[int, int]
"""Half-open range of a kernel's time steps."""


def fold(unit: Unit) -> tuple[Tensor, Tensor]:
    """Return weight [out, in, t, y, x] and bias [out] of `unit` with its batch normalisation."""
    bn = unit.bn
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("batch normalisation without running statistics cannot be folded")
    scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    weight = unit.conv3d.weight.double() * scale[:, None, None, None, None]
    bias = bn.bias.double() - bn.running_mean.double() * scale
    return weight.float().detach(), bias.float().detach()


def gather(steps: Tensor, rows: Tensor) -> Tensor:
    """Put the `steps` [n, h, w, c] of each of the `rows` [m, kernel] side by side on channels.

    The result is [m, h, w, kernel * c].
    """
    return torch.cat([steps.index_select(0, taps) for taps in rows.unbind(1)], dim=3)


def gather_max(steps: Tensor, rows: Tensor) -> Tensor:
    """Return the maximum of the `steps` in each of the `rows`, [m, h, w, c]; see `gather`."""
    return reduce(torch.maximum, [steps.index_select(0, taps) for taps in rows.unbind(1)])


def _max_of_neighbours(x: Tensor, dim: int) -> Tensor:
    """Return the maximum of each item and of the two beside it along an axis."""
    y, last = x.clone(), x.shape[dim] - 1
    for into, beside in ((1, 0), (0, 1)):
        inside = y.narrow(dim, into, last)
        torch.maximum(inside, x.narrow(dim, beside, last), out=inside)
    return y


def spatial_max(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """Max-pool `x` [n, h, w, c] with SAME padding; `kernel` and `stride` are over (y, x)."""
    if (kernel, stride) == ((3, 3), (1, 1)) and x.device.type == "cpu":
        # torch's pooling also writes 8 bytes of indices for each value (measured: 1.5 to 2.7x).
        return _max_of_neighbours(_max_of_neighbours(x, 2), 1)
    front = [same_padding(n, k, s)[0] for n, k, s in zip(x.shape[1:3], kernel, stride, strict=True)]
    y: Tensor = F.max_pool2d(x.permute(0, 3, 1, 2), kernel, stride, padding=front, ceil_mode=True)
    return y.permute(0, 2, 3, 1)


class Conv:
    """Apply folded `units` that read the same input as one 2D convolution with ReLU."""

    def __init__(self, units: Sequence[Unit], device: torch.device, dtype: torch.dtype) -> None:
        folded = [fold(unit) for unit in units]
        weight = torch.cat([w for w, _ in folded]).permute(0, 2, 1, 3, 4).flatten(1, 2)
        self.weight = weight.to(device, dtype).contiguous(memory_format=torch.channels_last)
        self.bias = torch.cat([b for _, b in folded]).to(device, dtype)
        self.stride = units[0].stride
        self.padding = units[0].kernel // 2 if self.stride == 1 else 0
        self.widths = [len(b) for _, b in folded]
        self.kernel = units[0].kernel
        self._of_taps: dict[Taps, Tensor] = {}

    def __call__(self, x: Tensor, taps: Taps | None = None) -> Tensor:
        weight = self.weight if taps is None else self._weight_of(taps)
        y = F.conv2d(x.permute(0, 3, 1, 2), weight, self.bias, self.stride, self.padding)
        return y.relu_().permute(0, 2, 3, 1)

    def _weight_of(self, taps: Taps) -> Tensor:
        """Return the part of the weight for a range of time steps."""
        if taps == (0, self.kernel):
            return self.weight
        if taps not in self._of_taps:
            channels = self.weight.shape[1] // self.kernel
            part = self.weight[:, taps[0] * channels : taps[1] * channels]
            self._of_taps[taps] = part.contiguous(memory_format=torch.channels_last)
        return self._of_taps[taps]
