"""This module joins the processes of a training run: one alone, or those torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from foveal.models.device import choose_device


@dataclass(frozen=True)
class World:
    """This process among those that train together.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0, and number of all processes.
    device : torch.device
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and messages."""
        return self.rank == 0

    def parallel(self, network: nn.Module) -> nn.Module:
        """Wrap the network so that its gradients are averaged over the processes."""
        if self.size == 1:
            return network
        ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=ids)

    def mean(self, value: Tensor) -> float:
        """Return the mean of a scalar over all processes."""
        if self.size > 1:
            dist.all_reduce(value)
        return value.item() / self.size

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is set in any process."""
        return self.mean(torch.tensor(float(flag), device=self.device)) > 0

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank, in every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def random_state(self) -> dict[str, Tensor]:
        """Return the states of torch's random number generators in this process."""
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def set_random_state(self, states: Mapping[str, Tensor]) -> None:
        """Restore the states that `random_state` returned."""
        torch.set_rng_state(states["cpu"])
        if self.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self.device)


@contextmanager
def join(device: str) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, or run alone.

    Parameters
    ----------
    device : str
        Of the settings; with several processes, ``auto`` and ``cuda`` give each its own GPU.

    Yields
    ------
    World
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(0, 1, choose_device(device))
        return
    chosen = choose_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), size, chosen)
    finally:
        if ours:
            dist.destroy_process_group()
