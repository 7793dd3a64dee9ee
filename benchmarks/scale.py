"""Many short clips: what a clip costs beside its own work, memory, and how soon one can read.

One-second clips, a few files under many names, are built with frames and density. Each part runs in
a process of its own: a bare loop that decodes, computes and writes the same arrays with plain zarr;
the build as ``foveal build`` does it, one video at a time, whose memory is watched; the same
command with nothing to do; opening the store; and the first batch of a shuffled epoch.
``FOVEAL_BENCHMARK_WORKERS`` takes several videos at a time; their processor time is comparable.

    python benchmarks/scale.py [--clips 10000] [--bare 300] [--folder F] [--json]
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _figures import Row, print_json, row

GOALS = {
    "overhead_ms": 40.0,
    "tasks": 500.0,
    "rerun_seconds": 30.0,
    "open_ms": 300.0,
    "first_clip_seconds": 2.0,
}
FILES, FRAMES = 4, 30
WORKERS = int(os.environ.get("FOVEAL_BENCHMARK_WORKERS", "1"))


def write_clips(folder: Path, count: int) -> None:
    """A few clips, each with a table of gaze, under many names."""
    from foveal.pipeline.demo import encode_video

    random = np.random.default_rng(0)
    (folder / "gaze").mkdir(parents=True)
    for number in range(count):
        of = number % FILES
        video, gaze = folder / f"clip{number:05d}.avi", folder / "gaze" / f"clip{number:05d}.csv"
        if number >= FILES:
            os.link(folder / f"clip{of:05d}.avi", video)
            os.link(folder / "gaze" / f"clip{of:05d}.csv", gaze)
            continue
        coarse = random.integers(0, 255, (FRAMES, 6, 8, 3), np.uint8)
        encode_video(iter(coarse.repeat(8, axis=1).repeat(8, axis=2)), video, float(FRAMES))
        points = random.uniform(0.05, 0.95, (FRAMES, 2))
        rows = [f"a,{frame},{x:.4f},{y:.4f}\n" for frame, (x, y) in enumerate(points)]
        gaze.write_text("subject,frame,x,y\n" + "".join(rows))


def recipe(folder: Path) -> Any:
    from foveal.pipeline.recipe.recipe import Recipe

    gaze = {"path": "gaze/{video}.csv", "columns": {"video": None}, "units": "fraction"}
    dataset = {"kind": "videos", "root": str(folder / "raw"), "gaze": gaze, "split": "train"}
    sections = {"frames": {"size": [24, 32]}, "density": {"preset": "dhf1k", "size": [24, 32]}}
    return Recipe.parse({"dataset": dataset, "store": str(folder / "store.zarr"), **sections})


def bare(folder: Path, clips: int) -> dict[str, float]:
    """Decode, compute and write with plain zarr: no plan, marks, claims, flushing, tasks."""
    from foveal.pipeline.build.build import Build
    from foveal.pipeline.build.plan import make_stages
    from foveal.pipeline.stages.base import StageRequest

    build = Build.open(recipe(folder))
    requests = [
        StageRequest(build.recipe, build.source, video, build.shared)
        for video in list(build.videos.values())[: clips + FILES]
    ]
    started = time.perf_counter()
    for number, request in enumerate(requests):
        if number == FILES:  # what is loaded and compiled once
            began, started = cpu_seconds(), time.perf_counter()
        bare_clip(request, make_stages(request), folder / f"bare-{os.getpid()}.zarr")
    return {
        "wall_ms": (time.perf_counter() - started) / clips * 1e3,
        "cpu_ms": (cpu_seconds() - began) / clips * 1e3,
    }


def bare_clip(request: Any, stages: list[Any], store: Path) -> None:
    import zarr
    from zarr.storage import LocalStore

    from foveal.pipeline.stages.base import DECODE, FRAMES, StageContext
    from foveal.pipeline.video.decode import decode
    from foveal.pipeline.video.probe import probe
    from foveal.pipeline.video.types import ArrayBatch

    info = probe(request.video)
    fixations = request.source.fixations(request.video, info.height_px, info.width_px)
    context = StageContext(info, lambda: fixations, lambda: None)
    made: dict[str, list[Any]] = {}
    specs = {}
    for stage in stages:
        stage.prepare(context)
        specs |= {spec.name: spec for spec in stage.outputs()}

    def take(arrays: Any) -> None:
        for name, values in arrays.items():
            start = sum(map(len, made.setdefault(name, [])))
            made[name].append(values)
            for reader in stages:
                if name in reader.inputs and len(values):
                    take(reader.push(ArrayBatch(name, start, values, None)))

    for batch in decode(request.video, info):
        for stage in stages:
            if {DECODE, FRAMES} & set(stage.inputs):
                take(stage.push(batch))
    for stage in stages:
        for arrays in stage.finish():
            take(arrays)
    place = LocalStore(store)
    for name, parts in made.items():
        values = np.concatenate(parts)
        layout = specs[name].zarr_layout() | {"name": f"{request.video.id}/{name}"}
        array = zarr.create_array(place, **layout | {"shape": values.shape})
        array[:] = values


def build(folder: Path, clips: int) -> dict[str, Any]:
    """The build itself, from its plan to its report."""
    from foveal.flows.build import run_planned
    from foveal.flows.server import prefect_server
    from foveal.flows.videos import batches
    from foveal.pipeline.build.build import Build
    from foveal.pipeline.build.progress import Silent

    ended: list[tuple[float, float]] = []

    class Counts(Silent):
        def ended(self, result: Any) -> None:
            ended.append((time.perf_counter(), cpu_seconds()))

    started = time.perf_counter()
    with prefect_server(), watched_memory() as memory:
        with Build.open(recipe(folder), Counts()).at_work() as work:
            plan = work.plan()
            planned = time.perf_counter()
            tasks = len(list(batches(plan.to_do)))
            results = run_planned(work, plan, workers=WORKERS)
        assert len(results) == clips
        assert all(result.ok for result in results), [each for each in results if not each.ok][:3]
    done = time.perf_counter()
    (first, first_cpu), (last, last_cpu) = ended[FILES], ended[-1]
    quarters = [max(memory[at : at + len(memory) // 4 + 1]) for at in quarter_starts(len(memory))]
    return {
        "tasks": tasks,
        "plan_seconds": planned - started,
        "wall_ms": (last - first) / (clips - FILES - 1) * 1e3,
        "cpu_ms": (last_cpu - first_cpu) / (clips - FILES - 1) * 1e3,
        "finish_seconds": done - last,
        "memory_mb_by_quarter": [round(each) for each in quarters],
    }


def quarter_starts(length: int) -> list[int]:
    return [length * quarter // 4 for quarter in range(4)]


def opening(folder: Path, clips: int) -> dict[str, float]:
    """Opening the store and listing its videos, once what it takes is imported."""
    import foveal
    import foveal.storage.reader  # open_store would import it

    started = time.perf_counter()
    store = foveal.open_store(folder / "store.zarr")
    opened = time.perf_counter()
    assert len(store.videos) == clips
    return {"open_ms": (opened - started) * 1e3, "list_ms": (time.perf_counter() - opened) * 1e3}


def first_clip(folder: Path, clips: int) -> dict[str, float]:
    """The first batch of a shuffled epoch, the store's opening included."""
    import foveal
    from foveal.torch import ClipLoader, Clips

    started = time.perf_counter()
    store = foveal.open_store(folder / "store.zarr")
    loader = ClipLoader(Clips(store, "train", frames=16), batch_size=1, seed=1)
    batch = next(iter(loader))
    assert batch["frames"].shape == (1, 16, 3, 24, 32)
    return {"first_clip_seconds": time.perf_counter() - started}


def cpu_seconds() -> float:
    """Of this process and of those that it waited for (decoders)."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


@contextmanager
def watched_memory() -> Iterator[list[float]]:
    """Resident megabytes of this process, noted every half second."""
    found: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            found.append(pages * resource.getpagesize() / 1e6)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


PARTS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "bare": bare,
    "build": build,
    "opening": opening,
    "first_clip": first_clip,
}


def in_own_process(part: str, folder: Path, clips: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    found: dict[str, Any] = json.loads(
        subprocess.run(
            [*command, "--clips", str(clips)], check=True, stdout=subprocess.PIPE
        ).stdout.splitlines()[-1]
    )
    return found


def rerun(folder: Path) -> float:
    """Seconds of ``foveal build`` where nothing is to do, from its start to its end."""
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe(folder).resolved()))
    started = time.perf_counter()
    command = [sys.executable, "-m", "foveal", "build", str(path), "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(folder: Path, clips: int, bare_clips: int) -> dict[str, Any]:
    write_clips(folder / "raw", clips)
    run = functools.partial(in_own_process, folder=folder)
    loop = run("bare", clips=bare_clips)
    built = run("build", clips=clips)
    again = run("bare", clips=bare_clips)  # the machine may have become busier
    return {
        "clips": clips,
        "bare": {key: (loop[key] + again[key]) / 2 for key in loop},
        "build": built,
        "overhead_ms": built["cpu_ms"] - (loop["cpu_ms"] + again["cpu_ms"]) / 2,
        "overhead_wall_ms": built["wall_ms"] - (loop["wall_ms"] + again["wall_ms"]) / 2,
        "tasks": built["tasks"],
        "rerun_seconds": rerun(folder),
        **run("opening", clips=clips),
        **run("first_clip", clips=clips),
    }


def rows(found: dict[str, Any]) -> list[Row]:
    """The same for machines."""
    clips = found["clips"]
    told = {
        "overhead_ms": (f"what foveal adds to a clip, of {clips}", "ms per clip"),
        "tasks": (f"tasks of {clips} clips", "tasks"),
        "rerun_seconds": (f"foveal build of {clips} complete clips", "s"),
        "open_ms": (f"opening a store of {clips} clips", "ms"),
        "first_clip_seconds": ("first batch of a shuffled epoch", "s"),
    }
    peer = {
        "peer": "a bare loop with plain zarr, in all",
        "peer_value": found["bare"]["cpu_ms"],
    }
    return [
        row(
            what,
            found[key],
            unit,
            goal=("value at most", GOALS[key]),
            **(peer if key == "overhead_ms" else {}),
        )
        for key, (what, unit) in told.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--bare", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where it is built, and stays")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    logging.getLogger("foveal").setLevel(logging.ERROR)
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](arguments.folder, arguments.clips)))
        return
    if arguments.bare + FILES > arguments.clips:
        parser.error(f"--bare is at most --clips less {FILES}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        found = measure(folder, arguments.clips, arguments.bare)
    if arguments.json:
        print_json(__file__, rows(found), found)
        return
    print(f"{found['clips']} clips of {FRAMES} frames")
    for name in ("bare", "build"):
        of = found[name]
        print(f"{name}: {of['cpu_ms']:.1f} ms of processor and {of['wall_ms']:.1f} ms a clip")
    print(f"memory by quarter of the build: {found['build']['memory_mb_by_quarter']} MB")
    for name, goal in GOALS.items():
        print(f"{name}: {found[name]:.4g} (at most {goal:g})")


if __name__ == "__main__":
    main()
