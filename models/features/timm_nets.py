"""This module opens backbones of timm (PyTorch Image Models), which take pictures."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from foveal.errors import RecipeError
from foveal.models.features.backbone import Backbone, seeded, triple
from foveal.models.normalise import IMAGENET_MEAN, IMAGENET_STD
from foveal.models.weights import find, load_state_dict, random_seed
from foveal.models.weights_registry import Weights

_HUB = "https://huggingface.co/"
_FILE = "model.safetensors"


def open_timm(
    name: str, weights: str | None, size: tuple[int, int] | None, frames: int | None
) -> Backbone:
    """Open the backbone ``timm:name``, see `open_backbone`."""
    import timm

    config = _config(name)
    seed = random_seed(weights)
    path = None
    if seed is not None:
        identity = f"random:{seed}"
    else:
        file = find(timm_weights(name) if weights is None else weights)
        identity, path = f"sha256:{file.sha256}", file.path

    def make() -> nn.Module:
        options: dict[str, Any] = {}
        if size is not None and getattr(config, "fixed_input_size", False):
            options["img_size"] = size
        if path is None:
            return seeded(seed or 0, lambda: _create(name, options))
        options["pretrained_cfg_overlay"] = {"state_dict": load_state_dict(path)}
        return _create(name, {**options, "pretrained": True})

    return Backbone(
        name=f"timm:{name}",
        weights=identity,
        takes="picture",
        make=make,
        mean=triple(config.mean, IMAGENET_MEAN),
        std=triple(config.std, IMAGENET_STD),
        size=(int(config.input_size[-2]), int(config.input_size[-1])),
        about={"timm": timm.__version__},
    )


def timm_weights(name: str) -> Weights:
    """Return the entry of the weights that timm publishes for a network.

    Parameters
    ----------
    name : str
        timm's name of the network.

    Raises
    ------
    RecipeError
        There is no such network, or nothing is published for it.
    """
    config = _config(name)
    if not config.hf_hub_id:
        raise RecipeError(
            f"timm publishes no weights for {name} on its hub; give the path of a file, or random"
        )
    file = config.hf_hub_filename or _FILE
    return Weights(
        f"timm:{name}",
        f"timm:{name}",
        f"timm/{name}/{file}",
        f"{_HUB}{config.hf_hub_id}/resolve/main/{file}",
        str(getattr(config, "license", None) or "see the model's page"),
    )


def _config(name: str) -> Any:
    import timm
    from timm.models import get_pretrained_cfg, is_model

    if not is_model(name):
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), 1, 0.5)
        guess = f"; did you mean timm:{near[0]}?" if near else ""
        raise RecipeError(f"timm has no network {name!r}{guess}")
    config = get_pretrained_cfg(name)
    if config is None:
        raise RecipeError(f"timm has no input size and no normalisation for {name!r}")
    return config


def _create(name: str, options: dict[str, Any]) -> nn.Module:
    """Make the network with its classifier, because timm checks names only of whole networks."""
    import timm

    try:
        network: nn.Module = timm.create_model(name, **options)
    except (RuntimeError, TypeError, ValueError) as error:
        raise RecipeError(f"timm cannot make {name} for this size: {str(error)[:500]}") from None
    return network
