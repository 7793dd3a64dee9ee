"""This module gives batches of clips in an order that depends on seed and epoch only.

The order is drawn as numbers before a worker starts: all ranks draw the same order, and each takes
its own part of it. So it is always known exactly what is left of an epoch, and a resumed loader
skips what was delivered without reading it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.utils.data import DataLoader

from foveal.errors import StoreError
from foveal.torch.batch import Sample, collate
from foveal.torch.clips import Clips
from foveal.torch.interface import Indices
from foveal.torch.joined import JoinedClips
from foveal.torch.order import BatchList, Shuffle, batches_of_parts, epoch_order, in_lanes, rank_of
from foveal.torch.readers import ThreadedReader

WorkerKind = Literal["threads", "processes"]


@dataclass
class _Place:
    """The place of a pass over the clips: its epoch, and the number of batches handed out."""

    epoch: int
    batches: int


class ClipLoader:
    """Batches of clips for one rank; each ``iter`` starts the next epoch, as a DataLoader does.

    A pass that is broken off loses the rest of its epoch, unless `state_dict` and `load_state_dict`
    save and restore its place.

    Parameters
    ----------
    clips : Clips or JoinedClips
        The clips.
    batch_size : int or sequence of int
        Clips per batch. For clips of several parts (`parts_of`) it may be one number per part: a
        batch then holds clips of one part only.
    shuffle : {'clips', 'shards', 'none'}
        ``clips`` draws at random from the whole split. ``shards`` streams: whole shards are read
        once, in random order, and clips are drawn at random from `mix` of them at a time; for
        object stores, slow disks, and clips much shorter than a chunk.
    seed : int
        Determines the order, with the epoch.
    rank, world_size : int, optional
        By default those of torch.distributed if it is initialised when an epoch starts (as under
        Lightning and accelerate), else 0 of 1. Ranks share the clips without overlap or loss; their
        numbers of clips differ by at most one.
    drop_last : bool
        Whether there are complete batches only, and equally many on every rank (what DDP needs).
    num_workers : int
        Threads or processes that read ahead; 0 reads when a batch is asked for.
    worker_kind : {'threads', 'processes'}, optional
        Threads pass a batch on without a copy and take no memory of their own; processes run Python
        code in parallel. By default threads if clips are only read, processes if a ``transform``
        runs or `start_method` is given.
    start_method : {'fork', 'spawn', 'forkserver'}, optional
        How processes start; by default as usual on the platform.
    mix : int
        Number of shards at a time, with ``shuffle="shards"``.
    cache_bytes : int
        Bytes of decoded shards that each worker keeps, with ``shuffle="shards"``.
    prefetch_factor : int
        Batches that each worker reads ahead.
    collate_fn : callable
        Makes a batch of samples.
    **options
        Further options of `torch.utils.data.DataLoader`: ``pin_memory``, …. A ``sampler`` is
        refused, since a loader resumes its own order and shares it between ranks.

    Attributes
    ----------
    epoch : int
        Of the latest pass; before the first pass, its epoch.

    Raises
    ------
    StoreError
        An option is wrong, or parts that differ in size would share batches.

    Examples
    --------
    >>> loader = ClipLoader(clips, batch_size=4, seed=1, num_workers=2)  # doctest: +SKIP
    >>> for batch in loader: train(batch); save(loader.state_dict())     # doctest: +SKIP
    """

    def __init__(
        self,
        clips: Clips | JoinedClips,
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
        _refuse_orders(options)
        if isinstance(clips, JoinedClips) and isinstance(batch_size, int) and batch_size > 1:
            unlike = clips.unlike_sizes()
            if unlike and clips.transform is None and collate_fn is collate:
                raise StoreError(
                    f"{unlike}, so they cannot share a batch; give a batch size for each part "
                    f"(batch_size={[batch_size] * len(clips.parts)}), or a transform that resizes"
                )
        kind = _worker_kind(clips, worker_kind, start_method)
        cache_bytes = cache_bytes if shuffle == "shards" else 0
        self.clips = clips.cached(cache_bytes) if cache_bytes else clips
        self.batch_size = batch_size if isinstance(batch_size, int) else batch_sizes
        self.shuffle, self.seed, self.mix = shuffle, seed, mix
        self._rank = rank, world_size
        rank_of(rank, world_size)
        self.drop_last = drop_last
        self._place = self._upcoming = _Place(0, 0)
        self._lanes = max(1, num_workers) if shuffle == "shards" else 1
        self._groups = clips.shard_groups()
        self._batches = BatchList()
        # A separate generator, so that reading does not change the trainer's random numbers.
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
        """Return the number of this rank's batches in a whole epoch."""
        return len(self._numbers(self.epoch))

    def __iter__(self) -> Generator[Any, None, None]:
        """Yield all batches of the next epoch, or after `load_state_dict` the rest of its epoch.

        A pass starts when its first batch is asked for.
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
        """Make the next pass that of `epoch`, from its start."""
        self._place = self._upcoming = _Place(epoch, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the epoch: the batches handed out, not those read ahead."""
        return {
            "epoch": self._place.epoch,
            "batches": self._place.batches,
            "order": self._order_settings(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was called: the next batch is the one that would have followed.

        A state from the end of an epoch leads to the next epoch.

        Parameters
        ----------
        state : dict
            As `state_dict` returned it.

        Raises
        ------
        StoreError
            The clips, or a setting that determines their order, differ.
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
            "world_size": rank_of(*self._rank)[1],
            "drop_last": self.drop_last,
        }
        if self.shuffle == "shards":
            settings |= {"mix": self.mix, "workers": self._lanes}
        return settings

    def _numbers(self, epoch: int) -> list[Indices]:
        """Return the clips of each batch of this rank, by their numbers.

        With ``shards`` each rank and each worker gets a run of its own of the order, so that no two
        of them read the same shards (except where the runs meet).
        """
        rank, world_size = rank_of(*self._rank)
        numbers = self.clips.epoch_numbers(self.seed, epoch)
        groups = self._groups[numbers % len(self._groups)]
        order = numbers[epoch_order(groups, self.shuffle, self.seed, epoch, self.mix)]
        if self.shuffle == "shards":
            shares = np.array_split(order, world_size)
        else:
            shares = [order[one::world_size] for one in range(world_size)]
        mine = shares[rank]
        if not isinstance(self.batch_size, int):
            drawn = self.seed, epoch
            cut = [
                batches_of_parts(
                    share,
                    self.clips.parts_of(share, drawn),
                    self.batch_size,
                    drop_last=self.drop_last,
                )
                for share in shares
            ]
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
                f"{self.batch_size} more than others, for which DDP waits forever; "
                "drop_last=True gives all ranks the same number",
                stacklevel=3,
            )
        return in_lanes(batches, self._lanes)


def _refuse_orders(options: Mapping[str, Any]) -> None:
    for name in ("sampler", "batch_sampler"):
        if name in options:
            raise StoreError(
                f"ClipLoader takes no {name}: it draws its own order, so that it can resume and "
                "share the clips between ranks. Use shuffle=, weights of JoinedClips, or videos= "
                "of Clips; or use torch.utils.data.DataLoader(clips, "
                f"{name}=…, collate_fn=foveal.torch.collate)"
            )


def _worker_kind(
    clips: Clips | JoinedClips, wanted: WorkerKind | None, start_method: str | None
) -> WorkerKind:
    if wanted not in (None, *get_args(WorkerKind)):
        raise StoreError(f"worker_kind is threads or processes, not {wanted!r}")
    if wanted == "threads" and (start_method or getattr(clips, "transform", None)):
        raise StoreError(
            "threads take no start_method and no transform: all threads share one state of torch's "
            "random numbers; use worker_kind='processes'"
        )
    if wanted is not None:
        return wanted
    return "threads" if clips.only_reads and start_method is None else "processes"
