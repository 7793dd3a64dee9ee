"""Whether half precision is worth asking for: what a device computes in, and how fast.

``auto`` takes float16 on CUDA and bfloat16 on a CPU that multiplies in it (AMX or AVX-512 BF16),
there only where a short trial on this machine shows it faster. That the numbers agree is checked on
the first window of each video (`foveal.models.i3d.runner`).
"""

from __future__ import annotations

import time
from functools import lru_cache

import torch
from torch import Tensor

from foveal.models.i3d.network import I3D, Endpoint, time_layers
from foveal.models.i3d.step_network import StepNetwork
from foveal.models.i3d.window_plan import plan_windows, window_levels

LEAST_SPEEDUP = 1.1
"""Speed over float32's under which `auto` stays with float32 on a CPU."""

TRIAL_FRAMES = 8
"""Frames of the window that both precisions compute in the trial."""


def bfloat16_instructions() -> str | None:
    """Name of the CPU's bfloat16 products: ``amx``, ``avx512_bf16``, or None.

    Without them a library computes in float32 and converts, which gains nothing.
    """
    # torch has no public question for this; where it cannot say, the answer is no.
    if getattr(torch.cpu, "_is_amx_tile_supported", bool)():
        return "amx"
    if getattr(torch.cpu, "_is_avx512_bf16_supported", bool)():
        return "avx512_bf16"
    return None


def half_precision(device: torch.device) -> tuple[str, str]:
    """What `auto` tries on a device, and why.

    Returns
    -------
    precision : {"float16", "bfloat16", "float32"}
        ``float32`` where there is nothing to try.
    because : str
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
    """Speed of a precision over that of float32, on one short window of noise.

    Both compute it in turns, the best of two each, after a first time that compiles. Takes one to
    two seconds for 224 x 224 frames; asked once a process for the same network.

    Parameters
    ----------
    network, endpoint, device
        As for `StepNetwork`.
    precision : {"float16", "bfloat16"}
    size : (height, width)
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
