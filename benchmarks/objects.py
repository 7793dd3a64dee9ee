"""Shuffled clips over a link with latency: how much of its bandwidth arrives.

The store lies behind a link that answers every request 20 ms late and brings so many bytes a
second in all, as an object store does that is far away. An epoch of shuffled clips is read by
`ClipLoader` and, batch by batch, by `Clips` alone; a peer reads the same clips by plain zarr, as
many at once. The share is of the bytes that had to come: stored chunks that hold wanted frames.

    python benchmarks/objects.py [--latency-ms 20] [--megabytes 50] [--videos 6] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from _figures import Row, higher, print_json
from zarr.abc.store import ByteRequest, Store
from zarr.storage import LocalStore, WrapperStore

from foveal.storage.index import update_index
from foveal.storage.kinds import said_by_name
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.root import create_store
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter
from foveal.storage.zarr_internals import Buffer, BufferPrototype
from foveal.torch import ClipLoader, Clips

GOAL = 0.6
FRAMES, CLIP, BATCH, READERS = 128, 16, 4, 4
SIZE = (192, 256)


class Link(WrapperStore[Store]):
    """A store at the other end of a link: replies come late, and share its bandwidth."""

    def __init__(self, store: Store, latency_seconds: float, bytes_a_second: float) -> None:
        super().__init__(store)
        self.latency_seconds, self.bytes_a_second = latency_seconds, bytes_a_second
        self.seen = {"requests": 0.0, "bytes": 0.0, "free_at": 0.0}

    def _with_store(self, store: Store) -> Link:
        twin = copy.copy(self)  # shares what is seen
        twin._store = store
        return twin

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        value = await self._store.get(key, prototype, byte_range)
        size, now = 0 if value is None else len(value), time.monotonic()
        begins = max(self.seen["free_at"], now + self.latency_seconds)
        self.seen["free_at"] = begins + size / self.bytes_a_second
        self.seen["requests"] += 1
        self.seen["bytes"] += size
        await asyncio.sleep(self.seen["free_at"] - now)
        return value


def write_store(folder: Path, videos: int) -> None:
    """Videos of noise, which nothing compresses."""
    location = Location(folder)
    create_store(location, "videos", {})
    random = np.random.default_rng(0)
    specs = [
        ArraySpec("time", ("time",), (), np.dtype("f8"), **said_by_name("time")),
        ArraySpec(
            "frames",
            ("time", "y", "x", "rgb"),
            (*SIZE, 3),
            np.dtype("u1"),
            **said_by_name("frames"),
        ),
    ]
    for number in range(videos):
        writer = VideoWriter(location, f"{number:03d}", {})
        about = {"split": "train", "fps": 30.0, "source_size": SIZE}
        arrays = {
            "time": np.arange(FRAMES) / 30,
            "frames": random.integers(0, 256, (FRAMES, *SIZE, 3), np.uint8),
        }
        for spec in specs:
            stage = writer.stage(spec.name, {"stage": spec.name}, [spec])
            stage.append({spec.name: arrays[spec.name]})
            stage.complete({"video": about, "last_pts_seconds": FRAMES / 30})
    update_index(location)


def by_loader(place: Location) -> Callable[[], int]:
    clips = Clips(open_store(place.zarr), frames=CLIP, variables=["frames"])
    loader = ClipLoader(clips, BATCH, seed=1, num_workers=READERS)
    return lambda: sum(batch["frames"].nbytes for batch in loader)


def by_clips(place: Location) -> Callable[[], int]:
    clips = Clips(open_store(place.zarr), frames=CLIP, variables=["frames"])

    def epoch() -> int:
        order = np.random.default_rng(1).permutation(len(clips)).tolist()
        parts = [order[at : at + READERS * BATCH] for at in range(0, len(order), READERS * BATCH)]
        return sum(each["frames"].nbytes for part in parts for each in clips.__getitems__(part))

    return epoch


def by_zarr(place: Location) -> Callable[[], int]:
    """Plain zarr, as many clips at once as the loader's readers have."""
    names = open_store(place.zarr).select()
    arrays = [zarr.open_array(place.zarr, path=f"videos/{name}/frames", mode="r") for name in names]
    wanted = [(array, start) for array in arrays for start in range(0, FRAMES, CLIP)]

    def epoch() -> int:
        order = np.random.default_rng(1).permutation(len(wanted))
        with ThreadPoolExecutor(READERS * BATCH) as pool:
            read = pool.map(lambda n: wanted[n][0][wanted[n][1] : wanted[n][1] + CLIP], order)
            return sum(np.asarray(each).nbytes for each in read)

    return epoch


READING: dict[str, Callable[[Location], Callable[[], int]]] = {
    "ClipLoader": by_loader,
    "Clips": by_clips,
    "plain zarr": by_zarr,
}


def measure(folder: Path, latency_seconds: float, bytes_a_second: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, prepared in READING.items():
        link = Link(LocalStore(folder), latency_seconds, bytes_a_second)
        epoch = prepared(Location(link, read_only=True))
        for turn in ("first", "second"):
            link.seen.update(requests=0, bytes=0)
            cpu, started = time.process_time(), time.perf_counter()
            pixels = epoch()
            seconds = time.perf_counter() - started
            found.setdefault(name, {})[turn] = {
                "seconds": seconds,
                "cpu_seconds": time.process_time() - cpu,
                "share": pixels / seconds / bytes_a_second,
                "requests": link.seen["requests"],
                "bytes_over_wanted": link.seen["bytes"] / pixels,
            }
    return found


def rows(found: dict[str, Any]) -> list[Row]:
    """The same for machines: shares of the bandwidth that arrive as wanted pixels."""
    return [
        higher(
            f"{name}, {turn} epoch over a link with latency",
            turns[turn]["share"],
            "of its bandwidth",
            "plain zarr",
            found["plain zarr"][turn]["share"],
            goal=("value at least", GOAL) if name == "ClipLoader" else None,
        )
        for name, turns in found.items()
        for turn in turns
        if name != "plain zarr"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--megabytes", type=float, default=50, help="a second")
    parser.add_argument("--videos", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write_store(Path(name), arguments.videos)
        found = measure(Path(name), arguments.latency_ms / 1e3, arguments.megabytes * 1e6)
    if arguments.json:
        print_json(__file__, rows(found), found)
        return
    print(f"{arguments.latency_ms:g} ms, {arguments.megabytes:g} MB/s, clips of {CLIP} frames")
    for name, turns in found.items():
        for turn, of in turns.items():
            print(
                f"{name:10s} {turn:6s} epoch: {of['share']:4.0%} of the bandwidth, "
                f"{of['requests']:.0f} requests, {of['bytes_over_wanted']:.2f} bytes a wanted one, "
                f"{of['seconds']:.1f} s ({of['cpu_seconds']:.1f} s of processor)"
            )
    print(f"goal: ClipLoader at least {GOAL:.0%}")


if __name__ == "__main__":
    main()
