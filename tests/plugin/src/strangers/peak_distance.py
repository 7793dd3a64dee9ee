"""A metric: how far the brightest pixel lies from where people looked."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.models.metrics import FixatedPixels, MapRows, Metric


def peak_distance(rows: MapRows, fixations: FixatedPixels, variant: str) -> Tensor:
    """Mean distance of the fixations from the map's peak in pixels, float64 [n]."""
    frames, _, width = rows.shape
    peak = rows.values.argmax(1)[fixations.frame]
    dy = fixations.pixel // width - peak // width
    dx = fixations.pixel % width - peak % width
    away = torch.hypot(dy.double(), dx.double()) * fixations.count
    count = torch.zeros(frames).double().index_add_(0, fixations.frame, fixations.count)
    total = torch.zeros(frames).double().index_add_(0, fixations.frame, away)
    return total / count


PEAK_DISTANCE = Metric("peak px", ("fixations",), peak_distance, higher_is_better=False)
