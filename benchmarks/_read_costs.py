"""What comparing checksums costs, and what dask does: `Clips` against itself and `Store.lazy`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import dask
import numpy as np
from _turns import Turns

from foveal.storage import slices
from foveal.storage.reader import open_store
from foveal.storage.shards import ShardLayout
from foveal.torch import ClipLoader, Clips, Windows

CHECKSUM_GOAL_PERCENT = 3
DASK_WINDOWS, DASK_CLIPS, DASK_CLIP_FRAMES, MOST_DASK = 64, 16, 16, 4.0


def compare_checksums(
    work: Path, rounds: int, *, window: int, batch: int, feature_batch: int
) -> list[dict[str, Any]]:
    """What comparing checksums costs: the same stored bytes, read in turns with it and without.

    Two stores would not do: where their pages lie in memory makes more of a difference. Time is
    that of the one thread that reads, so that other programs count for little.
    """
    kinds: dict[str, tuple[int, Callable[[], Clips]]] = {
        "frames": (
            batch,
            lambda: Clips(work / "store", "clips", frames=window, stride=16, variables=["frames"]),
        ),
        "i3d_rgb": (
            feature_batch,
            lambda: Clips(work / "store", "features", frames=1, variables=[Windows("i3d_rgb")]),
        ),
    }
    results = []
    for what, (clips_a_batch, make) in kinds.items():
        loaders = {}
        for checked in (True, False):
            with compared(checked):
                loaders[checked] = ClipLoader(make(), clips_a_batch, num_workers=0)
                cpu_seconds(loaders[checked])  # opens every array, and warms the pages
        spent: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(rounds):
            for checked in (True, False) if turn % 2 else (False, True):
                spent[checked].append(cpu_seconds(loaders[checked]))
        with_it, without = (median(spent[checked]) for checked in (True, False))
        results.append(
            {
                "read": what,
                "ms_with_checksums": round(with_it * 1e3, 2),
                "ms_without": round(without * 1e3, 2),
                "cost_percent": round((with_it / without - 1) * 100, 1),
                "goal_percent": CHECKSUM_GOAL_PERCENT,
            }
        )
    return results


def cpu_seconds(loader: ClipLoader) -> float:
    """Of one pass, in this thread."""
    started = time.thread_time()
    for _ in loader:
        pass
    return time.thread_time() - started


@contextmanager
def compared(checked: bool) -> Iterator[None]:
    """Arrays that are opened meanwhile are read with their checksums compared, or not."""
    usual = slices.shard_layout

    def unchecked(*arguments: Any) -> ShardLayout | None:
        layout = usual(*arguments)
        return None if layout is None else replace(layout, checked=False)

    slices.shard_layout = usual if checked else unchecked
    try:
        yield
    finally:
        slices.shard_layout = usual


def compare_dask(work: Path, turns: Turns) -> list[dict[str, Any]]:
    """Random clips at once: by `Clips`, as batches through dask, and sliced from whole arrays."""
    store = open_store(work / "store")
    random = np.random.default_rng(3)
    results = []
    for array, video, items, count in (
        ("i3d_rgb", "features", 1, DASK_WINDOWS),
        ("frames", "clip0", DASK_CLIP_FRAMES, DASK_CLIPS),
    ):
        variable = Windows(array) if array == "i3d_rgb" else array
        clips = Clips(store, videos=[video], frames=items, variables=[variable])
        numbers = random.integers(0, len(clips), count).tolist()
        there = int(store.infos(video)[array].items) - items
        starts = [min(number, there) for number in numbers]
        places = [(video, start) for start in starts]
        batch = store.lazy(array, clips=places, items=items, batch=count)
        whole = store.lazy(array, videos=[video])
        readers: dict[str, Callable[[], Iterator[Any]]] = {
            "Clips": partial(_one, partial(clips.__getitems__, numbers)),
            "lazy clips": partial(_one, batch.data.blocks[0].compute),
            "lazy slices": partial(
                _one,
                lambda whole=whole, starts=starts, items=items: dask.compute(
                    *(whole[start : start + items].data for start in starts)
                ),
            ),
        }
        seconds = turns.seconds(readers)
        results += [
            {
                "read": f"{count} x {items} of {array}",
                "peer": peer,
                "clips_ms": round(1e3 * seconds["Clips"], 1),
                "peer_ms": round(1e3 * seconds[peer], 1),
                "times_clips": round(seconds[peer] / seconds["Clips"], 2),
                "most": MOST_DASK if peer == "lazy clips" else None,
            }
            for peer in ("lazy clips", "lazy slices")
        ]
    return results


def _one(read: Callable[[], Any]) -> Iterator[Any]:
    yield read()
