"""Saliency networks by name: ``build("salema", weights="random")``.

They are entry points of the group ``foveal.networks``: callables that take ``name=…`` and options
and return a `SaliencyNetwork`. Those of the papers:

=====================  ===========================================================================
``lsts_rgb``           cached I3D features of frames
``lsts_flow``          cached I3D features of motion
``lsts_rgb_flow``      both
``gfsalnet``           frame and flow picture, gated; ``_spatial`` and ``_temporal`` are its streams
``tp_cmrnet``          frame and a stack of 3-11 flow maps
``salbce``             frame, no memory
``salema``             frame, moving average of one or two layers
``salclstm``           frame, convolutional LSTM at the bottleneck
``decoder3d``          cached features of any backbone at several scales, and sound
=====================  ===========================================================================
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from foveal.errors import RecipeError
from foveal.models.saliency.base import Inner, SaliencyNetwork, State, detach, watching
from foveal.models.saliency.spec import Input, Schedule, Spec, Training
from foveal.registry import find, plugins

__all__ = [
    "Inner",
    "Input",
    "SaliencyNetwork",
    "Schedule",
    "Spec",
    "State",
    "Training",
    "build",
    "detach",
    "names",
    "options",
    "spec",
    "watching",
]

log = logging.getLogger(__name__)


def names() -> tuple[str, ...]:
    """Return the names of all registered networks."""
    return tuple(plugins("networks"))


def options(name: str) -> dict[str, object]:
    """Return the options of a network and their defaults; those of the paper if it has them.

    Parameters
    ----------
    name : str
        One of `names`.

    Raises
    ------
    RecipeError
        No network has this name.
    """
    factory: Callable[..., SaliencyNetwork] = find("networks", name)
    fixed = {"name", *(factory.keywords if isinstance(factory, partial) else ())}
    parameters = inspect.signature(factory).parameters
    return {key: value.default for key, value in parameters.items() if key not in fixed}


def spec(name: str, **network_options: object) -> Spec:
    """Return what a network reads and how it is trained, without memory for its weights.

    Parameters
    ----------
    name : str
        One of `names`.
    **network_options
        See `options` and the network's class.

    Raises
    ------
    RecipeError
        The name or an option is wrong.
    """
    with torch.device("meta"):
        return _construct(name, network_options).spec


def build(
    name: str,
    *,
    weights: str | Path,
    backbone: str | Path | None = None,
    **network_options: object,
) -> SaliencyNetwork:
    """Build a network on the current default device.

    Parameters
    ----------
    name : str
        One of `names`.
    weights : str or path
        All weights, of this project or of the authors: a file, or a name registered in
        `foveal.models.weights`; or ``"random"`` (set the seed with ``torch.manual_seed``).
    backbone : str or path, optional
        Weights of the part that the paper does not train from scratch (ResNet-50 or a trained
        single stream for GFSalNet; VGG-16, SalGAN or SalBCE for SalBCE, SalEMA and SalCLSTM); only
        with random weights.
    **network_options
        See `options` and the network's class.

    Raises
    ------
    RecipeError
        The name or an option is wrong, or a weight file does not fit.
    MissingDependency
        A weight file does not exist.
    """
    if weights != "random" and backbone is not None:
        raise RecipeError(
            f"{name}: weights={str(weights)!r} has the backbone too; leave backbone out"
        )
    network = _construct(name, network_options)
    if weights != "random":
        network.load_weights(weights)
        log.info("%s: weights from %s", name, weights)
    elif backbone is not None:
        network.load_backbone(backbone)
        log.info("%s: backbone from %s, all other weights random", name, backbone)
    else:
        log.info("%s: all weights random", name)
    return network


def _construct(name: str, network_options: dict[str, object]) -> SaliencyNetwork:
    allowed = options(name)
    unknown = [key for key in network_options if key not in allowed]
    if unknown:
        raise RecipeError(f"{name} has no option {unknown[0]!r}; it has {', '.join(allowed)}")
    try:
        network = find("networks", name)(name=name, **network_options)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in network_options.items())
        raise RecipeError(
            f"{name} cannot be built with {given or 'its defaults'}: {error}"
        ) from error
    if not isinstance(network, SaliencyNetwork):
        raise RecipeError(
            f"network {name!r} ({plugins('networks')[name].target}) returns a "
            f"{type(network).__name__}, not a foveal.models.saliency.SaliencyNetwork"
        )
    return network
