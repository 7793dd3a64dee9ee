"""The saliency networks of the papers by name: ``build("salema", weights="random")``.

=====================  ===========================================================================
``lsts_rgb``           cached I3D features of frames
``lsts_flow``          cached I3D features of motion
``lsts_rgb_flow``      both
``gfsalnet``           frame and flow picture, gated; ``_spatial`` and ``_temporal`` are its streams
``tp_cmrnet``          frame and a stack of 3-11 flow maps
``salbce``             frame, no memory
``salema``             frame, moving average of one or two layers
``salclstm``           frame, convolutional LSTM at the bottleneck
=====================  ===========================================================================
"""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from foveal.errors import RecipeError
from foveal.models.saliency.base import SaliencyNetwork, State, detach
from foveal.models.saliency.gfsalnet import GFSalNet
from foveal.models.saliency.linardos import SalBCE, SalCLSTM, SalEMA
from foveal.models.saliency.lsts import LSTS
from foveal.models.saliency.spec import Input, Schedule, Spec, Training
from foveal.models.saliency.tp_cmrnet import TPCMRNet

__all__ = [
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
]

log = logging.getLogger(__name__)

_NETWORKS: dict[str, Callable[..., SaliencyNetwork]] = {
    "lsts_rgb": partial(LSTS, streams="rgb"),
    "lsts_flow": partial(LSTS, streams="flow"),
    "lsts_rgb_flow": partial(LSTS, streams="rgb_flow"),
    "gfsalnet": partial(GFSalNet, streams="both"),
    "gfsalnet_spatial": partial(GFSalNet, streams="spatial"),
    "gfsalnet_temporal": partial(GFSalNet, streams="temporal"),
    "tp_cmrnet": TPCMRNet,
    "salbce": SalBCE,
    "salema": SalEMA,
    "salclstm": SalCLSTM,
}


def names() -> tuple[str, ...]:
    """Names of all networks."""
    return tuple(_NETWORKS)


def options(name: str) -> dict[str, object]:
    """Options of a network and their defaults, those of the paper wherever it gives them.

    Raises
    ------
    RecipeError
        No network has this name.
    """
    factory = _factory(name)
    fixed = {"name", *(factory.keywords if isinstance(factory, partial) else ())}
    parameters = inspect.signature(factory).parameters
    return {key: value.default for key, value in parameters.items() if key not in fixed}


def spec(name: str, **network_options: object) -> Spec:
    """What a network reads and how it is trained, without allocating its weights.

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
        `foveal.models.weights`; or ``"random"``, which must be asked for (seed it with
        ``torch.manual_seed``).
    backbone : str or path, optional
        Only with random weights: likewise for the part that the paper starts from (ResNet-50 or a
        trained single stream for GFSalNet; VGG-16, SalGAN or SalBCE for SalBCE, SalEMA and
        SalCLSTM).
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
            f"{name}: weights={str(weights)!r} already holds the backbone; leave backbone out"
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


def _factory(name: str) -> Callable[..., SaliencyNetwork]:
    if name not in _NETWORKS:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), _NETWORKS, n=1, cutoff=0.5)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise RecipeError(f"unknown network {name!r}; {guess}there are: {', '.join(_NETWORKS)}")
    return _NETWORKS[name]


def _construct(name: str, network_options: dict[str, object]) -> SaliencyNetwork:
    factory, allowed = _factory(name), options(name)
    unknown = [key for key in network_options if key not in allowed]
    if unknown:
        raise RecipeError(f"{name} has no option {unknown[0]!r}; it has {', '.join(allowed)}")
    return factory(name=name, **network_options)
