"""This module finds the weights that libraries publish for their networks, by backbone name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from foveal.errors import RecipeError
from foveal.models.weights_registry import Weights


def published_weights(name: str) -> Weights:
    """Return the entry of published weights of a backbone.

    Parameters
    ----------
    name : str
        ``torchvision:NAME``, ``torchvision:NAME:SET`` or ``timm:NAME``.

    Raises
    ------
    RecipeError
        There is no such network, or nothing is published for it.
    """
    library, _, network = name.partition(":")
    if library == "torchvision":
        from foveal.models.features.torchvision_nets import torchvision_weights

        return torchvision_weights(network)
    from foveal.models.features.timm_nets import timm_weights

    return timm_weights(network)


def fetched(folder: Path) -> Iterator[Weights]:
    """Yield the entries of weights that are in `folder`, the folder of weights."""
    places = [
        f"torchvision:{path.parent.name}:{path.name}" for path in folder.glob("torchvision/*/*")
    ]
    places += [f"timm:{path.name}" for path in folder.glob("timm/*")]
    for name in sorted(places):
        try:
            yield published_weights(name)
        except RecipeError:  # a folder that foveal did not make
            continue
