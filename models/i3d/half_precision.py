"""This module decides whether half precision is worth using on a device.

The precision ``auto`` takes float16 on CUDA. It takes bfloat16 on a CPU that multiplies in it (AMX
or AVX-512 BF16), if a short trial on this machine shows that it is faster. The first window of
each video shows whether the numbers agree (`foveal.models.i3d.runner`).
"""

from __future__ import annotations

import time
from functools import lru_cache

import torch
from torch import Tensor

from foveal.models.i3d.layers import Endpoint, time_layers
from foveal.models.i3d.network import I3D
from foveal.models.i3d.step_network import StepNetwork
from foveal.models.i3d.window_plan import plan_windows, window_levels

LEAST_SPEEDUP = 1.1
"""Least speed, relative to float32, at which `auto` uses bfloat16 on a CPU."""

TRIAL_FRAMES = 8
"""Frames of the window that both precisions compute in the trial."""


def bfloat16_instructions() -> str | None:
    """Return the name of the CPU's bfloat16 instructions: ``amx``, ``avx512_bf16``, or None.

    Without them a library computes in float32 and converts, which is not faster.
    """
    # torch has no public function for this; if it has none of these two, the answer is no.
    if getattr(torch.cpu, "_is_amx_tile_supported", bool)():
        return "amx"
    if getattr(torch.cpu, "_is_avx512_bf16_supported", bool)():
        return "avx512_bf16"
    return None


def half_precision(device: torch.device) -> tuple[str, str]:
    """Return what `auto` tries on a device, and why.

    Parameters
    ----------
    device : torch.device
        Where the network runs.

    Returns
    -------
    precision : {"float16", "bfloat16", "float32"}
        ``float32`` if there is nothing to try.
    because : str
        The reason.
    """
    if device.type == "cuda":
        return "float16", "CUDA"
    found = bfloat16_instructions() if device.type == "cpu" else None
    if found is None:
        return "float32", f"this {device.type} has no bfloat16 instructions (amx, avx512_bf16)"
    return "bfloat16", f"this CPU has {found}"


@lru_cache(maxsize=8)
def trial(
    network: I3D, endpoint: Endpoint, device: torch.device, precision: str, size: tuple[int, int]
) -> float:
    """Measure the speed of a precision relative to float32, on one short window of noise.

    Both run in turns, and the best of two runs counts, after a first run that compiles. This takes
    one to two seconds for 224 x 224 frames, once per process for the same network.

    Parameters
    ----------
    network, endpoint, device
        See `StepNetwork`.
    precision : {"float16", "bfloat16"}
        What is compared with float32.
    size : (height, width)
        Size of the frames.
    """
    levels = window_levels(TRIAL_FRAMES, time_layers(endpoint))
    plan = plan_windows(levels, 1, 1, tuple(() for _ in levels))
    towers = {
        name: StepNetwork(network, endpoint, device, getattr(torch, name))
        for name in ("float32", precision)
    }
    generator = torch.Generator().manual_seed(0)
    channels = towers["float32"].in_channels
    frames: Tensor = torch.rand((TRIAL_FRAMES, *size, channels), generator=generator) * 2 - 1
    times: dict[str, list[float]] = {name: [] for name in towers}
    with torch.inference_mode():
        padded = towers["float32"].frames(frames.to(device))
        for _ in range(3):
            for name, tower in towers.items():
                began = time.perf_counter()
                tower.run(padded, 0, plan, [() for _ in levels])
                times[name].append(time.perf_counter() - began)
    return min(times["float32"][1:]) / min(times[precision][1:])
