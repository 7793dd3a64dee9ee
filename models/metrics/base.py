"""This module defines a metric, and finds the registered ones by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from foveal.errors import RecipeError
from foveal.models.metrics import challenge
from foveal.registry import find, plugins

Variant = Literal["mit", "dhf1k", "pysaliency", "ntire2026"]
"""Whose definitions scores follow."""

DEFINITIONS: tuple[str, ...] = get_args(Variant)
"""All variants."""

VARIANTS = DEFINITIONS[:3]
"""Variants that define every metric of foveal."""

SCORED_BY: Mapping[str, tuple[str, ...]] = {challenge.NAME: challenge.METRICS}
"""The metrics of each variant that does not define all of them."""

Need = Literal["fixations", "density", "other_fixations"]
"""Ground truth that a metric takes."""


@dataclass(frozen=True)
class Metric:
    """A score of saliency maps; registered as an entry point of the group ``foveal.metrics``.

    Attributes
    ----------
    label : str
        Head of its column in tables.
    needs : tuple of {'fixations', 'density', 'other_fixations'}
        The ground truth that it takes, see `ScoreTable.update`.
    score : callable
        Takes the maps (`MapRows`), what it `needs` in that order (`FixatedPixels`; `MapRows` for
        the density) and the variant; returns a Tensor, float64 [n], NaN where it is undefined.
    higher_is_better : bool
        Whether a larger score is better.
    """

    label: str
    needs: tuple[Need, ...]
    score: Callable[..., Tensor]
    higher_is_better: bool = True


def names() -> tuple[str, ...]:
    """Return the names of all registered metrics."""
    return tuple(plugins("metrics"))


def find_metric(name: str) -> Metric:
    """Return the metric that is registered under a name.

    Parameters
    ----------
    name : str
        One of `names`.

    Raises
    ------
    RecipeError
        Nothing is registered under this name, or it is not a `Metric`.
    """
    found = find("metrics", name)
    if not isinstance(found, Metric):
        raise RecipeError(
            f"metric {name!r} ({plugins('metrics')[name].target}) is a {type(found).__name__}; "
            "register a foveal.models.metrics.Metric"
        )
    return found


def check_variant(variant: str) -> None:
    """Raise a ValueError unless `variant` is one of `VARIANTS`."""
    if variant in SCORED_BY:
        raise ValueError(f"{variant} defines {', '.join(SCORED_BY[variant])} and no other metric")
    if variant not in VARIANTS:
        raise ValueError(
            f"metric variant {variant!r} is unknown; allowed: {', '.join(DEFINITIONS)}"
        )


def metrics_of(variant: str) -> tuple[str, ...]:
    """Return the names of the registered metrics that a variant defines.

    Parameters
    ----------
    variant : str
        One of `DEFINITIONS`.

    Raises
    ------
    ValueError
        The variant is unknown.
    """
    if variant in SCORED_BY:
        return SCORED_BY[variant]
    check_variant(variant)
    return names()
