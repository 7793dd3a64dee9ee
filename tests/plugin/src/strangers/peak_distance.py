"""A metric: how far the map's peak lies from the density's."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.models.metrics.base import Metric
from foveal.models.metrics.pixels import MapRows


def peak_distance(maps: MapRows, density: MapRows, variant: str) -> Tensor:
    """Distance of the two peaks in pixels of the map, float64 [n]; NaN without a density."""
    width = maps.shape[2]
    ours, theirs = maps.values.argmax(1), density.values.argmax(1)
    dx, dy = ours % width - theirs % width, ours // width - theirs // width
    distance = torch.hypot(dx.double(), dy.double())
    return torch.where(density.is_zero(), torch.nan, distance)


PEAK_DISTANCE = Metric("peak distance", ("density",), peak_distance, higher_is_better=False)
