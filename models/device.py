"""This module chooses the device that computes: one rule for flow, features, networks, scores."""

from __future__ import annotations

import re

import torch

from foveal.errors import MissingDependency, RecipeError


def choose_device(name: str) -> torch.device:
    """Return the device that a setting names.

    Parameters
    ----------
    name : str
        ``auto`` (a GPU if there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    RecipeError
        The name is none of these.
    MissingDependency
        There is no such GPU.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise RecipeError(f"device {name!r} is unknown; write auto, cpu, cuda or cuda:N")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise MissingDependency(
            f"device {name} is not there: torch finds {gpus} GPUs on this machine; write device "
            "cpu or auto, or repair the driver (check nvidia-smi)"
        )
    return device
