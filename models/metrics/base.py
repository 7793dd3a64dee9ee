"""What a metric is, and the registered ones by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from foveal.errors import RecipeError
from foveal.registry import find, plugins

Variant = Literal["mit", "dhf1k", "pysaliency"]
VARIANTS: tuple[str, ...] = get_args(Variant)

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
    if variant not in VARIANTS:
        raise ValueError(f"metric variant {variant!r} is unknown; allowed: {', '.join(VARIANTS)}")
