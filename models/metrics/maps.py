"""This module computes NSS, CC, SIM and KL divergence; undefined scores are NaN.

The definitions of ``ntire2026`` are in `foveal.models.metrics.challenge`. Maps in float64 are
scored in float64. All others are scored in float32 with pairwise sums, which differs from float64
by about 1e-6 and takes a third of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from foveal.models.metrics import challenge
from foveal.models.metrics.base import Metric, Variant, check_variant
from foveal.models.metrics.pixels import FixatedPixels, MapRows, as_fixated_pixels

_EPS = {"mit": 2.0**-52, "dhf1k": 2.0**-52, "pysaliency": 2.2204e-16}

_CACHED_PIXELS = 2**18


def nss(
    saliency: Tensor | MapRows, fixations: Tensor | FixatedPixels, variant: Variant = "mit"
) -> Tensor:
    """Compute the normalised scanpath saliency: mean standardised saliency of fixated pixels.

    ``mit``, ``dhf1k``: ``NSS.m`` (Peters et al. 2005; MIT saliency benchmark), standard deviation
    over N - 1 pixels; each fixated pixel counts once. ``pysaliency``: ``metrics.NSS``, over N
    pixels; each fixation counts. ``ntire2026``: see `foveal.models.metrics.challenge`.

    Parameters
    ----------
    saliency : Tensor, real [n, h, w]
        ``a * saliency + b`` with a > 0 has the same score.
    fixations : Tensor [n, h, w] or FixatedPixels
        Number of fixations on each pixel.
    variant : {'mit', 'dhf1k', 'pysaliency', 'ntire2026'}
        Whose definition.

    Returns
    -------
    Tensor, float64 [n]
        NaN without fixations and for a constant map (for which pysaliency itself returns 0).
    """
    rows = MapRows.of(saliency)
    if variant == challenge.NAME:
        return challenge.nss(rows, as_fixated_pixels(fixations, rows.shape))
    check_variant(variant)
    at_fixations, counts = as_fixated_pixels(fixations, rows.shape).gather(rows.values, 0.0)
    weights = counts if variant == "pysaliency" else (counts > 0).double()
    freedom = rows.values.shape[1] - (0 if variant == "pysaliency" else 1)

    def mean_and_deviation(values: Tensor, scratch: Tensor) -> Tensor:
        mean = values.mean(1, keepdim=True)
        torch.sub(values, mean, out=scratch)
        rest = scratch.mean(1).double()  # the rounding error of the float32 mean
        variance = scratch.square_().sum(1).double() / freedom
        return torch.stack([mean[:, 0].double() + rest, variance.sqrt()], 1)

    mean, deviation = _rowwise(mean_and_deviation, rows, scratch=1).unbind(1)
    looked_at = (weights * (at_fixations.double() - mean[:, None])).sum(1) / weights.sum(1)
    return torch.where(rows.is_constant(), math.nan, looked_at / deviation)


def cc(saliency: Tensor | MapRows, density: Tensor | MapRows, variant: Variant = "mit") -> Tensor:
    """Compute Pearson's correlation of saliency and density over the pixels.

    ``mit``, ``dhf1k`` and ``pysaliency`` agree: ``CC.m`` (MIT saliency benchmark), ``metrics.CC``
    (pysaliency). ``ntire2026``: see `foveal.models.metrics.challenge`.

    Parameters
    ----------
    saliency, density : Tensor, real [n, h, w]
        ``a * map + b`` with a > 0 has the same score, for both.
    variant : {'mit', 'dhf1k', 'pysaliency', 'ntire2026'}
        Whose definition.

    Returns
    -------
    Tensor, float64 [n]
        In [-1, 1]; NaN if one map is constant (pysaliency itself returns 0 for a constant
        prediction).
    """
    rows, truth = _matching_rows(saliency, density)
    if variant == challenge.NAME:
        return challenge.cc(rows, truth)
    check_variant(variant)

    def pearson(values: Tensor, density: Tensor, a: Tensor, b: Tensor, product: Tensor) -> Tensor:
        torch.sub(values, values.mean(1, keepdim=True), out=a)
        torch.sub(density, density.mean(1, keepdim=True), out=b)
        covariance = torch.mul(a, b, out=product).sum(1).double()
        norms = a.square_().sum(1).double() * b.square_().sum(1).double()
        return (covariance / norms.sqrt()).clamp(-1.0, 1.0)

    constant = rows.is_constant() | truth.is_constant()
    return torch.where(constant, math.nan, _rowwise(pearson, rows, truth, scratch=3))


def sim(saliency: Tensor | MapRows, density: Tensor | MapRows, variant: Variant = "mit") -> Tensor:
    """Compute the similarity: histogram intersection of saliency and density as distributions.

    ``mit``, ``dhf1k``: ``similarity.m`` (Judd et al. 2012; MIT saliency benchmark), which first
    stretches both maps to [0, 1]. ``pysaliency``: ``metrics.SIM``, which does not stretch; it
    subtracts a negative minimum and takes an all-zero prediction as uniform. ``ntire2026``: see
    `foveal.models.metrics.challenge`.

    Parameters
    ----------
    saliency, density : Tensor, real [n, h, w]
        Maps of any scale.
    variant : {'mit', 'dhf1k', 'pysaliency', 'ntire2026'}
        Whose definition.

    Returns
    -------
    Tensor, float64 [n]
        In [0, 1]; NaN if the density is empty and, except for pysaliency, if one map is constant.
    """
    rows, truth = _matching_rows(saliency, density)
    if variant == challenge.NAME:
        return challenge.sim(rows, truth)
    check_variant(variant)
    normalise = _as_density if variant == "pysaliency" else _as_stretched_density

    def intersection(values: Tensor, density: Tensor, p: Tensor, q: Tensor) -> Tensor:
        normalise(values, p)
        normalise(density, q)
        return torch.minimum(p, q, out=p).sum(1)

    return torch.where(truth.is_zero(), math.nan, _rowwise(intersection, rows, truth, scratch=2))


def kldiv(
    saliency: Tensor | MapRows, density: Tensor | MapRows, variant: Variant = "mit"
) -> Tensor:
    """Compute the Kullback-Leibler divergence of the saliency from the density; lower is better.

    ``sum(q * log(eps + q / (p + eps)))`` with both maps divided by their sums. ``mit``, ``dhf1k``:
    ``KLdiv.m`` (MIT saliency benchmark); an all-zero prediction stays zero. ``pysaliency``:
    ``metrics.MIT_KLDiv``, which subtracts a negative minimum and takes an all-zero prediction as
    uniform.

    Parameters
    ----------
    saliency, density : Tensor, real [n, h, w]
        A positive factor changes nothing.
    variant : {'mit', 'dhf1k', 'pysaliency'}
        Whose definition.

    Returns
    -------
    Tensor, float64 [n]
        NaN if the density is empty and, except for pysaliency, if a saliency value is negative.
    """
    check_variant(variant)
    rows, truth = _matching_rows(saliency, density)
    normalise = _as_density if variant == "pysaliency" else _divide_by_sum
    undefined = truth.is_zero()
    if variant != "pysaliency":
        undefined |= rows.low < 0

    def divergence(values: Tensor, density: Tensor, p: Tensor, q: Tensor) -> Tensor:
        normalise(values, p)
        normalise(density, q)
        ratio = torch.div(q, p.add_(_EPS[variant]), out=p).add_(_EPS[variant])
        return _log_(ratio).mul_(q).sum(1)

    return torch.where(undefined, math.nan, _rowwise(divergence, rows, truth, scratch=2))


NSS = Metric("NSS", ("fixations",), nss)
"""`nss` as a registered metric."""

CC = Metric("CC", ("density",), cc)
"""`cc` as a registered metric."""

SIM = Metric("SIM", ("density",), sim)
"""`sim` as a registered metric."""

KLDIV = Metric("KLD", ("density",), kldiv, higher_is_better=False)
"""`kldiv` as a registered metric."""


def _rowwise(score: Callable[..., Tensor], *maps: MapRows, scratch: int) -> Tensor:
    """Score rows and return float64 [n, ...]; `score` takes rows of each map and `scratch` buffers.

    On a CPU it takes few rows at once, so that they stay in the cache.
    """
    n, pixels = maps[0].values.shape
    on_cpu = maps[0].values.device.type == "cpu"
    step = min(max(1, _CACHED_PIXELS // pixels), n) if on_cpu else n
    dtype = torch.promote_types(maps[0].values.dtype, maps[-1].values.dtype)
    buffers = maps[0].values.new_empty((scratch, step, pixels), dtype=dtype)
    scores = []
    for start in range(0, max(n, 1), max(step, 1)):
        parts = [rows.values[start : start + step] for rows in maps]
        scores.append(score(*parts, *buffers[:, : len(parts[0])]).double())
    return torch.cat(scores)


def _log_(values: Tensor) -> Tensor:
    """Compute the natural logarithm in place; on a CPU NumPy takes a third of torch's time."""
    if values.device.type != "cpu":
        return values.log_()
    array = values.numpy()
    # A value without a logarithm becomes NaN, so that its frame is left out; no warning is needed.
    with np.errstate(invalid="ignore", divide="ignore"):
        np.log(array, out=array)
    return values


def _matching_rows(
    saliency: Tensor | MapRows, density: Tensor | MapRows
) -> tuple[MapRows, MapRows]:
    rows, truth = MapRows.of(saliency), MapRows.of(density, "density")
    if rows.shape != truth.shape:
        raise ValueError(
            f"density {truth.shape} and saliency {rows.shape} differ in shape; resize both to the "
            "same [frames, height, width]"
        )
    return rows, truth


def _as_density(rows: Tensor, out: Tensor) -> None:
    """Apply pysaliency's convert_saliency_map_to_density with a minimum value of 0."""
    torch.sub(rows, rows.amin(1, keepdim=True).clamp(max=0.0), out=out)
    out[~out.any(1)] = 1.0
    out /= out.sum(1, keepdim=True)


def _as_stretched_density(rows: Tensor, out: Tensor) -> None:
    """Subtract the minimum and divide by the sum: NaN for a constant map."""
    torch.sub(rows, rows.amin(1, keepdim=True), out=out)
    out /= out.sum(1, keepdim=True)


def _divide_by_sum(rows: Tensor, out: Tensor) -> None:
    """Divide by the sum; an all-zero map stays zero."""
    total = rows.sum(1, keepdim=True)
    torch.div(rows, torch.where(total != 0, total, 1.0), out=out)
