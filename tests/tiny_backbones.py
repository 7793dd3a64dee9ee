"""Backbones of a few hundred weights, ``module:tiny_backbones.…`` in recipes; holds no tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Pictures(nn.Module):
    """Two convolutions; says of itself how pictures are normalised."""

    mean, std = (0.5, 0.25, 0.0), (0.5, 1.0, 2.0)
    input_size = (24, 32)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 4, 1)
        self.second = nn.Conv2d(8, 12, 3, 2, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.second(self.first(pictures).relu())


class Clips(nn.Module):
    """Two convolutions over time and place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(3, 8, (3, 5, 5), (1, 4, 4), (1, 2, 2))
        self.second = nn.Conv3d(8, 16, 3, (2, 2, 2), 1)

    def forward(self, clips: Tensor) -> Tensor:
        return self.second(self.first(clips).relu())


class Plain(nn.Module):
    """Gives each picture and clip back as it is: what the network was given."""

    mean, std = (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)

    def forward(self, items: Tensor) -> Tensor:
        return items


def huge() -> nn.Module:
    """Values beyond float16."""
    return nn.Sequential(nn.AvgPool2d(8), _Times(1e7))


class _Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, values: Tensor) -> Tensor:
        return values * self.factor + torch.ones_like(values)
