"""NSS, CC, SIM and KL divergence; undefined scores are NaN.

float64 maps are scored in float64 throughout. Everything else is scored in float32 with pairwise
sums, which agrees with float64 to about 1e-6 at a third of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from foveal.models.metrics.auc import Variant, check_variant
from foveal.models.metrics.pixels import FixatedPixels, MapRows, as_fixated_pixels

_EPS = {"mit": 2.0**-52, "dhf1k": 2.0**-52, "pysaliency": 2.2204e-16}

_CACHED_PIXELS = 2**18


def nss(
    saliency: Tensor | MapRows, fixations: Tensor | FixatedPixels, variant: Variant = "mit"
) -> Tensor:
    """Normalised scanpath saliency: mean standardised saliency of the fixated pixels.

    ``mit``, ``dhf1k``: ``NSS.m`` (Peters et al. 2005; MIT saliency benchmark), standard deviation
    over N - 1 pixels, each fixated pixel once. ``pysaliency``: ``metrics.NSS``, over N pixels, each
    fixation counting.

    Parameters
    ----------
    saliency : Tensor, real [n, h, w]
        Invariant to ``a * saliency + b`` with a > 0.
    fixations : Tensor [n, h, w] or FixatedPixels
    variant : {'mit', 'dhf1k', 'pysaliency'}

    Returns
    -------
    Tensor, float64 [n]
        NaN without fixations and for a constant map (where pysaliency gives 0).
    """
    check_variant(variant)
    rows = MapRows.of(saliency)
    at_fixations, counts = as_fixated_pixels(fixations, rows.shape).gather(rows.values, 0.0)
    weights = counts if variant == "pysaliency" else (counts > 0).double()
    freedom = rows.values.shape[1] - (0 if variant == "pysaliency" else 1)

    def mean_and_deviation(values: Tensor) -> Tensor:
        mean = values.mean(1, keepdim=True)
        values -= mean
        rest = values.mean(1).double()  # what float32 rounded off the mean
        variance = values.square_().sum(1).double() / freedom
        return torch.stack([mean[:, 0].double() + rest, variance.sqrt()], 1)

    mean, deviation = _rowwise(mean_and_deviation, rows).unbind(1)
    looked_at = (weights * (at_fixations.double() - mean[:, None])).sum(1) / weights.sum(1)
    return torch.where(rows.is_constant(), math.nan, looked_at / deviation)


def cc(saliency: Tensor | MapRows, density: Tensor | MapRows, variant: Variant = "mit") -> Tensor:
    """Pearson's correlation of saliency and density over the pixels.

    All variants agree: ``CC.m`` (MIT saliency benchmark), ``metrics.CC`` (pysaliency).

    Parameters
    ----------
    saliency, density : Tensor, real [n, h, w]
        Invariant to affine maps with a > 0 of either.
    variant : {'mit', 'dhf1k', 'pysaliency'}

    Returns
    -------
    Tensor, float64 [n]
        In [-1, 1]; NaN where either map is constant (where pysaliency gives 0 for a constant
        prediction).
    """
    check_variant(variant)
    rows, truth = _matching_rows(saliency, density)

    def pearson(a: Tensor, b: Tensor) -> Tensor:
        a -= a.mean(1, keepdim=True)
        b -= b.mean(1, keepdim=True)
        product = (a * b).sum(1).double()
        norms = a.square_().sum(1).double() * b.square_().sum(1).double()
        return (product / norms.sqrt()).clamp(-1.0, 1.0)

    constant = rows.is_constant() | truth.is_constant()
    return torch.where(constant, math.nan, _rowwise(pearson, rows, truth))


def sim(saliency: Tensor | MapRows, density: Tensor | MapRows, variant: Variant = "mit") -> Tensor:
    """Similarity: histogram intersection of saliency and density as distributions.

    ``mit``, ``dhf1k``: ``similarity.m`` (Judd et al. 2012; MIT saliency benchmark), which first
    stretches both maps to [0, 1]. ``pysaliency``: ``metrics.SIM``, which does not, lifts a map
    with negative values to minimum 0 and takes an all-zero prediction as uniform.

    Parameters
    ----------
    saliency, density : Tensor, real [n, h, w]
    variant : {'mit', 'dhf1k', 'pysaliency'}

    Returns
    -------
    Tensor, float64 [n]
        In [0, 1]; NaN where the density is empty and, except for pysaliency, where either map is
        constant.
    """
    check_variant(variant)
    rows, truth = _matching_rows(saliency, density)
    normalise = _as_density if variant == "pysaliency" else _as_stretched_density

    def intersection(p: Tensor, q: Tensor) -> Tensor:
        normalise(p)
        normalise(q)
        return torch.minimum(p, q, out=p).sum(1)

    return torch.where(truth.is_zero(), math.nan, _rowwise(intersection, rows, truth))


def kldiv(
    saliency: Tensor | MapRows, density: Tensor | MapRows, variant: Variant = "mit"
) -> Tensor:
    """Kullback-Leibler divergence of the saliency from the density; lower is better.

    ``sum(q * log(eps + q / (p + eps)))`` with both maps divided by their sums. ``mit``, ``dhf1k``:
    ``KLdiv.m`` (MIT saliency benchmark), an all-zero prediction staying zero. ``pysaliency``:
    ``metrics.MIT_KLDiv``, which lifts a map with negative values to minimum 0 and takes an all-zero
    prediction as uniform.

    Parameters
    ----------
    saliency, density : Tensor, real [n, h, w]
        Invariant to positive scale.
    variant : {'mit', 'dhf1k', 'pysaliency'}

    Returns
    -------
    Tensor, float64 [n]
        NaN where the density is empty and, except for pysaliency, where the saliency is negative
        somewhere.
    """
    check_variant(variant)
    rows, truth = _matching_rows(saliency, density)
    normalise = _as_density if variant == "pysaliency" else _divide_by_sum
    undefined = truth.is_zero()
    if variant != "pysaliency":
        undefined |= rows.low < 0

    def divergence(p: Tensor, q: Tensor) -> Tensor:
        normalise(p)
        normalise(q)
        ratio = torch.div(q, p.add_(_EPS[variant]), out=p).add_(_EPS[variant])
        return ratio.log_().mul_(q).sum(1)

    return torch.where(undefined, math.nan, _rowwise(divergence, rows, truth))


def _rowwise(score: Callable[..., Tensor], *maps: MapRows) -> Tensor:
    """float64 scores [n, ...] of maps; `score` gets copies of some rows to overwrite.

    On a CPU it gets so few rows at once that they stay in the cache.
    """
    n, pixels = maps[0].values.shape
    on_cpu = maps[0].values.device.type == "cpu"
    step = max(1, _CACHED_PIXELS // pixels) if on_cpu else max(n, 1)
    dtype = torch.promote_types(maps[0].values.dtype, maps[-1].values.dtype)
    buffers = [rows.values.new_empty((min(step, n), pixels), dtype=dtype) for rows in maps]
    scores = []
    for start in range(0, max(n, 1), step):
        stop = min(start + step, n)
        copies = [
            buffer[: stop - start].copy_(rows.values[start:stop])
            for buffer, rows in zip(buffers, maps, strict=True)
        ]
        scores.append(score(*copies).double())
    return torch.cat(scores)


def _matching_rows(
    saliency: Tensor | MapRows, density: Tensor | MapRows
) -> tuple[MapRows, MapRows]:
    rows, truth = MapRows.of(saliency), MapRows.of(density, "density")
    if rows.shape != truth.shape:
        raise ValueError(
            f"density {truth.shape} and saliency {rows.shape} differ in shape; bring both to the "
            "same [frames, height, width]"
        )
    return rows, truth


def _as_density(rows: Tensor) -> None:
    """pysaliency's convert_saliency_map_to_density with a minimum value of 0."""
    rows -= rows.amin(1, keepdim=True).clamp(max=0.0)
    rows[~rows.any(1)] = 1.0
    rows /= rows.sum(1, keepdim=True)


def _as_stretched_density(rows: Tensor) -> None:
    """Minus the minimum, divided by the sum: NaN for a constant map."""
    rows -= rows.amin(1, keepdim=True)
    rows /= rows.sum(1, keepdim=True)


def _divide_by_sum(rows: Tensor) -> None:
    """Divided by the sum; an all-zero map stays zero."""
    total = rows.sum(1, keepdim=True)
    rows /= torch.where(total != 0, total, 1.0)
