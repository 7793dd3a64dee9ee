"""Batches of clips in an order that depends on nothing but seed and epoch, and can be resumed.

The order is made of plain numbers before a worker starts: all ranks draw the same one and each
takes its own part of it. What is left of an epoch is therefore known exactly at any moment, and
resuming skips what was delivered without reading it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.utils.data import DataLoader

from foveal.errors import StoreError
from foveal.torch.batch import Sample, collate
from foveal.torch.clips import Clips, Draw
from foveal.torch.interface import Indices
from foveal.torch.readers import ThreadedReader

Shuffle = Literal["clips", "shards", "none"]
WorkerKind = Literal["threads", "processes"]


def epoch_order(groups: Indices, shuffle: Shuffle, seed: int, epoch: int, mix: int) -> Indices:
    """Every clip once, in the order of an epoch.

    Parameters
    ----------
    groups : ndarray, int64 [clips]
        Shard each clip lies in.
    shuffle : {'clips', 'shards', 'none'}
        A permutation of all clips; one of the shards, `mix` of which at a time are shuffled clip
        by clip; or the order of the store.
    seed, epoch, mix : int

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


@dataclass
class _Place:
    """Where a pass over the clips stands: its epoch, and how many batches it has handed out."""

    epoch: int
    batches: int


class ClipLoader:
    """Batches of clips for one rank; each ``iter`` begins the next epoch, as a DataLoader's does.

    Breaking off forgets the rest of an epoch; `state_dict` and `load_state_dict` keep it.

    Parameters
    ----------
    clips : Clips
    batch_size : int or sequence of int
        Clips of a batch; several numbers are for clips of several parts (`parts_of`), those of each
        part: a batch then holds clips of one part alone.
    shuffle : {'clips', 'shards', 'none'}
        ``clips`` draws at random from the whole split. ``shards`` streams: whole shards are read
        once, in random order, and clips drawn at random from `mix` of them at a time; for object
        stores, slow disks, and clips much shorter than a chunk.
    seed : int
    rank, world_size : int, optional
        By default those of torch.distributed where it is initialised when an epoch begins (as under
        Lightning and accelerate), else 0 of 1. Ranks share the clips without overlap or loss; their
        numbers differ by one at most.
    drop_last : bool
        Whole batches only, and the same number of them on every rank (what DDP needs).
    num_workers : int
        Threads or processes that read ahead; 0 reads when a batch is asked for.
    worker_kind : {'threads', 'processes'}, optional
        Threads hand a batch over without copying it and take no memory of their own, processes run
        Python code side by side. By default threads where clips are only read, processes where a
        ``transform`` is to run, and where `start_method` is given.
    start_method : {'fork', 'spawn', 'forkserver'}, optional
        How processes start; the platform's own way by default.
    mix : int
        Shards at a time, with ``shuffle="shards"``.
    cache_bytes : int
        Decoded shards kept by each worker, with ``shuffle="shards"``.
    prefetch_factor : int
        Batches that each worker reads ahead.
    collate_fn : callable
    **options
        Further options of `torch.utils.data.DataLoader`: ``pin_memory``, ….

    Attributes
    ----------
    epoch : int
        Of the latest pass; before the first one, that of the first.

    Examples
    --------
    >>> loader = ClipLoader(clips, batch_size=4, seed=1, num_workers=2)  # doctest: +SKIP
    >>> for batch in loader: train(batch); save(loader.state_dict())     # doctest: +SKIP
    """

    def __init__(
        self,
        clips: Clips,
        batch_size: int | Sequence[int],
        *,
        shuffle: Shuffle = "clips",
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
        num_workers: int = 0,
        worker_kind: WorkerKind | None = None,
        start_method: Literal["fork", "spawn", "forkserver"] | None = None,
        mix: int = 4,
        cache_bytes: int = 2**30,
        prefetch_factor: int = 2,
        collate_fn: Callable[[Sequence[Sample]], Any] = collate,
        **options: Any,
    ) -> None:
        if shuffle not in get_args(Shuffle):
            raise StoreError(f"shuffle is one of {', '.join(get_args(Shuffle))}, not {shuffle!r}")
        batch_sizes = [batch_size] if isinstance(batch_size, int) else list(batch_size)
        if min(*batch_sizes, mix, prefetch_factor) < 1 or seed < 0:
            raise StoreError(
                "batch_size, mix and prefetch_factor are at least 1, seed at least 0; "
                f"got {batch_size}, {mix}, {prefetch_factor}, {seed}"
            )
        kind = _worker_kind(clips, worker_kind, start_method)
        cache_bytes = cache_bytes if shuffle == "shards" else 0
        self.clips = clips.cached(cache_bytes) if cache_bytes else clips
        self.batch_size = batch_size if isinstance(batch_size, int) else batch_sizes
        self.shuffle, self.seed, self.mix = shuffle, seed, mix
        self._rank = rank, world_size
        _rank_of(rank, world_size)
        self.drop_last = drop_last
        self._place = self._upcoming = _Place(0, 0)
        self._lanes = max(1, num_workers) if shuffle == "shards" else 1
        self._groups = clips.shard_groups()
        self._batches = _Batches()
        # A generator of its own, so that reading leaves the trainer's random numbers alone.
        options["generator"] = torch.Generator()
        if num_workers and kind == "threads":
            readers = [clips.cached(cache_bytes) for _ in range(num_workers)]
            threads = ThreadedReader(readers, self._batches, collate_fn, prefetch_factor)
            self._loader: DataLoader[Any] = DataLoader(threads, batch_size=None, **options)
            return
        if num_workers:
            options |= {
                "multiprocessing_context": start_method,
                "persistent_workers": True,
                "prefetch_factor": prefetch_factor,
            }
        self._loader = DataLoader(
            self.clips,
            batch_sampler=self._batches,
            num_workers=num_workers,
            collate_fn=collate_fn,
            **options,
        )

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        return len(self._numbers(self.epoch))

    def __iter__(self) -> Iterator[Any]:
        """All batches of the next epoch; after `load_state_dict` those left of the state's.

        A pass begins when its first batch is asked for.
        """
        place = self._place = self._upcoming
        self._upcoming = _Place(place.epoch + 1, 0)
        self._batches.waiting = [
            [(int(clip), self.seed, place.epoch) for clip in batch]
            for batch in self._numbers(place.epoch)[place.batches :]
        ]
        for batch in self._loader:
            place.batches += 1
            yield batch

    @property
    def epoch(self) -> int:
        return self._place.epoch

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass that of an epoch, from its start."""
        self._place = self._upcoming = _Place(epoch, 0)

    def state_dict(self) -> dict[str, Any]:
        """Where the reading stands: the batches handed out, whatever workers have read ahead."""
        return {
            "epoch": self._place.epoch,
            "batches": self._place.batches,
            "order": self._order_settings(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` stood: the next batch is the one that would have come.

        A state from the end of an epoch leads into the next one.

        Raises
        ------
        StoreError
            Where the clips, or a setting that determines their order, differ.
        """
        order = self._order_settings()
        differing = [name for name in order if state["order"].get(name) != order[name]]
        if differing:
            raise StoreError(
                "this state belongs to another order of clips; "
                + "; ".join(
                    f"{name} was {state['order'].get(name)!r}, is {order[name]!r}"
                    for name in differing
                )
            )
        self.set_epoch(state["epoch"])
        if state["batches"] < len(self):
            self._upcoming.batches = state["batches"]
        else:
            self.set_epoch(state["epoch"] + 1)

    def _order_settings(self) -> dict[str, Any]:
        settings = {
            "clips": self.clips.identity,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "world_size": _rank_of(*self._rank)[1],
            "drop_last": self.drop_last,
        }
        if self.shuffle == "shards":
            settings |= {"mix": self.mix, "workers": self._lanes}
        return settings

    def _numbers(self, epoch: int) -> list[Indices]:
        """Clips of each batch of this rank, by their numbers.

        With ``shards`` each rank and each worker gets a run of the order of its own, so that no
        two of them read the same shards (but where the runs meet).
        """
        rank, world_size = _rank_of(*self._rank)
        order = epoch_order(self._groups, self.shuffle, self.seed, epoch, self.mix)
        if self.shuffle == "shards":
            shares = np.array_split(order, world_size)
        else:
            shares = [order[one::world_size] for one in range(world_size)]
        mine = shares[rank]
        if not isinstance(self.batch_size, int):
            cut = [self._cut(share, self.batch_size, epoch) for share in shares]
            batches = cut[rank]
            if self.drop_last:
                batches = batches[: min(map(len, cut))]
        else:
            size = self.batch_size
            batches = [mine[at : at + size] for at in range(0, len(mine), size)]
            if self.drop_last:
                batches = batches[: len(order) // world_size // size]
        uneven = (
            isinstance(self.batch_size, int)
            and len(order) // world_size % self.batch_size == 0
            and len(order) % world_size
        )
        if uneven and not self.drop_last:
            warnings.warn(
                f"{len(order)} clips give some of {world_size} ranks one batch of "
                f"{self.batch_size} more than others, for which DDP waits for ever: "
                "drop_last=True gives all the same number",
                stacklevel=3,
            )
        return self._in_lanes(batches)

    def _cut(self, clips: Indices, sizes: Sequence[int], epoch: int) -> list[Indices]:
        """Batches of one part each, in the order in which their first clips are drawn."""
        parts = self.clips.parts_of(clips, (self.seed, epoch))
        found = []
        for part, size in enumerate(sizes):
            places = np.flatnonzero(parts == part)
            found += [places[at : at + size] for at in range(0, len(places), size)]
        if self.drop_last:
            found = [one for one in found if len(one) == sizes[int(parts[one[0]])]]
        return [clips[one] for one in sorted(found, key=lambda one: int(one[0]))]

    def _in_lanes(self, batches: list[Indices]) -> list[Indices]:
        """The batches in turn from the run of each worker."""
        lanes = [part.tolist() for part in np.array_split(np.arange(len(batches)), self._lanes)]
        turns = max(map(len, lanes))
        return [batches[lane[turn]] for turn in range(turns) for lane in lanes if turn < len(lane)]


class _Batches:
    """What the workers are to read next; set anew before each pass."""

    def __init__(self) -> None:
        self.waiting: list[list[Draw]] = []

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self.waiting)

    def __len__(self) -> int:
        return len(self.waiting)


def _worker_kind(clips: Clips, wanted: WorkerKind | None, start_method: str | None) -> WorkerKind:
    if wanted not in (None, *get_args(WorkerKind)):
        raise StoreError(f"worker_kind is threads or processes, not {wanted!r}")
    if wanted == "threads" and (start_method or getattr(clips, "transform", None)):
        raise StoreError(
            "threads take no start_method, and no transform: the random numbers of torch are one "
            "state for all threads; use worker_kind='processes'"
        )
    if wanted is not None:
        return wanted
    return "threads" if clips.only_reads and start_method is None else "processes"


def _rank_of(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Those given, else those of torch.distributed at this moment."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if world_size is None:
        world_size = torch.distributed.get_world_size() if distributed else 1
    if rank is None:
        rank = torch.distributed.get_rank() if distributed else 0
    if not 0 <= rank < world_size:
        raise StoreError(f"rank {rank} is none of a world of {world_size}: 0 … {world_size - 1}")
    return rank, world_size
