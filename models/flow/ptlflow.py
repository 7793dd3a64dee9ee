"""This module builds ptlflow networks as functions from consecutive frames to flow."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from foveal.errors import FovealError, MissingDependency
from foveal.models.flow.correlation import use_local_correlation
from foveal.models.flow.raft import raft_flow
from foveal.models.weights import WeightsFile, find, is_path, load_state_dict
from foveal.models.weights_registry import REGISTRY, Weights, published
from foveal.registry import plugins

FlowNetwork = Callable[[Tensor], Tensor]
"""Takes BGR frames in [0, 1], float [n + 1, 3, h, w]; returns flow in px, float [n, 2, h, w]."""

DEFAULT_VARIANTS = {
    "raft": "sintel",
    "raft_small": "things",
    "pwcnet": "sintel",
    "flownet2": "things",
}
"""Weights of a method if none are named."""

_RESIZES_ITSELF = ("pwcnet", "flownet2")


def least_side_px(method: str) -> int:
    """Return the least height and width that the network of `method` can take.

    RAFT's correlation pyramid gives NaN for a side below 128 px; PWC-Net and FlowNet2 enlarge small
    frames to a multiple of 64 themselves. For other models 128 is assumed, to be safe.
    """
    return 1 if method in _RESIZES_ITSELF else 128


def find_weights(method: str, weights: str | None) -> WeightsFile | None:
    """Find the checkpoint of a ptlflow model; None stands for random weights.

    Parameters
    ----------
    method : str
        ptlflow's model name.
    weights : str, optional
        Variant (``sintel``), registered name (``raft-sintel``), path, or ``random``. None takes
        the default of `DEFAULT_VARIANTS`.

    Raises
    ------
    MissingDependency
        The file is not on this machine, or differs from the published one.
    ValueError
        ptlflow has no such model, or the model has no such variant.
    """
    if method not in DEFAULT_VARIANTS:
        _model_class(method)
    if weights == "random":
        return None
    if weights is None and method not in DEFAULT_VARIANTS:
        raise ValueError(
            f"flow method {method!r} has no default weights; give weights: one of "
            f"{', '.join([*_variants(method), 'a path'])}"
        )
    variant = weights or DEFAULT_VARIANTS[method]
    if is_path(variant):
        return find(variant)
    variant = variant.removeprefix(f"{method}-")
    name = f"{method}-{variant}"
    if name in REGISTRY:
        return find(REGISTRY[name])
    entry = ptlflow_weights(name)
    if entry is None:
        raise ValueError(
            f"{method} has no weights {variant!r}; there are: "
            f"{', '.join(_variants(method)) or 'none published'}, a path, or random"
        )
    return find(entry)


def ptlflow_weights(name: str) -> Weights | None:
    """Return the entry of ptlflow's own list for `name`, ``<ptlflow model>-<variant>``, or None."""
    method, _, variant = name.partition("-")
    if method not in ptlflow_names() or variant not in _variants(method):
        return None
    licence = "see the model's README in ptlflow"
    return published(method, variant, _variants(method)[variant], licence)


def load_network(
    method: str, file: WeightsFile | None, device: torch.device, seed: int
) -> FlowNetwork:
    """Build the network on `device` in evaluation mode.

    Parameters
    ----------
    method : str
        ptlflow's model name.
    file : WeightsFile or None
        Checkpoint, loaded as plain tensors; None takes random weights.
    device : torch.device
        Where the network runs.
    seed : int
        Seed of random weights.

    Raises
    ------
    FovealError
        The checkpoint belongs to another network, or is not a plain state dict.
    """
    _model_class(method)
    ptlflow = _import_ptlflow()
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        model = ptlflow.get_model(method)
    if file is not None:
        try:
            model.load_state_dict(load_state_dict(file.path))
        except RuntimeError as error:
            raise FovealError(
                f"{file.path} does not fit {method}: {str(error).splitlines()[-1].strip()}"
            ) from error
    model = model.to(device).eval().requires_grad_(False)
    use_local_correlation(model)
    if method in ("raft", "raft_small"):
        return lambda frames: raft_flow(model, frames)
    return lambda frames: _pairwise_flow(model, frames)


def ptlflow_names() -> list[str]:
    """Return the names of all models of ptlflow; importing it takes seconds."""
    return list(_import_ptlflow().get_model_names())


def _pairwise_flow(model: Any, frames: Tensor) -> Tensor:
    pairs = torch.stack([frames[:-1], frames[1:]], dim=1)
    flow: Tensor = model({"images": pairs})["flows"][:, 0]
    return flow


def _variants(method: str) -> dict[str, str]:
    return dict(getattr(_model_class(method), "pretrained_checkpoints", {}))


def _model_class(method: str) -> Any:
    names = ptlflow_names()
    if method not in names:
        ours = ["auto", *plugins("flow")]
        near = difflib.get_close_matches(method, [*ours, *names], 3)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(
            f"there is no flow method {method!r}; {meant}Methods: {', '.join(ours)}, and ptlflow's "
            "other models"
        )
    return _import_ptlflow().get_model_reference(method)


def _import_ptlflow() -> Any:
    logging.getLogger("dinov2").setLevel(logging.ERROR)  # warns that xFormers is not installed
    try:
        with _quiet():
            return importlib.import_module("ptlflow")
    except ImportError as error:
        raise MissingDependency(
            f"learned optical flow needs ptlflow ({error}); run: pip install 'foveal[flow]'"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the notices about optional extensions that ptlflow and its models print."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
