"""Overhead per video of Dask over threads, and the speedup by a second worker process.

Tiny clips are built by threads and on ``local:1``, both one at a time: the difference is what the
cluster costs per video. Then clips with a stage that fills its core (TV-L1) are built by one and by
two worker processes, each kept on a core of its own. Clusters and server start before the
clocks.

    python benchmarks/cluster.py [--repeats 3] [--videos 60] [--json]
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")

from _figures import print_json, row
from distributed import Client, SpecCluster

from foveal.flows.build import run_planned
from foveal.flows.cluster import local_cluster
from foveal.flows.server import prefect_server
from foveal.pipeline.build.build import Build
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.video.ffmpeg import ffmpeg_executable


def write_clips(folder: Path, count: int, size: str, seconds: float) -> Path:
    """One clip under many names."""
    folder.mkdir()
    pattern = f"testsrc2=size={size}:rate=30:duration={seconds}"
    command = [ffmpeg_executable(), "-loglevel", "error", "-f", "lavfi", "-i", pattern]
    first = folder / "clip000.mp4"
    subprocess.run([*command, "-c:v", "libx264", str(first)], check=True)
    for number in range(1, count):
        (folder / f"clip{number:03d}.mp4").write_bytes(first.read_bytes())
    return folder


def build_seconds(clips: Path, store: Path, cluster: str | None, **sections: Any) -> float:
    """Seconds from the first task to the last result, report included."""
    values = {"dataset": {"kind": "videos", "root": str(clips)}, "store": str(store), **sections}
    with Build.open(Recipe.parse(values)).at_work() as build:
        plan = build.plan()
        started = time.perf_counter()
        results = run_planned(build, plan, workers=None if cluster else 1, cluster=cluster)
        assert all(result.ok for result in results), results
        return time.perf_counter() - started


def keep_on_cores(cluster: SpecCluster) -> None:
    """Give each worker process one core, and all that it starts."""
    with Client(cluster, set_as_default=False) as client:
        cores = sorted(os.sched_getaffinity(0))
        for turn, worker in enumerate(client.scheduler_info()["workers"]):
            client.run(keep_on_core, cores[turn % len(cores)], workers=[worker])


def keep_on_core(core: int) -> None:
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=4, help="of each of eight heavy clips")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("distributed").setLevel(logging.ERROR)
    seconds: dict[str, list[float]] = {"threads": [], "dask": [], "one": [], "two": []}
    with tempfile.TemporaryDirectory() as name, prefect_server():
        folder = Path(name)
        tiny = write_clips(folder / "tiny", arguments.videos, "64x48", 0.3)
        heavy = write_clips(folder / "heavy", 8, "160x120", arguments.seconds)
        light: dict[str, Any] = {"frames": {"size": [24, 32]}}
        dense: dict[str, Any] = {"flow": [{"method": "tvl1", "size": [96, 128]}]}
        with local_cluster(1) as one, local_cluster(2) as two:
            keep_on_cores(one)
            keep_on_cores(two)
            address = {"one": str(one.scheduler_address), "two": str(two.scheduler_address)}
            for each in address.values():  # workers import and compile once
                build_seconds(heavy, folder / f"warm-{each[-5:]}.zarr", each, **dense)
            for turn in range(arguments.repeats):
                store = folder / f"threads-{turn}.zarr"
                seconds["threads"].append(build_seconds(tiny, store, None, **light))
                store = folder / f"dask-{turn}.zarr"
                seconds["dask"].append(build_seconds(tiny, store, address["one"], **light))
                for key in ("one", "two"):
                    store = folder / f"{key}-{turn}.zarr"
                    seconds[key].append(build_seconds(heavy, store, address[key], **dense))
    middle = {key: median(values) for key, values in seconds.items()}
    overhead_ms = 1000 * (middle["dask"] - middle["threads"]) / arguments.videos
    speedup = middle["one"] / middle["two"]
    if arguments.json:
        rows = [
            row(
                "two worker processes, TV-L1 of 8 clips",
                middle["two"],
                "s",
                peer="one worker process",
                peer_value=middle["one"],
                ratio=speedup,
                goal=("ratio at least", 1.8),
                note="on two free cores",
            ),
            row(
                "what Dask adds to a video",
                overhead_ms,
                "ms per video",
                peer="threads, in all",
                peer_value=1000 * middle["threads"] / arguments.videos,
                goal=("value at most", 30),
            ),
        ]
        found = {"seconds": seconds, "overhead_ms": overhead_ms, "speedup": speedup}
        print_json(__file__, rows, found)
        return
    print(f"Dask over threads: {overhead_ms:.1f} ms per video (at most 30)")
    print(f"two worker processes over one: {speedup:.2f}x (at least 1.8x on two free cores)")


if __name__ == "__main__":
    main()
