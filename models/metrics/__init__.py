"""Saliency metrics on tensors [n, h, w], batched, deterministic, on CPU and GPU alike."""

from foveal.models.metrics.auc import auc_judd, auc_shuffled
from foveal.models.metrics.base import VARIANTS, Metric, Variant, find_metric, names
from foveal.models.metrics.maps import cc, kldiv, nss, sim
from foveal.models.metrics.other_fixations import OtherFixations
from foveal.models.metrics.pixels import FixatedPixels, MapRows
from foveal.models.metrics.table import ScoreTable

__all__ = [
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
    "names",
    "nss",
    "sim",
]
