"""Reading raw gaze against line-by-line readers; listing and checking all of Hollywood-2.

Run: ``python benchmarks/sources.py [--shots 6257] [--repeats 5] [--json]``

The gaze is that of DHF1K's video 002 where ``FOVEAL_SAMPLES`` names a folder with
``dhf1k/exportdata_train``, else a recording of the same format and length. Hollywood-2 has the
shots and frame counts of ``reference/*_hollywood_register.json`` there, else as many drawn at
random; its pictures are links to a few small ones, so opening and sizes are real, pixels are not.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _figures import faster, print_json, row

from foveal.pipeline.check.preflight import check
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources import open_source

HEADER = "Time\tType\tTrial\tL Dia X [px]\tL Dia Y [px]\tL POR X [px]\tL POR Y [px]\tL Event Info\n"
HEIGHT_PX, WIDTH_PX = 360, 640
LINKS_A_FILE = 30_000

Pixel = tuple[int, int, int, str]


def read_line_by_line(path: Path, observer: str) -> set[Pixel]:
    """The peer: DHF1K's ``record_mapping.m`` over ``csv.DictReader``, columns by name."""
    found: set[Pixel] = set()
    start = None
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            time_us = int(row["Time"])
            start = time_us if start is None else start
            if row["L Event Info"].startswith("F"):
                x, y = float(row["L POR X [px]"]), float(row["L POR Y [px]"])
                add_pixel(found, time_us - start, x, y, observer)
    return found


def read_by_split(path: Path, observer: str) -> set[Pixel]:
    """A leaner peer: ``str.split`` instead of the csv module."""
    found: set[Pixel] = set()
    start = None
    with path.open(encoding="utf-8") as file:
        names = file.readline().rstrip("\n").split("\t")
        columns = [names.index(one) for one in ("Time", "L POR X [px]", "L POR Y [px]")]
        event_column = names.index("L Event Info")
        for line in file:
            cells = line.rstrip("\n").split("\t")
            time_us = int(cells[columns[0]])
            start = time_us if start is None else start
            if cells[event_column].startswith("F"):
                x, y = float(cells[columns[1]]), float(cells[columns[2]])
                add_pixel(found, time_us - start, x, y, observer)
    return found


def add_pixel(found: set[Pixel], time_us: int, x: float, y: float, observer: str) -> None:
    """Map one fixation sample as the authors do."""
    frame, rest = divmod(time_us * 30, 1_000_000)
    scale = WIDTH_PX / 1440
    border = (900 - HEIGHT_PX / scale) / 2
    if rest and x > 0 and y > border:
        column, row = math.floor(scale * x + 0.5), math.floor(scale * (y - border) + 0.5)
        if 0 < column < WIDTH_PX and 0 < row < HEIGHT_PX:
            found.add((frame, column - 1, row - 1, observer))


def write_recording(path: Path, seconds: float, seed: int) -> None:
    """A recording at 250 Hz that fixates three times a second."""
    rng = np.random.default_rng(seed)
    lines = [HEADER]
    for index in range(int(250 * seconds)):
        if index % 80 == 0:
            x, y = rng.uniform(50, 1400), rng.uniform(60, 840)
        event = ("Fixation", "Saccade", "Blink", "-")[int(rng.choice(4, p=(0.63, 0.2, 0.05, 0.12)))]
        dx, dy = rng.normal(0, 3, 2)
        time_us = 84_042_779_051 + 4000 * index + int(rng.integers(-40, 40))
        lines.append(f"{time_us}\tSMP\t1\t16.38\t16.38\t{x + dx:.2f}\t{y + dy:.2f}\t{event}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))


def compare_gaze(samples: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """Both readers on the same files; they must give the same pixels."""
    root = samples / "dhf1k"
    real = (root / "exportdata_train").is_dir()
    if not real:
        root = folder / "gaze"
        for observer in range(1, 18):
            name = f"P{observer:02d}"
            path = root / "exportdata_train" / name / f"{name}_Trail002.txt"
            write_recording(path, seconds=27, seed=observer)
        (root / "video").mkdir()
        (root / "video" / "002.AVI").touch()
    recipe = Recipe.parse({"dataset": {"kind": "dhf1k", "root": str(root)}, "store": "unused"})
    source = open_source(recipe.dataset, None)
    (video,) = source.videos()
    paths = [(path, path.parent.name) for path in video.annotation_paths]

    def peer(read: Callable[[Path, str], set[Pixel]]) -> set[Pixel]:
        return set().union(*(read(path, observer) for path, observer in paths))

    found = source.fixations(video, HEIGHT_PX, WIDTH_PX)
    columns = (found.frame, found.x, found.y, found.subject)
    pixels = {
        (int(f), int(x), int(y), found.subjects[s]) for f, x, y, s in zip(*columns, strict=True)
    }
    for read in (read_line_by_line, read_by_split):
        assert pixels == peer(read), "the readers disagree"
    theirs = best(lambda: peer(read_line_by_line), 2)
    lean = best(lambda: peer(read_by_split), 2)
    ours = best(lambda: source.fixations(video, HEIGHT_PX, WIDTH_PX), 4 * repeats)
    return {
        "what": "gaze of one video, 17 observers, to fixated pixels",
        "data": "DHF1K video 002" if real else "synthetic",
        "peer": "a line at a time by csv.DictReader",
        "peer_seconds": theirs,
        "split_seconds": lean,
        "foveal_seconds": ours,
        "ratio": theirs / ours,
    }


def best(run: Callable[[], object], repeats: int) -> float:
    """Shortest of several runs, in seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def shots_of(samples: Path) -> list[tuple[str, str, int, int]]:
    """Split, shot's name, first frame and frames, of all shots of Hollywood-2."""
    shots = []
    for split, count in (("train", 2699), ("test", 3558)):
        register = samples / "reference" / f"{split}_hollywood_register.json"
        if register.is_file():
            found = json.loads(register.read_text())
            for key, frames in found["n_images_dict"].items():
                name = f"actionclip{split}{int(key) // 100:05d}_{int(key) % 100}"
                shots.append((split, name, found["start_image_dict"][key], frames))
        else:
            lengths = np.random.default_rng(0).lognormal(3.4, 1.3, count).astype(int) + 1
            shots += [
                (split, f"actionclip{split}{index:05d}_1", 3, int(frames))
                for index, frames in enumerate(lengths, start=1)
            ]
    return shots


class Linker:
    """Many links to few files: a tree of a million pictures in seconds."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.used = folder, 0
        folder.mkdir(parents=True)

    def link(self, target: str) -> None:
        index, first = divmod(self.used, LINKS_A_FILE)
        self.origin = str(self.folder / f"{index}.png")
        if first == 0:
            pixels = np.zeros((224, 528), np.uint8)
            pixels[100, 200] = 255
            cv2.imwrite(self.origin, pixels)
        os.link(self.origin, target)
        self.used += 1


def write_hollywood2(root: Path, shots: list[tuple[str, str, int, int]]) -> int:
    linker = Linker(root / "pictures")
    for split, name, first, frames in shots:
        clip = name.rsplit("_", 1)[0]
        for kind in ("images", "maps", "fixation"):
            folder = root / f"{split}ing" / name / kind
            folder.mkdir(parents=True)
            for number in range(first, first + frames):
                linker.link(f"{folder}/{clip}_{number:05d}.png")
    return linker.used


def check_hollywood2(samples: Path, folder: Path, shots: int) -> dict[str, Any]:
    """List and preflight all shots; the peer only lists the files, by pathlib."""
    root = folder / "hollywood2"
    files = write_hollywood2(root, shots_of(samples)[:shots])
    recipe = Recipe.parse({
        "dataset": {"kind": "hollywood2", "root": str(root), "ground_truth": "import"},
        "fixations": {},
        "density": {"preset": "hollywood2"},
        "store": "unused",
    })  # fmt: skip
    start = time.perf_counter()
    listed = open_source(recipe.dataset, recipe.fixations).videos()
    listing_seconds = time.perf_counter() - start
    start = time.perf_counter()
    report = check(recipe)
    check_seconds = time.perf_counter() - start
    assert len(listed) == len(report.rows)
    assert report.ok, report.findings[:3]
    start = time.perf_counter()
    assert len(sorted((root).rglob("*.png"))) >= files
    peer_seconds = time.perf_counter() - start
    return {
        "what": f"Hollywood-2: {len(listed)} shots, {files} pictures",
        "peer": "sorted(Path.rglob('*.png'))",
        "peer_seconds": peer_seconds,
        "listing_seconds": listing_seconds,
        "check_seconds": check_seconds,
        "ratio": peer_seconds / listing_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shots", type=int, default=6257)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    samples = Path(os.environ.get("FOVEAL_SAMPLES", "samples"))
    with tempfile.TemporaryDirectory() as folder:
        results = [
            compare_gaze(samples, Path(folder), options.repeats),
            check_hollywood2(samples, Path(folder), options.shots),
        ]
    if options.json:
        gaze, shots = results
        peer, seconds = gaze["peer"], gaze["foveal_seconds"]
        rows = [
            faster(f"{gaze['what']}, {gaze['data']}", seconds, peer, gaze["peer_seconds"]),
            faster(
                f"listing {shots['what']}",
                shots["listing_seconds"],
                shots["peer"],
                shots["peer_seconds"],
            ),
            row(f"checking {shots['what']}", shots["check_seconds"], "s"),
        ]
        print_json(__file__, rows, results)
        return
    for result in results:
        seconds = ", ".join(
            f"{key.removesuffix('_seconds')} {value:.4g} s"
            for key, value in result.items()
            if key.endswith("_seconds")
        )
        print(f"{result['what']}: {seconds}; {result['ratio']:.1f}x {result['peer']}")


if __name__ == "__main__":
    main()
