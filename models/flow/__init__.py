"""Optical flow of consecutive frames: `make_estimator` builds any method by its name."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import MissingDependency
from foveal.models.flow.base import FlowEstimator
from foveal.models.flow.errors import FlowDeviceError

__all__ = ["FlowDeviceError", "FlowEstimator", "make_estimator", "method_names"]

_log = logging.getLogger("foveal")


def method_names() -> tuple[str, ...]:
    """Methods known by name; any other ptlflow model works too, given its weights."""
    return ("auto", "tvl1", "tvl1_opencv", "dis", "raft", "raft_small", "pwcnet", "flownet2")


def make_estimator(
    method: str, *, weights: str | None = None, device: str = "auto", **settings: Any
) -> FlowEstimator:
    """Flow estimator by the name of its method.

    Parameters
    ----------
    method : str
        ``tvl1``, ``tvl1_opencv``, ``dis``, ``raft``, ``raft_small``, ``pwcnet``, ``flownet2``,
        another ptlflow model, or ``auto``: RAFT where there are a CUDA device and its weights, else
        TV-L1; which and why is logged and stands in `FlowEstimator.provenance`.
    weights : str, optional
        Of learned methods: variant, registered name, path, or ``random``
        (see `foveal.models.flow.learned.Learned`).
    device : str
        ``auto``, ``cuda``, ``cuda:n`` or ``cpu``; TV-L1 and DIS always run on the CPU.
    **settings
        Further settings of the method: those of `foveal.models.flow.tvl1.TVL1`,
        `foveal.models.flow.tvl1_opencv.OpenCVTVL1`, `foveal.models.flow.dis.DIS` or
        `foveal.models.flow.learned.Learned`. ``auto`` takes none.

    Returns
    -------
    FlowEstimator
        Its ``name`` is the method that runs, never ``auto``.

    Raises
    ------
    MissingDependency
        numba, opencv-contrib, ptlflow or the weights are missing; the message says how to mend it.
    FlowDeviceError
        The CUDA device asked for is not there.
    ValueError
        Unknown method, setting, variant or device.
    """
    if method == "auto":
        if settings:
            raise ValueError(f"method auto takes no settings, got {', '.join(settings)}")
        return _automatic(weights, device)
    try:
        if method in ("tvl1", "tvl1_opencv", "dis"):
            if weights is not None:
                raise ValueError(f"{method} has no weights, got weights: {weights}")
            return _classical(method, settings)
        from foveal.models.flow.learned import Learned

        return Learned(method, weights=weights, device=device, **settings)
    except TypeError as error:
        raise ValueError(f"flow method {method} refuses a setting: {error}") from error


def _classical(method: str, settings: dict[str, Any]) -> FlowEstimator:
    if method == "dis":
        from foveal.models.flow.dis import DIS

        return DIS(**settings)
    if method == "tvl1_opencv":
        from foveal.models.flow.tvl1_opencv import OpenCVTVL1

        return OpenCVTVL1(**settings)
    from foveal.models.flow.tvl1 import TVL1

    return TVL1(**settings)


def _automatic(weights: str | None, device: str) -> FlowEstimator:
    from foveal.models.flow.device import resolve_device
    from foveal.models.flow.learned import Learned

    chosen: FlowEstimator
    try:
        found = resolve_device(device)
        if found.type != "cuda":
            raise FlowDeviceError(f"device {device} means the CPU here")
        chosen = Learned("raft", weights=weights, device=str(found))
        reason = f"there are a CUDA device ({found}) and RAFT's weights"
    except (FlowDeviceError, MissingDependency) as error:
        chosen = _classical("tvl1", {})
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
        return self._estimator.former_parameters()

    def provenance(self) -> dict[str, Any]:
        return {**self._estimator.provenance(), "chosen_by": "auto", "because": self._reason}
