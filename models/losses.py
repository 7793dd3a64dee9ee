"""This module has the training losses of the papers: ``saliency_loss("kl - 0.1*nss")``.

Each measure takes maps [..., height, width] and returns one value per map [...]. The weight of a
measure has a sign: NSS, CC and SIM grow with agreement, so a loss subtracts them. Everything is
computed in float32, also inside autocast, and value and gradient are finite on empty and constant
maps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.errors import RecipeError

EPSILON = 1e-8
"""Added in logarithms and variances, to maps that are scaled to a peak or a sum of 1."""

EMPTY = 1e-20
"""Sums, peaks and spans up to this value count as 0, so that no gradient overflows float32."""


def binary_cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of each map (Linardos et al. 2019).

    Both `prediction` and `target` [..., height, width] are in 0 … 1.
    """
    losses = functional.binary_cross_entropy(prediction, target, reduction="none")
    return losses.mean(dim=(-2, -1))


def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of each `prediction` and `target` [..., height, width]."""
    return (prediction - target).square().mean(dim=(-2, -1))


def kullback_leibler(prediction: Tensor, density: Tensor) -> Tensor:
    """Return the divergence of each `prediction` from its `density`; 0 is best.

    Both are not negative and are scaled to a sum of 1. The divergence is ``sum q log(eps + q / (p +
    eps))`` (MIT saliency benchmark, ``KLdiv.m``), with an epsilon large enough for gradients in
    float32. An all-zero map counts as uniform.
    """
    p, q = _distribution(prediction), _distribution(density)
    return (q * torch.log(EPSILON + q / (p + EPSILON))).sum(dim=(-2, -1))


def normalised_scanpath_saliency(prediction: Tensor, fixations: Tensor) -> Tensor:
    """Return the mean standardised prediction at the fixated pixels.

    The standard deviation is over N - 1 pixels, as in the MIT benchmark's ``NSS.m``; but that one
    counts each fixated pixel once. The result is 0, up to rounding, for a constant prediction or
    without fixations.

    Parameters
    ----------
    prediction : Tensor, float [..., height, width]
        Of any scale.
    fixations : Tensor, float [..., height, width]
        Number of fixations at each pixel.
    """
    centred = _centred(prediction)
    pixels = centred.shape[-2] * centred.shape[-1]
    variance = centred.square().sum(dim=(-2, -1)) / max(pixels - 1, 1)
    at_fixations = (centred * fixations).sum(dim=(-2, -1))
    return at_fixations / (fixations.sum(dim=(-2, -1)).clamp_min(1) * (variance + EPSILON).sqrt())


def correlation(prediction: Tensor, density: Tensor) -> Tensor:
    """Return Pearson's correlation of each `prediction` and `density`; 0 if one is constant."""
    a, b = _centred(prediction), _centred(density)
    variances = (a.square().mean(dim=(-2, -1)) + EPSILON) * (
        b.square().mean(dim=(-2, -1)) + EPSILON
    )
    return (a * b).mean(dim=(-2, -1)) / variances.sqrt()


def similarity(prediction: Tensor, density: Tensor) -> Tensor:
    """Return the histogram intersection of each `prediction` and `density`, 0 … 1.

    Both are stretched to 0 … 1, then divided by their sum; the result is the sum of minima (MIT's
    ``similarity.m``).
    """
    p, q = _distribution(min_max(prediction)), _distribution(min_max(density))
    return torch.minimum(p, q).sum(dim=(-2, -1))


def min_max(maps: Tensor) -> Tensor:
    """Stretch each map to 0 … 1 by its own minimum and maximum; a constant map becomes 0.

    Parameters
    ----------
    maps : Tensor, floating [..., height, width]
        Of any scale.

    Returns
    -------
    Tensor, [..., height, width]
    """
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    span = high - low
    return (maps - low) / torch.where(span > EMPTY, span, torch.ones_like(span))


Measure = Callable[[Tensor, Tensor], Tensor]
"""Takes predictions and ground truth [..., height, width], returns values [...]."""

MEASURES: dict[str, Measure] = {
    "bce": binary_cross_entropy,
    "mse": mean_squared_error,
    "kl": kullback_leibler,
    "nss": normalised_scanpath_saliency,
    "cc": correlation,
    "sim": similarity,
}
"""Measures by the name that a loss uses."""


class SaliencyLoss(nn.Module):
    """Compute a weighted sum of measures over a batch of clips.

    Maps with an empty ground truth have no information and are left out of each average: NSS leaves
    out maps without fixations, all other measures leave out maps with an empty density.

    Parameters
    ----------
    weights : mapping of str to float
        Weight of each measure; negative for those that grow with agreement.
    over_time : {"mean", "sum"}
        Average over all valid maps, or sum over the clip and average over the batch
        (Linardos et al. 2019 sum the frames of a clip).
    target : {"min_max", "as_given"}
        Whether BCE and MSE scale each density map to 0 … 1, or take it as it is because it is in
        0 … 1. The other measures do not depend on its scale.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        over_time: Literal["mean", "sum"] = "mean",
        target: Literal["min_max", "as_given"] = "min_max",
    ) -> None:
        super().__init__()
        unknown = sorted(set(weights) - set(MEASURES))
        if unknown or not weights:
            raise RecipeError(
                f"unknown or missing losses {unknown}; choose among {', '.join(MEASURES)}"
            )
        if over_time not in ("mean", "sum") or target not in ("min_max", "as_given"):
            raise RecipeError(
                f"over_time={over_time!r} must be 'mean' or 'sum', "
                f"target={target!r} 'min_max' or 'as_given'"
            )
        self.weights = dict(weights)
        self.over_time = over_time
        self.target = target

    def forward(
        self,
        prediction: Tensor,
        density: Tensor,
        fixations: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        prediction : Tensor, floating [batch, time, height, width]
            Not negative; for BCE in 0 … 1.
        density : Tensor, [batch, time, height, width]
            Ground truth, not negative, of any scale.
        fixations : Tensor, optional, bool, integer or floating [batch, time, height, width]
            Number of fixations at each pixel; NSS needs it.
        valid : Tensor, optional, bool [batch, time]
            False leaves a map out (padding).

        Returns
        -------
        Tensor, float32 []
            0 with a zero gradient if no map is valid.

        Raises
        ------
        ValueError
            Shapes differ, or NSS has no fixations.
        """
        if prediction.shape != density.shape or prediction.ndim != 4:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and density {tuple(density.shape)} must "
                "both be [batch, time, height, width]; resize the ground truth to the prediction"
            )
        if "nss" in self.weights and (fixations is None or fixations.shape != prediction.shape):
            raise ValueError(
                "nss needs fixation counts of the prediction's shape "
                f"{tuple(prediction.shape)}, got {None if fixations is None else fixations.shape}"
            )
        with torch.autocast(prediction.device.type, enabled=False):
            prediction, density = prediction.float(), density.float()
            total = prediction.new_zeros(())
            for name, weight in self.weights.items():
                truth = density
                if name == "nss" and fixations is not None:
                    truth = fixations.float()
                known = truth.amax(dim=(-2, -1)) > EMPTY
                if name in ("bce", "mse") and self.target == "min_max":
                    truth = min_max(truth)
                if valid is not None:
                    known = known & valid
                total = total + weight * self._average(MEASURES[name](prediction, truth), known)
            return total

    def _average(self, values: Tensor, known: Tensor) -> Tensor:
        values = torch.where(known, values, torch.zeros_like(values))
        if self.over_time == "sum":
            return values.sum(dim=1).mean()
        return values.sum() / known.sum().clamp_min(1)

    def extra_repr(self) -> str:
        """Show the terms in ``print(loss)``."""
        return f"{self.weights}, over_time={self.over_time}, target={self.target}"


def saliency_loss(
    terms: str | Mapping[str, float],
    over_time: Literal["mean", "sum"] = "mean",
    target: Literal["min_max", "as_given"] = "min_max",
) -> SaliencyLoss:
    """Make a loss from a mapping, or from a sum in words.

    Parameters
    ----------
    terms : str or mapping of str to float
        ``"bce"``, ``"kl - 0.1*nss"``, ``{"kl": 1, "cc": -0.2}``.
    over_time, target
        See `SaliencyLoss`.

    Raises
    ------
    RecipeError
        The sum cannot be parsed or names an unknown measure.
    """
    weights = parse_terms(terms) if isinstance(terms, str) else terms
    return SaliencyLoss(weights, over_time, target)


_TERM = re.compile(r"([+-])(?:(\d+\.?\d*(?:e-?\d+)?|\.\d+)\*)?([a-z_]+)")


def parse_terms(text: str) -> dict[str, float]:
    """Return the weights in a `text` such as ``kl - 0.1*nss``, in which each measure occurs once.

    Raises
    ------
    RecipeError
        The text cannot be parsed.
    """
    compact = "".join(text.split())
    signed = compact if compact.startswith(("+", "-")) else "+" + compact
    terms = _TERM.findall(signed)
    names = [name for _, _, name in terms]
    read = "".join(match.group(0) for match in _TERM.finditer(signed))
    if read != signed or not terms or len(set(names)) != len(names):
        raise RecipeError(
            f"cannot parse the loss {text!r}: write a sum such as 'kl - 0.1*nss' of "
            f"{', '.join(MEASURES)}, each at most once"
        )
    return {name: float(sign + (factor or "1")) for sign, factor, name in terms}


def _distribution(maps: Tensor) -> Tensor:
    """Scale maps to a sum of 1; an all-zero map becomes uniform, with a gradient of normal size."""
    total = maps.sum(dim=(-2, -1), keepdim=True)
    maps = maps + (total <= EMPTY)
    return maps / maps.sum(dim=(-2, -1), keepdim=True)


def _centred(maps: Tensor) -> Tensor:
    """Scale maps to a largest magnitude of 1, then subtract their mean.

    For measures that do not depend on scale this changes neither value nor gradient, and gives
    `EPSILON` the same meaning for all maps.
    """
    peak = maps.detach().abs().amax(dim=(-2, -1), keepdim=True)
    scaled = maps / torch.where(peak > EMPTY, peak, torch.ones_like(peak))
    return scaled - scaled.mean(dim=(-2, -1), keepdim=True)
