"""This module opens backbones of any installed package: functions that return a torch module.

Only a `torch.nn.Module` class, or a function whose return annotation is one, is called, so that a
recipe from elsewhere cannot call another function on this machine. The module may have the
attributes ``mean``, ``std``, ``input_size`` (height, width), ``layout`` and ``prefix_tokens``. It
takes pictures [n, 3, height, width], or clips [n, 3, time, height, width].
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import typing
from typing import Any

import torch
from torch import nn

from foveal.errors import RecipeError
from foveal.models.features.backbone import Backbone, seeded, triple
from foveal.models.normalise import IMAGENET_MEAN, IMAGENET_STD
from foveal.models.strict_loading import load_strictly
from foveal.models.weights import find, load_state_dict, random_seed


def open_module(
    name: str, weights: str | None, size: tuple[int, int] | None, frames: int | None
) -> Backbone:
    """Open the backbone ``module:name``, see `open_backbone`.

    Without `weights`, those that the function returns are used, identified by their digest.
    """
    factory = _factory(name)
    seed = random_seed(weights)
    if seed is not None:
        network, identity = seeded(seed, factory), f"random:{seed}"
    elif weights is None:
        network = seeded(0, factory)
        identity = f"sha256:{state_digest(network)}"
    else:
        file = find(weights)
        network, identity = factory(), f"sha256:{file.sha256}"
        load_strictly(network, load_state_dict(file.path), file.path)
    given = getattr(network, "input_size", None)
    return Backbone(
        name=f"module:{name}",
        weights=identity,
        takes="picture" if frames is None else "clip",
        make=lambda: network,
        mean=triple(getattr(network, "mean", None), IMAGENET_MEAN),
        std=triple(getattr(network, "std", None), IMAGENET_STD),
        size=None if given is None else (int(given[0]), int(given[1])),
        layout=getattr(network, "layout", "channels_first"),
        prefix_tokens=int(getattr(network, "prefix_tokens", 0)),
    )


def state_digest(network: nn.Module) -> str:
    """Return the SHA-256 of names, shapes, dtypes and values of all tensors of `network`."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)} {value.dtype}\n".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@functools.cache
def _factory(name: str) -> Any:
    module, _, attribute = name.replace(":", ".").rpartition(".")
    if not module:
        raise RecipeError(f"backbone module:{name}: write module:package.factory")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RecipeError(
            f"backbone module:{name}: cannot be imported ({error}); install its package"
        ) from None
    if not _gives_module(found):
        raise RecipeError(
            f"backbone module:{name}: only a torch.nn.Module class, or a function annotated to "
            "return one (-> nn.Module), is called"
        )
    return found


def _gives_module(found: Any) -> bool:
    if isinstance(found, type):
        return issubclass(found, nn.Module)
    try:
        returned = typing.get_type_hints(found).get("return")
    except Exception:  # annotations in other packages may contain anything
        return False
    return isinstance(returned, type) and issubclass(returned, nn.Module)
