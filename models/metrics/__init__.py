"""Saliency metrics on tensors [n, h, w]: in batches, deterministic, on CPU and GPU."""

from foveal.models.metrics.auc import auc_judd, auc_shuffled
from foveal.models.metrics.base import (
    DEFINITIONS,
    VARIANTS,
    Metric,
    Variant,
    find_metric,
    metrics_of,
    names,
)
from foveal.models.metrics.maps import cc, kldiv, nss, sim
from foveal.models.metrics.other_fixations import OtherFixations
from foveal.models.metrics.pixels import FixatedPixels, MapRows
from foveal.models.metrics.table import ScoreTable

__all__ = [
    "DEFINITIONS",
    "VARIANTS",
    "FixatedPixels",
    "MapRows",
    "Metric",
    "OtherFixations",
    "ScoreTable",
    "Variant",
    "auc_judd",
    "auc_shuffled",
    "cc",
    "find_metric",
    "kldiv",
    "metrics_of",
    "names",
    "nss",
    "sim",
]
