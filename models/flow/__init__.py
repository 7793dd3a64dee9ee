"""Optical flow of consecutive frames; `make_estimator` builds any method by its name."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import MissingDependency
from foveal.models.flow.base import FlowEstimator
from foveal.models.flow.errors import FlowDeviceError
from foveal.registry import find, plugins

__all__ = ["FlowDeviceError", "FlowEstimator", "make_estimator", "takes_device", "takes_weights"]

_log = logging.getLogger("foveal")


def takes_weights(method: str) -> bool:
    """Whether `method` is a network, see `make_estimator`."""
    return method not in plugins("flow") or "weights" in _parameters(find("flow", method))


def make_estimator(
    method: str, *, weights: str | None = None, device: str = "auto", **settings: Any
) -> FlowEstimator:
    """Build a flow estimator by the name of its method.

    Parameters
    ----------
    method : str
        A registered method, another ptlflow model, or ``auto``: RAFT if there are a CUDA device
        and its weights, else TV-L1. Which and why is logged and in `FlowEstimator.provenance`.
    weights : str, optional
        For learned methods: variant, registered name, path, or ``random``
        (see `foveal.models.flow.learned.Learned`).
    device : str
        ``auto``, ``cuda``, ``cuda:n`` or ``cpu``, for methods that have a choice: ``tvl1`` and
        ``dis`` always run on the CPU, ``tvl1_cuda`` only on a GPU.
    **settings
        Further settings of the method, see its class. ``auto`` takes none.

    Returns
    -------
    FlowEstimator
        Its ``name`` is the method that runs, never ``auto``.

    Raises
    ------
    MissingDependency
        numba, opencv-contrib, ptlflow, the weights or the GPU are missing; the message says what
        to do.
    ValueError
        Unknown method, setting, variant or device.
    """
    if method == "auto":
        if settings:
            raise ValueError(f"method auto takes no settings, got {', '.join(settings)}")
        return _automatic(weights, device)
    if weights is not None and not takes_weights(method):
        raise ValueError(f"{method} has no weights, got weights: {weights}; leave weights out")
    factory = _factory(method)
    offered = {"weights": weights, "device": device}
    taken = {key: value for key, value in offered.items() if key in _parameters(factory)}
    try:
        estimator: FlowEstimator = factory(**taken, **settings)
    except TypeError as error:
        raise ValueError(f"flow method {method} does not take a setting: {error}") from error
    return estimator


def takes_device(method: str) -> bool:
    """Whether `method` can compute on a chosen device, see `make_estimator`."""
    return method == "auto" or "device" in _parameters(_factory(method))


def _factory(method: str) -> Callable[..., FlowEstimator]:
    if method in plugins("flow"):
        factory: Callable[..., FlowEstimator] = find("flow", method)
        return factory
    from foveal.models.flow.learned import Learned

    return functools.partial(Learned, method)


def _parameters(factory: Callable[..., FlowEstimator]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(factory).parameters


def _automatic(weights: str | None, device: str) -> FlowEstimator:
    from foveal.models.device import choose_device

    try:
        found = choose_device(device)
        if found.type != "cuda":
            raise FlowDeviceError(f"device {device} is the CPU here")
        chosen = make_estimator("raft", weights=weights, device=str(found))
        reason = f"there are a CUDA device ({found}) and RAFT's weights"
    except (FlowDeviceError, MissingDependency) as error:
        chosen = make_estimator("tvl1")
        reason = f"RAFT cannot run: {error}"
    _log.warning("flow method auto takes %s: %s", chosen.name, reason)
    return _Chosen(chosen, reason)


class _Chosen:
    """An estimator that ``auto`` chose, with the reason."""

    def __init__(self, estimator: FlowEstimator, reason: str) -> None:
        self.name = estimator.name
        self._estimator = estimator
        self._reason = reason

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._estimator(frames)

    def parameters(self) -> dict[str, Any]:
        return self._estimator.parameters()

    def former_parameters(self) -> list[dict[str, Any]]:
        return getattr(self._estimator, "former_parameters", list)()

    def provenance(self) -> dict[str, Any]:
        return {**self._estimator.provenance(), "chosen_by": "auto", "because": self._reason}
