"""This module computes AUC-Judd and shuffled AUC, exactly, with ties and without random numbers."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import torch
from torch import Tensor

from foveal.models.metrics import challenge
from foveal.models.metrics.base import Metric, Variant, check_variant
from foveal.models.metrics.pixels import FixatedPixels, MapRows, as_fixated_pixels

# Keys of stretched values in [2**-24, 2]: 8192 per octave, from the leading bits of a float32
_KEY_RANGE = (2.0**-24, 2.0)
_KEY_SHIFT = 10
_FIRST_KEY, _LAST_KEY = (
    int(np.float32(bound).view(np.int32)) >> _KEY_SHIFT for bound in _KEY_RANGE
)
_FEW_VALUES = 4096
_STEPS = 10


_JITTER = 1e-7
"""Largest value that ``AUC_Judd.m`` adds to a pixel, so that no two are equal."""


def auc_judd(
    saliency: Tensor | MapRows,
    fixations: Tensor | FixatedPixels,
    variant: Variant = "mit",
    *,
    jitter_seed: int | None = None,
) -> Tensor:
    """Compute the area under the ROC curve of fixated pixels against the picture.

    ``mit``, ``dhf1k``: the curve of ``AUC_Judd.m`` (Judd et al. 2009; MIT saliency benchmark, which
    the DHF1K evaluation copies). Its thresholds are the saliency values of the fixated pixels; the
    other pixels are the negatives. The script breaks ties by random jitter. Here pixels with equal
    values pass the threshold together, so that a constant map scores 0.5. On maps of 8 bits this is
    0.0016 below the script in the mean and 0.0155 in the worst frame; `jitter_seed` adds the
    jitter. ``pysaliency``: ``AUC_per_image(nonfixations='uniform')``, the whole curve with all
    pixels as negatives; each fixation counts, and ties count half (the Mann-Whitney statistic).
    ``ntire2026``: see `foveal.models.metrics.challenge`.

    Parameters
    ----------
    saliency : Tensor, real [n, h, w]
        Finite values; a strictly increasing function of a frame's values changes nothing.
    fixations : Tensor [n, h, w] or FixatedPixels
        Number of fixations on each pixel; ``mit`` uses only whether there are any.
    variant : {'mit', 'dhf1k', 'pysaliency', 'ntire2026'}
        Whose definition.
    jitter_seed : int, optional
        Seed of noise that breaks ties as in the authors' script; by default ties stay.

    Returns
    -------
    Tensor, float64 [n]
        In [0, 1]; NaN if no pixel is fixated, or (except for pysaliency) if every pixel is.
    """
    if variant == challenge.NAME:
        if jitter_seed is not None:
            raise ValueError(f"{variant} breaks no ties; leave jitter_seed out")
        rows = MapRows.of(saliency)
        return challenge.auc_judd(rows, as_fixated_pixels(fixations, rows.shape))
    check_variant(variant)
    rows = MapRows.of(saliency)
    if jitter_seed is not None:
        generator = torch.Generator().manual_seed(jitter_seed)
        noise = torch.rand(rows.values.shape, dtype=torch.float64, generator=generator)
        jittered = rows.values.double() + _JITTER * noise.to(rows.values.device)
        rows = dataclasses.replace(rows, values=jittered)
    positives, counts = as_fixated_pixels(fixations, rows.shape).gather(rows.values, math.inf)
    if variant == "pysaliency":
        return _mann_whitney(positives, counts, rows.values, None, rows)
    fixated = (counts > 0).sum(1, keepdim=True).double()
    thresholds = positives.sort(1).values
    above = count_at_least(thresholds, rows.values, None, rows)
    hits = count_at_least(thresholds, positives, (counts > 0).double(), rows)
    false_alarms = (above - hits) / (rows.values.shape[1] - fixated)
    return _trapezoid(false_alarms.flip(1), (hits / fixated).flip(1))


def auc_shuffled(
    saliency: Tensor | MapRows,
    fixations: Tensor | FixatedPixels,
    other_fixations: Tensor | FixatedPixels,
    variant: Variant = "mit",
) -> Tensor:
    """Compute the area under the ROC curve of fixated pixels against those of other pictures.

    ``mit``, ``dhf1k``: ``AUC_shuffled.m`` (Borji et al. 2013; MIT saliency benchmark). The map is
    stretched to [0, 1] and thresholded at 0, 0.1, ..., 1, so monotone functions of the map change
    the score. The script averages 100 random splits of as many other locations as there are
    fixations. Its score is linear in the false alarm rates, so its expectation, returned here, is
    the score with all other locations at once. ``pysaliency``:
    ``AUC_per_image(nonfixations='shuffled')``, the whole curve; each fixation and each other
    fixation counts, and ties count half.

    Parameters
    ----------
    saliency : Tensor, real [n, h, w]
        Finite values.
    fixations : Tensor [n, h, w] or FixatedPixels
        Number of fixations on each pixel.
    other_fixations : Tensor [n, h, w] or [h, w], or FixatedPixels of n frames or of one
        Fixations on other pictures, as `OtherFixations` chooses them; one frame is used for all.
    variant : {'mit', 'dhf1k', 'pysaliency'}
        Whose definition.

    Returns
    -------
    Tensor, float64 [n]
        In [0, 1]; NaN without fixations or without other fixations; 0.5 for a constant map.
    """
    check_variant(variant)
    rows = MapRows.of(saliency)
    positives, counts = as_fixated_pixels(fixations, rows.shape).gather(rows.values, math.inf)
    others = as_fixated_pixels(other_fixations, rows.shape, shared=True)
    negatives, other_counts = others.gather(rows.values, math.inf)
    if variant == "pysaliency":
        return _mann_whitney(positives, counts, negatives, other_counts, rows)
    low = rows.low[:, None].double()
    span = rows.high[:, None].double() - low
    steps = torch.arange(_STEPS, -1, -1, dtype=torch.float64, device=low.device) / _STEPS

    def rates(gathered: Tensor, present: Tensor) -> Tensor:
        stretched = (gathered.double() - low) / torch.where(span > 0, span, 1.0)
        passing = (stretched[:, :, None] >= steps) & present[:, :, None]
        return passing.sum(1).double() / present.sum(1, keepdim=True)

    return _trapezoid(rates(negatives, other_counts > 0), rates(positives, counts > 0))


AUC_JUDD = Metric("AUC-Judd", ("fixations",), auc_judd)
"""`auc_judd` as a registered metric."""

AUC_SHUFFLED = Metric("s-AUC", ("fixations", "other_fixations"), auc_shuffled)
"""`auc_shuffled` as a registered metric."""


def _trapezoid(false_alarms: Tensor, hits: Tensor) -> Tensor:
    """Return the area under the curve through (0, 0), the points [n, k] in order, and (1, 1)."""
    zero, one = torch.zeros_like(hits[:, :1]), torch.ones_like(hits[:, :1])
    if hits.shape[1] == 0:
        return hits.new_full((len(hits),), math.nan)
    x = torch.cat([zero, false_alarms, one], 1)
    y = torch.cat([zero, hits, one], 1)
    return (x.diff(dim=1) * (y[:, 1:] + y[:, :-1]) / 2).sum(1)


def _mann_whitney(
    positives: Tensor,
    counts: Tensor,
    negatives: Tensor,
    negative_counts: Tensor | None,
    rows: MapRows,
) -> Tensor:
    """Return the share of (positive, negative) pairs in the right order; ties count half."""
    above = positives.nextafter(positives.new_tensor(math.inf))
    thresholds, order = torch.cat([positives, above], 1).sort(1)
    sorted_counts = count_at_least(thresholds, negatives, negative_counts, rows)
    at_least = torch.empty_like(sorted_counts).scatter_(1, order, sorted_counts)
    total = (
        counts.new_full((len(negatives), 1), negatives.shape[1])
        if negative_counts is None
        else negative_counts.sum(1, keepdim=True)
    )
    k = positives.shape[1]
    below = total - (at_least[:, :k] + at_least[:, k:]) / 2
    return (counts * below).sum(1) / (counts.sum(1) * total[:, 0])


def count_at_least(
    thresholds: Tensor, values: Tensor, weights: Tensor | None, rows: MapRows
) -> Tensor:
    """Count the `values` [n, m] that reach each of the ascending `thresholds` [n, k], float64.

    With `weights` [n, m] their sum is returned; `rows` have the minimum and maximum of each row.
    """
    n, k = thresholds.shape
    if values.is_cuda or values.shape[1] <= _FEW_VALUES:
        ranks = _search(thresholds, values)
        ranks += torch.arange(n, device=ranks.device)[:, None] * (k + 1)
        flat_weights = None if weights is None else weights.flatten()
        histogram = torch.bincount(ranks.flatten(), flat_weights, n * (k + 1)).view(n, k + 1)
    else:
        search = _TableSearch(values.shape[1], k)
        histogram = torch.zeros(n, k + 1, dtype=torch.float64)
        for i in range(n):
            low, high = float(rows.low[i]), float(rows.high[i])
            row_weights = None if weights is None else weights[i]
            histogram[i] = search.rank_histogram(thresholds[i], values[i], row_weights, low, high)
    return histogram.double().flip(1).cumsum(1).flip(1)[:, 1:]


class _TableSearch:
    """Find the rank of each of many values among few thresholds, on a CPU.

    A binary search per value takes ten times as long as a table. The index of the table is the
    leading bits of the value, stretched to [0, 1] as float32, which keeps the order; only values
    with the same entry as a threshold are searched for exactly. All rows use the same buffers.
    """

    def __init__(self, values: int, thresholds: int) -> None:
        code = torch.uint8 if 2 * thresholds + 1 <= 255 else torch.int32
        self._stretched = torch.empty(values, dtype=torch.float32)
        self._codes = torch.empty(values, dtype=code)
        self._table = torch.empty(_LAST_KEY - _FIRST_KEY + 1, dtype=code)

    def rank_histogram(
        self, thresholds: Tensor, values: Tensor, weights: Tensor | None, low: float, high: float
    ) -> Tensor:
        """Count (or weight) the values [m] that reach exactly 0 ... k of the thresholds [k].

        The thresholds ascend; no value is below `low`, and few are above `high`.
        """
        k = len(thresholds)
        scale = 1.0 / (high - low) if high > low else math.inf
        if not 1e-30 < scale < 1e30:
            return torch.bincount(_search(thresholds, values), weights, k + 1)
        passed = int((thresholds <= low).sum())  # every value reaches these; many may equal them
        above = thresholds[passed:]
        keys = self._keys(above, low, scale, torch.empty(k - passed)).numpy()
        table = self._table.numpy()
        edges = [0, *(keys + 1).tolist(), len(table)]
        for rank, (start, stop) in enumerate(itertools.pairwise(edges), passed):
            table[start:stop] = 2 * rank  # twice the number of thresholds below each key ...
        table[keys] |= 1  # ... and odd if a threshold has the same key
        value_keys = self._keys(values, low, scale, self._stretched)
        codes = torch.index_select(self._table, 0, value_keys, out=self._codes)
        histogram = torch.bincount(codes, weights, 2 * k + 2)[: 2 * k + 2 : 2]
        odd = codes.bitwise_and_(1).bool()
        unclear = torch.from_numpy(np.flatnonzero(odd.numpy()))
        ranks = _search(thresholds, values[unclear])
        return histogram + torch.bincount(
            ranks, None if weights is None else weights[unclear], k + 1
        )

    @staticmethod
    def _keys(values: Tensor, low: float, scale: float, out: Tensor) -> Tensor:
        torch.sub(values, low, out=out).mul_(scale).clamp_(*_KEY_RANGE)
        return out.view(torch.int32).bitwise_right_shift_(_KEY_SHIFT).sub_(_FIRST_KEY)


def _search(thresholds: Tensor, values: Tensor) -> Tensor:
    return torch.searchsorted(thresholds, values.contiguous(), right=True)
