"""This module draws the order of an epoch's clips, and divides it into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch

from foveal.errors import StoreError
from foveal.torch.clips import Draw
from foveal.torch.interface import Indices

Shuffle = Literal["clips", "shards", "none"]


def epoch_order(groups: Indices, shuffle: Shuffle, seed: int, epoch: int, mix: int) -> Indices:
    """Return every clip once, in the order of an epoch.

    Parameters
    ----------
    groups : ndarray, int64 [clips]
        The shard of each clip.
    shuffle : {'clips', 'shards', 'none'}
        A permutation of all clips; a permutation of the shards, of which `mix` at a time are
        shuffled clip by clip; or the order of the store.
    seed, epoch : int
        Determine the order.
    mix : int
        Number of shards.

    Returns
    -------
    ndarray, int64 [clips]
    """
    clips = np.arange(len(groups))
    if shuffle == "none":
        return clips
    random = np.random.default_rng([seed, epoch])
    if shuffle == "clips":
        return random.permutation(clips)
    place = random.permutation(int(groups.max()) + 1)[groups] // mix
    return np.lexsort([random.random(len(clips)), place])


def batches_of_parts(
    clips: Indices, parts: Indices, sizes: Sequence[int], *, drop_last: bool
) -> list[Indices]:
    """Return batches of one part each, in the order in which their first clips are drawn.

    Parameters
    ----------
    clips, parts : ndarray, int64 [clips]
        Numbers of the clips in their order, and the part of each.
    sizes : sequence of int
        Clips per batch, of each part.
    drop_last : bool
        Whether incomplete batches are left out.
    """
    found = []
    for part, size in enumerate(sizes):
        places = np.flatnonzero(parts == part)
        found += [places[at : at + size] for at in range(0, len(places), size)]
    if drop_last:
        found = [one for one in found if len(one) == sizes[int(parts[one[0]])]]
    return [clips[one] for one in sorted(found, key=lambda one: int(one[0]))]


def in_lanes(batches: Sequence[Indices], lanes: int) -> list[Indices]:
    """Return the batches in turn from the run of each of so many workers."""
    runs = [part.tolist() for part in np.array_split(np.arange(len(batches)), lanes)]
    turns = max(map(len, runs))
    return [batches[run[turn]] for turn in range(turns) for run in runs if turn < len(run)]


class BatchList:
    """The batches that the workers read next; set anew before each pass."""

    def __init__(self) -> None:
        self.waiting: list[list[Draw]] = []

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self.waiting)

    def __len__(self) -> int:
        return len(self.waiting)


def rank_of(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return the given rank and world size, or those of torch.distributed at this moment."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if world_size is None:
        world_size = torch.distributed.get_world_size() if distributed else 1
    if rank is None:
        rank = torch.distributed.get_rank() if distributed else 0
    if not 0 <= rank < world_size:
        raise StoreError(
            f"rank {rank} is not in a world of {world_size}; choose 0 … {world_size - 1}"
        )
    return rank, world_size
