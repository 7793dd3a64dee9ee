"""This module computes CC, SIM, NSS and AUC-Judd as the NTIRE 2026 and AIM 2024 challenges do.

Source: ``bench.py`` of the organisers. The saliency comes from `on_grid`: each frame is stretched
to 256 levels, as in a submission, then resized to the ground truth. The density is stretched here.
Only a frame without fixations has no score: small constants give constant maps a score of 0. Sums
are float64; those of the organisers are float32, which differs by about 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.models.metrics.pixels import FixatedPixels, MapRows

NAME = "ntire2026"
"""Name of the variant."""

METRICS = ("cc", "sim", "nss", "auc_judd")
"""The metrics of the challenge; its script has no others."""

_EPS = 1e-7
_STRETCH_EPS = float(np.finfo(np.float32).eps)


def levels(maps: NDArray[Any] | Tensor) -> NDArray[np.uint8]:
    """Stretch each map to 0 … 255 between its minimum and maximum, as in a submission.

    Parameters
    ----------
    maps : ndarray or Tensor, real [n, h, w]
        Saliency of any scale.

    Returns
    -------
    ndarray, uint8 [n, h, w]
        A constant map becomes zero.

    Raises
    ------
    ValueError
        A map is not finite.
    """
    values = np.asarray(maps, np.float32)
    low = values.min(axis=(1, 2), keepdims=True)
    span = values.max(axis=(1, 2), keepdims=True) - low
    if not np.isfinite(span).all():
        raise ValueError("saliency is not finite; correct it before scoring")
    return np.asarray(np.rint((values - low) * (255 / np.where(span > 0, span, 1))), np.uint8)


def on_grid(maps: NDArray[Any] | Tensor, size: tuple[int, int]) -> Tensor:
    """Convert maps as the challenge does with a submission: 256 levels, size of the ground truth.

    The 256 levels change the scores: AUC-Judd has no jitter here, so pixels of one level pass a
    threshold together, and the many that round to 0 lower it by up to 0.1.

    Parameters
    ----------
    maps : ndarray or Tensor, real [n, h, w]
        Saliency of any scale.
    size : (height, width)
        Size of the ground truth; maps are resized by OpenCV's bilinear rule, without averaging.

    Returns
    -------
    Tensor, float32 [n, *size]
        In [0, 1].
    """
    import cv2

    pictures = levels(maps)
    resized = np.empty((len(pictures), *size), np.float32)

    def one(number: int) -> None:
        stretched = pictures[number] / np.float32(255 + _STRETCH_EPS)
        cv2.resize(
            stretched, (size[1], size[0]), dst=resized[number], interpolation=cv2.INTER_LINEAR
        )

    _each_frame(one, len(pictures))
    return torch.from_numpy(resized)


def density_rows(maps: Tensor | MapRows) -> MapRows:
    """Return the rows of density `maps` [n, h, w] in their own dtype, without a copy."""
    if isinstance(maps, MapRows) or maps.dtype.is_floating_point or maps.device.type != "cpu":
        return MapRows.of(maps, "density")
    pixels = maps.detach().flatten(1).numpy()
    low, high = (
        torch.from_numpy(extreme(axis=1).astype(np.float64)) for extreme in (pixels.min, pixels.max)
    )
    frames, height, width = maps.shape
    return MapRows(torch.from_numpy(pixels), low, high, (frames, height, width))


def nss(rows: MapRows, fixations: FixatedPixels) -> Tensor:
    """Return the mean of (map - mean) / (deviation + 1e-7) over all fixations, float64 [n].

    `rows` are the saliency; each of the `fixations` counts.
    """
    first, second = _sums(rows)
    pixels = rows.values.shape[1]
    mean = first / pixels
    deviation = (second / pixels - mean**2).clamp(min=0).sqrt()
    values, counts = fixations.gather(rows.values, 0.0)
    at_fixations = (counts * values.double()).sum(1) / counts.sum(1)
    return (at_fixations - mean) / (deviation + _EPS)


def cc(rows: MapRows, truth: MapRows) -> Tensor:
    """Return the correlation of saliency `rows` and the density `truth`, float64 [n].

    It is the sum of products of both standardised maps over the root of (product of the sums of
    squares + 1e-7).
    """
    pixels = rows.values.shape[1]
    low, scale = _stretch(truth)
    a, aa, b, bb, ab = _products(rows, truth).unbind(1)
    # The sums of the stretched density, (b - low) * scale, follow from those of b.
    bb = (bb - 2 * low * b + pixels * low**2) * scale**2
    ab = (ab - low * a) * scale
    b = (b - pixels * low) * scale
    norms = []
    for total, squares in ((a, aa), (b, bb)):
        variance = (squares / pixels - (total / pixels) ** 2).clamp(min=0)
        norms.append((variance * pixels, variance.sqrt() + _EPS))
    (a_squares, a_scale), (b_squares, b_scale) = norms
    product = (ab - a * b / pixels) / (a_scale * b_scale)
    return product / (a_squares / a_scale**2 * b_squares / b_scale**2 + _EPS).sqrt()


def sim(rows: MapRows, truth: MapRows) -> Tensor:
    """Return the similarity of saliency `rows` and the density `truth`, float64 [n].

    It is the sum of the minima of both maps, each divided by (its sum + 1e-7).
    """
    low, scale = _stretch(truth)
    a, _, b, _, _ = _products(rows, truth).unbind(1)
    b = (b - rows.values.shape[1] * low) * scale
    gains = torch.stack([1 / (a + _EPS), scale / (b + _EPS), low], 1)
    if not _is_compiled(rows):
        p = rows.values.double() * gains[:, :1]
        q = (truth.values.double() - gains[:, 2:]) * gains[:, 1:2]
        return torch.minimum(p, q).sum(1)
    from foveal.models.metrics.challenge_kernels import minima

    return _by_frame(minima, rows.values, truth.values, gains, width=1)[:, 0]


def auc_judd(rows: MapRows, fixations: FixatedPixels) -> Tensor:
    """Return the area under the challenge's curve, with one threshold per fixation, float64 [n].

    The organisers count the fixated pixels by ``np.unique(F, axis=1).shape[-1]``, which counts the
    distinct columns of the n x 2 array of points: 2, or 1 if row and column are equal in every
    point. This mistake is repeated here, so that the scores are the same.

    Parameters
    ----------
    rows : MapRows
        Saliency.
    fixations : FixatedPixels
        Each fixation counts.
    """
    height, width = rows.shape[1:]
    values, counts = fixations.repeated().gather(rows.values, math.inf)
    thresholds = values.sort(1).values
    if not _is_compiled(rows):
        from foveal.models.metrics.auc import count_at_least

        above = count_at_least(thresholds, rows.values, None, rows).cpu()
    else:
        from foveal.models.metrics.challenge_kernels import BINS, at_least

        scale = BINS / (rows.high - rows.low)
        stretch = torch.stack([rows.low, torch.where(scale.isfinite(), scale, 0.0)], 1)
        above = _by_frame(at_least, rows.values, thresholds, stretch, width=thresholds.shape[1])
    oblique = torch.zeros(rows.shape[0], device=fixations.frame.device, dtype=torch.bool)
    oblique[fixations.frame[fixations.pixel // width != fixations.pixel % width]] = True
    areas = [
        _area(one[: int(n)].flip(0).numpy(), 2 if is_oblique else 1, height * width)
        for one, n, is_oblique in zip(above, counts.sum(1), oblique, strict=True)
    ]
    return torch.tensor(areas, dtype=torch.float64, device=rows.values.device)


def _area(above: NDArray[np.float64], distinct: int, pixels: int) -> float:
    """Return the area of one frame; `above` counts the pixels per threshold, highest first."""
    n = len(above)
    if n == 0:
        return math.nan
    number = np.arange(1, n + 1)
    possible = pixels + (n - distinct)
    false_alarms = np.concatenate([[0], (above - number) / (possible - n), [1]])
    hits = np.concatenate([[0], number / n, [1]])
    return float(np.trapezoid(hits, false_alarms))


def _is_compiled(rows: MapRows) -> bool:
    """Whether the loops of `challenge_kernels` run; on other devices torch computes the same."""
    return rows.values.device.type == "cpu"


def _stretch(truth: MapRows) -> tuple[Tensor, Tensor]:
    """Return the least value of each density map, and the factor that stretches it to [0, 1]."""
    low = truth.low.double()
    return low, 1 / (truth.high.double() - low + _STRETCH_EPS)


def _sums(rows: MapRows) -> tuple[Tensor, Tensor]:
    """Return sum and sum of squares of each row, float64."""
    if not _is_compiled(rows):
        values = rows.values.double()
        return values.sum(1), values.square().sum(1)
    from foveal.models.metrics.challenge_kernels import sums

    found = _by_frame(sums, rows.values, width=2)
    return found[:, 0], found[:, 1]


def _products(rows: MapRows, truth: MapRows) -> Tensor:
    """Return the sums of a, a², b, b² and ab of each frame, float64 [n, 5]."""
    if not _is_compiled(rows):
        a, b = rows.values.double(), truth.values.double()
        return torch.stack([one.sum(1) for one in (a, a * a, b, b * b, a * b)], 1)
    from foveal.models.metrics.challenge_kernels import products

    return _by_frame(products, rows.values, truth.values, width=5)


def _by_frame(kernel: Callable[..., None], *rows: Tensor, width: int) -> Tensor:
    """Run a kernel on each frame, in as many threads as torch uses; float64 [n, width]."""
    found = np.empty((len(rows[0]), width))
    arrays = [one.contiguous().numpy() for one in rows]
    _each_frame(lambda n: kernel(*(array[n] for array in arrays), found[n]), len(found))
    return torch.from_numpy(found)


def _each_frame(work: Callable[[int], None], frames: int) -> None:
    threads = torch.get_num_threads()
    if threads == 1 or frames < 2:
        for number in range(frames):
            work(number)
    else:
        list(_pool(threads).map(work, range(frames)))


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="scores")
