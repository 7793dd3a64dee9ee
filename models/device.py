"""Which device computes: one rule for flow, features, networks and scores."""

from __future__ import annotations

import re

import torch

from foveal.errors import MissingDependency, RecipeError


def choose_device(name: str) -> torch.device:
    """The device that a setting names.

    Parameters
    ----------
    name : str
        ``auto`` (a GPU where there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    RecipeError
        It is none of these.
    MissingDependency
        That GPU is not there.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise RecipeError(f"device {name!r} is unknown; write auto, cpu, cuda or cuda:N")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise MissingDependency(
            f"device {name} is not there: torch sees {gpus} GPUs on this machine; write device "
            "cpu or auto, or mend the driver (nvidia-smi)"
        )
    return device
