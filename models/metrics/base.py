"""What a metric is, and the registered ones by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from foveal.errors import RecipeError
from foveal.models.metrics import challenge
from foveal.registry import find, plugins

Variant = Literal["mit", "dhf1k", "pysaliency", "ntire2026"]
DEFINITIONS: tuple[str, ...] = get_args(Variant)
"""Whose definitions scores can follow."""

VARIANTS = DEFINITIONS[:3]
"""Those that define every metric of foveal."""

SCORED_BY: Mapping[str, tuple[str, ...]] = {challenge.NAME: challenge.METRICS}
"""The metrics of definitions that are not for all of them."""

Need = Literal["fixations", "density", "other_fixations"]


@dataclass(frozen=True)
class Metric:
    """A score of saliency maps; registered as an entry point of the group ``foveal.metrics``.

    Attributes
    ----------
    label : str
        Head of its column in tables.
    needs : tuple of {'fixations', 'density', 'other_fixations'}
        The ground truth it takes, see `ScoreTable.update`.
    score : callable
        Takes the maps (`MapRows`), what it `needs` in that order (`FixatedPixels`; `MapRows` for
        the density) and the variant, and gives a Tensor, float64 [n], NaN where it is undefined.
    higher_is_better : bool
    """

    label: str
    needs: tuple[Need, ...]
    score: Callable[..., Tensor]
    higher_is_better: bool = True


def names() -> tuple[str, ...]:
    """Names of all registered metrics."""
    return tuple(plugins("metrics"))


def find_metric(name: str) -> Metric:
    """The metric that is registered under a name.

    Raises
    ------
    RecipeError
        None is, or what is registered is no `Metric`.
    """
    found = find("metrics", name)
    if not isinstance(found, Metric):
        raise RecipeError(
            f"metric {name!r} ({plugins('metrics')[name].target}) is a {type(found).__name__}; "
            "register a foveal.models.metrics.Metric"
        )
    return found


def check_variant(variant: str) -> None:
    """Refuse a variant that is none of `VARIANTS`, by ValueError."""
    if variant in SCORED_BY:
        raise ValueError(f"{variant} defines {', '.join(SCORED_BY[variant])} and no other metric")
    if variant not in VARIANTS:
        raise ValueError(
            f"metric variant {variant!r} is unknown; allowed: {', '.join(DEFINITIONS)}"
        )


def metrics_of(variant: str) -> tuple[str, ...]:
    """Names of the registered metrics that a variant defines.

    Raises
    ------
    ValueError
        The variant is none of `DEFINITIONS`.
    """
    if variant in SCORED_BY:
        return SCORED_BY[variant]
    check_variant(variant)
    return names()
