"""Optical flow of consecutive frames: `make_estimator` builds any method by its name."""

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

__all__ = ["FlowDeviceError", "FlowEstimator", "make_estimator", "method_names", "takes_weights"]

_log = logging.getLogger("foveal")


def method_names() -> tuple[str, ...]:
    """Methods known by name; any other ptlflow model works too, given its weights."""
    return ("auto", *plugins("flow"))


def takes_weights(method: str) -> bool:
    """Whether a method is a network."""
    return method not in plugins("flow") or "weights" in _parameters(find("flow", method))


def make_estimator(
    method: str, *, weights: str | None = None, device: str = "auto", **settings: Any
) -> FlowEstimator:
    """Flow estimator by the name of its method.

    Parameters
    ----------
    method : str
        A registered method (`method_names`), another ptlflow model, or ``auto``: RAFT where there
        are a CUDA device and its weights, else TV-L1; which and why is logged and stands in
        `FlowEstimator.provenance`.
    weights : str, optional
        Of learned methods: variant, registered name, path, or ``random``
        (see `foveal.models.flow.learned.Learned`).
    device : str
        ``auto``, ``cuda``, ``cuda:n`` or ``cpu``, for methods that have a choice: ``tvl1`` and
        ``dis`` always run on the CPU, ``tvl1_cuda`` on a GPU or not at all.
    **settings
        Further settings of the method, see its class. ``auto`` takes none.

    Returns
    -------
    FlowEstimator
        Its ``name`` is the method that runs, never ``auto``.

    Raises
    ------
    MissingDependency
        numba, opencv-contrib, ptlflow, the weights or the GPU asked for are missing; the message
        says how to mend it.
    ValueError
        Unknown method, setting, variant or device.
    """
    if method == "auto":
        if settings:
            raise ValueError(f"method auto takes no settings, got {', '.join(settings)}")
        return _automatic(weights, device)
    if weights is not None and not takes_weights(method):
        raise ValueError(f"{method} has no weights, got weights: {weights}")
    factory = _factory(method)
    offered = {"weights": weights, "device": device}
    taken = {key: value for key, value in offered.items() if key in _parameters(factory)}
    try:
        estimator: FlowEstimator = factory(**taken, **settings)
    except TypeError as error:
        raise ValueError(f"flow method {method} refuses a setting: {error}") from error
    return estimator


def takes_device(method: str) -> bool:
    """Whether a method computes on the device asked for, rather than on the CPU always."""
    return method == "auto" or "device" in _parameters(_factory(method))


def _factory(method: str) -> Callable[..., FlowEstimator]:
    factory: Callable[..., FlowEstimator]
    if method in plugins("flow"):
        factory = find("flow", method)
    else:
        from foveal.models.flow.learned import Learned

        factory = functools.partial(Learned, method)
    return factory


def _parameters(factory: Callable[..., FlowEstimator]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(factory).parameters


def _automatic(weights: str | None, device: str) -> FlowEstimator:
    from foveal.models.device import choose_device

    try:
        found = choose_device(device)
        if found.type != "cuda":
            raise FlowDeviceError(f"device {device} means the CPU here")
        chosen = make_estimator("raft", weights=weights, device=str(found))
        reason = f"there are a CUDA device ({found}) and RAFT's weights"
    except (FlowDeviceError, MissingDependency) as error:
        chosen = make_estimator("tvl1")
        reason = f"RAFT cannot run: {error}"
    _log.warning("flow method auto takes %s: %s", chosen.name, reason)
    return _Chosen(chosen, reason)


class _Chosen:
    """An estimator that remembers that, and why, ``auto`` chose it."""

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
