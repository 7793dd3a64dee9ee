"""This module opens backbones of torchvision, which take pictures or clips."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from foveal.errors import RecipeError
from foveal.models.features.backbone import Backbone, seeded, triple
from foveal.models.normalise import IMAGENET_MEAN, IMAGENET_STD
from foveal.models.strict_loading import load_strictly
from foveal.models.weights import find, load_state_dict, random_seed
from foveal.models.weights_registry import Weights, published

_LICENCE = "BSD-3-Clause (torchvision; the data they were trained on have terms of their own)"
_CHANNELS_LAST = ("swin",)
_LAST = ("layer4", "norm", "encoder.ln", "features")
"""Layers with the last maps or tokens of all these networks, before pooling and classifier."""


def open_torchvision(
    name: str, weights: str | None, size: tuple[int, int] | None, frames: int | None
) -> Backbone:
    """Open the backbone ``torchvision:name``, see `open_backbone`."""
    import torchvision

    builder, kinds = _found(name)
    chosen = _published(name, kinds, weights)
    seed = random_seed(weights)
    if seed is not None:
        identity, path = f"random:{seed}", None
    else:
        file = find(_entry(name, chosen) if chosen is not None else str(weights))
        identity, path = f"sha256:{file.sha256}", file.path

    def make() -> nn.Module:
        if path is None:
            return seeded(seed or 0, lambda: builder(weights=None))
        state = load_state_dict(path)
        heads = [value for key, value in state.items() if key.endswith("bias")]
        classes = {"num_classes": len(heads[-1])} if heads else {}
        network: nn.Module = builder(weights=None, **classes)
        load_strictly(network, state, path)
        return network

    recipe = (chosen or kinds.DEFAULT).transforms()
    clips = builder.__module__.startswith("torchvision.models.video")
    return Backbone(
        name=f"torchvision:{name}",
        weights=identity,
        takes="clip" if clips else "picture",
        make=make,
        mean=triple(recipe.mean, IMAGENET_MEAN),
        std=triple(recipe.std, IMAGENET_STD),
        size=_size(recipe.crop_size),
        frames=16 if clips else None,
        layout="channels_last" if name.startswith(_CHANNELS_LAST) else "channels_first",
        prefix_tokens=1 if name.startswith(("vit", "mvit")) else 0,
        last_layers=_LAST,
        about={"torchvision": str(torchvision.__version__)},
    )


def torchvision_weights(name: str) -> Weights:
    """Return the entry of weights that torchvision publishes for a network.

    Parameters
    ----------
    name : str
        ``NETWORK`` or ``NETWORK:SET``.

    Raises
    ------
    RecipeError
        There is no such network or set.
    """
    network, _, wanted = name.partition(":")
    _, kinds = _found(network)
    return _entry(network, _published(network, kinds, wanted or None))


def _entry(name: str, chosen: Any) -> Weights:
    about = published(f"torchvision:{name}", chosen.name, chosen.url, _LICENCE)
    return Weights(
        f"torchvision:{name}:{chosen.name}",
        f"torchvision:{name}",
        f"torchvision/{name}/{chosen.name}/{about.file}",
        chosen.url,
        _LICENCE,
        sha256=about.sha256,
    )


def _found(name: str) -> tuple[Any, Any]:
    from torchvision.models import get_model_builder, get_model_weights, list_models

    known = [each for each in list_models() if "/" not in each]
    detection = ("detection", "segmentation", "optical_flow", "quantization")
    if name not in known or any(part in get_model_builder(name).__module__ for part in detection):
        near = difflib.get_close_matches(name, known, 1)
        guess = f"; did you mean torchvision:{near[0]}?" if near else ""
        raise RecipeError(f"torchvision has no classification network {name!r}{guess}")
    return get_model_builder(name), get_model_weights(name)


def _published(name: str, kinds: Any, weights: str | None) -> Any:
    """Return a published set of weights; the default one for None; None for a file or random."""
    if weights is None:
        return kinds.DEFAULT
    if random_seed(weights) is not None:
        return None
    sets = {each.name: each for each in kinds}
    if weights in sets:
        return sets[weights]
    if weights.isupper():
        raise RecipeError(f"torchvision:{name} has the weights {', '.join(sets)}, not {weights!r}")
    return None


def _size(sides: Any) -> tuple[int, int]:
    values = list(sides) if isinstance(sides, list | tuple) else [sides]
    return int(values[0]), int(values[-1])
