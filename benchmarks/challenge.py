"""Scores of NTIRE 2026: straight from a store, against the organisers' procedure.

The peer does what the challenge's page describes: ffmpeg unpacks the published maps and the
submitted videos to PNG, then each frame's two pictures are read, stretched, brought to one size
and scored, by as many processes as there are cores. foveal reads maps, predictions and points of
the same clips from its store. The submission has the predictions' own size; with --full it has
that of the videos, which costs the peer more. What a build needs to bring the published maps into
the store, once for all predictions, is measured apart, and the ratio with it is given too.

Run: ``python benchmarks/challenge.py [--videos 2] [--frames 20] [--size 1080x1920] [--cores 1]
[--full] [--json]``
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.pool import Pool, ThreadPool
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from _figures import print_json, row
from numpy.typing import NDArray

from foveal.models.metrics.challenge import METRICS
from foveal.pipeline.build.build import Build
from foveal.pipeline.export.submission import write_submission
from foveal.pipeline.learn.evaluate import contestants, evaluate
from foveal.pipeline.learn.made_maps import map_spec, write_made_maps
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.base import Arrays, PlainStage
from foveal.pipeline.video.ffmpeg import ffmpeg_executable
from foveal.storage.reader import open_store

Array = NDArray[Any]
FPS, POINTS, OBSERVED_SIDE = 30, 50, 270
EPS = 1e-7


def blobs(rng: np.random.Generator, frames: int, size: tuple[int, int], count: int) -> Array:
    """Moving spots of light, float32 [frames, height, width] in [0, 1]."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    centre = rng.random((count, 2)) * (height, width)
    step = rng.normal(0, height / 300, (count, 2))
    found = np.zeros((frames, *size), np.float32)
    for frame in range(frames):
        for (cy, cx), (dy, dx) in zip(centre, step, strict=True):
            distance = (y - cy - frame * dy) ** 2 + (x - cx - frame * dx) ** 2
            found[frame] += np.exp(-distance / (2 * (height / 12) ** 2))
        found[frame] -= found[frame].min()
        found[frame] /= found[frame].max()
    return found


def encode(path: Path, values: Array, form: str, *options: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape[1:3]
    command = [ffmpeg_executable(), "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", form]
    command += ["-s", f"{width}x{height}", "-r", str(FPS), "-i", "-", "-c:v", "libx264"]
    subprocess.run([*command, *options, str(path)], input=values.tobytes(), check=True)


def write_archives(root: Path, videos: int, frames: int, size: tuple[int, int]) -> dict[str, Array]:
    """A miniature of the archives; predictions [frames, h, w] by video."""
    rng = np.random.default_rng(0)
    small = (OBSERVED_SIDE, OBSERVED_SIDE * size[1] // size[0])
    names = [f"video_{number}" for number in range(videos)]
    (root / "Videos").mkdir(parents=True)
    (root / "TrainTestSplit.json").write_text(json.dumps({"public_test": names}))
    predictions = {}
    for name in names:
        shown = np.zeros((frames, *size, 3), np.uint8)
        encode(root / "Videos" / f"{name}.mp4", shown, "rgb24", "-pix_fmt", "yuv420p")
        maps = np.rint(blobs(rng, frames, size, 4) * 1023).astype(np.uint16)
        published = root / "SaliencyTest" / "Test" / f"{name}.mp4"
        encode(published, maps, "gray10le", "-crf", "0", "-pix_fmt", "gray10le")
        points = rng.integers(0, size, (frames, POINTS, 2))
        annotation = root / "FixationsTest" / "Test" / name
        annotation.mkdir(parents=True)
        (annotation / "fixations.json").write_text(json.dumps(points.tolist()))
        predictions[name] = blobs(rng, frames, small, 3)
    return predictions


class KnownMaps(PlainStage):
    """Maps that are there already, as a network would write them."""

    inputs = ()

    def __init__(self, maps: Array) -> None:
        self.name = "saliency_known"
        self.arrays = (self.name,)
        self._maps = maps.astype(np.float16)

    def outputs(self) -> list[Any]:
        size = (self._maps.shape[1], self._maps.shape[2])
        return [map_spec(self.name, size, "known maps")]

    def finish(self) -> Iterator[Arrays]:
        yield {self.name: self._maps}


def build(root: Path, store: Path, density: dict[str, str] | None) -> None:
    values = {
        "dataset": {"kind": "mouse_saliency", "root": str(root)},
        "store": str(store),
        "fixations": {},
        "density": density,
    }
    with Build.open(Recipe.parse(values)).at_work() as work:
        plan = work.plan()
        work.remember(plan)
        results = [*plan.settled, *(work.run(item.video.id) for item in plan.to_do)]
        assert all(result.ok for result in results), results
        work.finalise(results)


# The peer


def unpack(videos: list[Path], folder: Path, cores: int) -> None:
    def one(video: Path) -> None:
        (folder / video.stem).mkdir(parents=True)
        command = [ffmpeg_executable(), "-v", "error", "-i", str(video)]
        subprocess.run([*command, str(folder / video.stem / "%03d.png")], check=True)

    with ThreadPool(cores) as pool:
        pool.map(one, videos)


def read_map(path: Path) -> Array:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    grey = picture.mean(axis=2) if picture.ndim == 3 else picture
    low, high = grey.min(), grey.max()
    return (grey - low) / (high - low + np.finfo(np.float32).eps)


def score_frame(work: tuple[Path, Path, list[list[int]]]) -> tuple[float, ...]:
    predicted, published, listed = work
    q, points = read_map(published), np.array(listed)
    p = cv2.resize(read_map(predicted), (q.shape[1], q.shape[0]))
    a, b = ((one - np.mean(one)) / (np.std(one) + EPS) for one in (p, q))
    cc = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + EPS)
    sim = np.minimum(p / (np.sum(p) + EPS), q / (np.sum(q) + EPS)).sum()
    nss = a[points[:, 0], points[:, 1]].mean()
    thresholds = np.sort(p[points[:, 0], points[:, 1]])[::-1]
    n, number = len(thresholds), np.arange(1, len(thresholds) + 1)
    above = (p >= thresholds[:, None, None]).sum(axis=(1, 2))
    distinct = len(np.unique(points.T, axis=0))
    false_alarms = np.concatenate([[0], (above - number) / (p.size - distinct), [1]])
    auc = np.trapezoid(np.concatenate([[0], number / n, [1]]), false_alarms)
    return float(cc), float(sim), float(nss), float(auc)


def score_pictures(root: Path, unpacked: Path, cores: int) -> dict[str, float]:
    means = []
    for folder in sorted((unpacked / "published").iterdir()):
        listed = json.loads(
            (root / "FixationsTest" / "Test" / folder.name / "fixations.json").read_text()
        )
        kinds = ("submitted", "published")
        pairs = [sorted((unpacked / kind / folder.name).iterdir()) for kind in kinds]
        with Pool(cores) as pool:
            scores = pool.map(score_frame, list(zip(*pairs, listed, strict=True)))
        means.append(np.mean(scores, axis=0))
    return dict(zip(METRICS, np.mean(means, axis=0).tolist(), strict=True))


def measured(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it gives, and its seconds: on the clock, and of the cores, child processes too."""

    def spent() -> float:
        everybody = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        usages = (resource.getrusage(who) for who in everybody)
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    wall, cpu = time.perf_counter(), spent()
    result = work()
    return result, time.perf_counter() - wall, spent() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=2)
    parser.add_argument("--frames", type=int, default=20, help="of each video")
    parser.add_argument("--size", default="1080x1920", help="HEIGHTxWIDTH of the videos")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--full", action="store_true", help="submission at the videos' size")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    torch.set_num_threads(arguments.cores)
    cv2.setNumThreads(0)
    height, width = (int(side) for side in arguments.size.split("x"))
    folder = Path(tempfile.mkdtemp(prefix="challenge_"))
    try:
        result = compare(folder, arguments, (height, width))
    finally:
        shutil.rmtree(folder)
    if arguments.json:
        frames = f"{result['frames']} frames of {height}x{width}"
        peer_ms = sum(
            wall for name, (wall, _) in result["ms_per_frame"].items() if name.startswith("peer")
        )
        rows = [
            row(
                f"{name}: {frames}",
                peer_ms / wall,
                "ms per frame",
                peer="the organisers' procedure",
                peer_value=peer_ms,
                ratio=wall,
                note=f"{cpu:.1f}x by processor time",
            )
            for name, (wall, cpu) in result["ratio"].items()
        ]
        print_json(__file__, rows, result)
        return
    print(
        f"{arguments.videos} videos of {arguments.frames} frames of {height}x{width}, "
        f"{arguments.cores} core(s); milliseconds a frame, on the clock and of the cores"
    )
    for name, (wall, cpu) in result["ms_per_frame"].items():
        print(f"{name:34s} {wall:8.1f} {cpu:8.1f}")
    for name, (wall, cpu) in result["ratio"].items():
        print(f"{name:34s} {wall:7.1f}x {cpu:7.1f}x")
    print("foveal's scores less the peer's: " + ", ".join(
        f"{name} {value:+.1e}" for name, value in result["difference"].items()
    ))  # fmt: skip


def compare(folder: Path, arguments: argparse.Namespace, size: tuple[int, int]) -> dict[str, Any]:
    root, store, cores = folder / "data", folder / "store.zarr", arguments.cores
    predictions = write_archives(root, arguments.videos, arguments.frames, size)
    build(root, store, None)
    took: dict[str, tuple[float, float]] = {}

    def note(name: str, work: Callable[[], Any]) -> Any:
        given, *took[name] = measured(work)  # type: ignore[misc]
        return given

    note("published maps into the store", partial(build, root, store, {"preset": "published"}))
    write_made_maps(str(store), lambda video, marks: KnownMaps(predictions[video]))
    write_submission(store, folder / "submission", "known", source_size=arguments.full)

    def from_store(videos: list[str] | None = None) -> dict[str, float]:
        opened = open_store(store)
        wanted, _ = contestants(opened, ["known"], ())
        table = evaluate(opened, wanted, variant="ntire2026", videos=videos).tables[
            "saliency_known"
        ]
        return {name: table["dataset"][name]["mean_of_videos"] for name in METRICS}

    from_store([next(iter(predictions))])  # compiles
    ours = note("foveal: scores from the store", from_store)
    unpacked = folder / "unpacked"
    folders = {
        "published": root / "SaliencyTest" / "Test",
        "submitted": folder / "submission",
    }
    for name, where in folders.items():
        videos = sorted(where.glob("*.mp4"))
        note(f"peer: {name} to PNG", partial(unpack, videos, unpacked / name, cores))
    theirs = note("peer: PNG to scores", partial(score_pictures, root, unpacked, cores))
    frames = arguments.videos * arguments.frames
    peer = np.sum([seconds for name, seconds in took.items() if name.startswith("peer")], axis=0)
    own = np.array(took["foveal: scores from the store"])
    with_import = own + took["published maps into the store"]
    png = sum(path.stat().st_size for path in unpacked.rglob("*.png"))
    return {
        "videos": arguments.videos,
        "frames": arguments.frames,
        "size": list(size),
        "cores": cores,
        "ms_per_frame": {
            name: [1e3 * one / frames for one in seconds] for name, seconds in took.items()
        },
        "ratio": {
            "scores": (peer / own).tolist(),
            "scores, importing the maps too": (peer / with_import).tolist(),
        },
        "png_bytes_per_frame": png / frames,
        "difference": {name: ours[name] - theirs[name] for name in METRICS},
    }


if __name__ == "__main__":
    main()
