"""How long people wait for the viewer: a list of 1,000 videos, and jumps in half an hour of video.

A store of 1,000 videos is listed over HTTP, once from its index and once from its journal, as while
a build is under way. In a video of 54,000 frames (192x256, with density, and flow on 112x112),
random jumps are timed: in the server alone, and in headless Chromium from the call to the drawn
frame with all of frames, density, flow and points on, where there is a Chromium. Then it plays at
its own 30 frames a second. The peer is ffmpeg, which jumps to the same frames of the same pictures
as H.264.

    python benchmarks/view.py [--videos 1000] [--minutes 30] [--jumps 30] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import imageio_ffmpeg
import numpy as np
from _figures import Row, print_json, row
from numpy.typing import NDArray

from foveal.pipeline.demo import natural_scene, render_scene
from foveal.pipeline.view.server import Viewer
from foveal.storage.digests import sha256_of_bytes
from foveal.storage.index import distrust_index, update_index
from foveal.storage.kinds import said_by_name
from foveal.storage.location import Location
from foveal.storage.marks import Mark, read_marks, write_mark
from foveal.storage.names import group_path, journal_key
from foveal.storage.reader import open_store
from foveal.storage.records import mark_values
from foveal.storage.root import create_store
from foveal.storage.schema import ArraySpec
from foveal.storage.wanted import write_wanted
from foveal.storage.writer import VideoWriter

FPS = 30.0
SIZE, FLOW_SIZE, MAP_SIZE = (192, 256), (112, 112), (180, 320)
PERIOD = 128
"""Frames after which the long video repeats: those of a shard."""

GOALS_SECONDS = {"list": 1.0, "seek": 0.3}
LAYERS = "frames,density@0.7,flow_dis@0.6,fixations"

Arrays = dict[str, NDArray[Any]]


def material() -> Arrays:
    """A few seconds of everything, that repeat."""
    rng = np.random.default_rng(0)
    scene = natural_scene(rng, SIZE, FPS, PERIOD)
    flow = rng.normal(0, 1, (PERIOD, *FLOW_SIZE, 2)).cumsum(axis=2) / 8
    y, x = np.mgrid[: MAP_SIZE[0], : MAP_SIZE[1]]
    at = 90 + 60 * np.sin(np.arange(PERIOD) / 20)[:, None, None]
    return {
        "frames": np.stack([frame.image for frame in render_scene(scene)]),
        "flow_dis": flow.astype(np.float16),
        "density": (255 * np.exp(-((y - at / 2) ** 2 + (x - at * 2) ** 2) / 800)).astype(np.uint8),
    }


def write_video(location: Location, video: str, arrays: Arrays, frames: int) -> None:
    """Arrays that repeat until there are `frames` frames, and twelve points in each."""
    dims = {
        "time": ("time",),
        "frames": ("time", "y", "x", "rgb"),
        "flow_dis": ("pair", "flow_dis_y", "flow_dis_x", "uv"),
        "density": ("time", "map_y", "map_x"),
    }
    about = {"video": video, "split": "train", "fps": FPS, "source_size": list(SIZE)}
    writer = VideoWriter(location, video, about)
    for name in ("time", *arrays):
        values = np.arange(frames) / FPS if name == "time" else arrays[name]
        chunk = {"chunk_items": 16384, "shard_items": 16384} if name == "time" else {}
        spec = ArraySpec(
            name, dims[name], values.shape[1:], values.dtype, **chunk, **said_by_name(name)
        )
        stage = writer.stage(name, {"stage": name}, [spec])
        stage.append({name: values})
        notes = {"video": about, "parameters": {}, "last_pts_seconds": (frames - 1) / FPS}
        mark = stage.complete(notes)
        if name != "time":
            lengthen(location, mark, name, frames - 1 if name.startswith("flow") else frames)
    points = np.repeat(np.arange(frames, dtype=np.int32), 12)
    rng = np.random.default_rng(1)
    columns = {
        "fixation_frame": points,
        "fixation_x": rng.uniform(0, SIZE[1], len(points)).astype(np.float32),
        "fixation_y": rng.uniform(0, SIZE[0], len(points)).astype(np.float32),
        "fixation_subject": np.tile(np.arange(12, dtype=np.int16), frames),
        "fixation_offset": np.arange(frames + 1, dtype=np.int64) * 12,
    }
    specs = [
        ArraySpec(
            name,
            ("time_plus_1" if name.endswith("offset") else "fixation",),
            (),
            values.dtype,
            chunk_items=65536,
            shard_items=65536,
            **said_by_name(name),
        )
        for name, values in columns.items()
    ]
    stage = writer.stage("fixations", {"stage": "fixations"}, specs)
    stage.append(columns)
    stage.complete({"parameters": {}, "empty_frames": 0})


def lengthen(location: Location, mark: Mark, name: str, items: int) -> None:
    """Let an array of one shard go on repeating it, by links to the same file."""
    assert location.local is not None
    folder = location.local / f"videos/{mark.video}/{name}"
    (first,) = [path for path in (folder / "c/0").rglob("*") if path.is_file()]
    about = dict(mark.arrays[name])
    sha256 = dict(about["sha256"])
    for number in range(1, -(-items // PERIOD)):
        below = Path(f"c/{number}") / first.relative_to(folder / "c/0")
        (folder / below).parent.mkdir(parents=True)
        os.link(first, folder / below)
        sha256[str(below)] = sha256[str(first.relative_to(folder))]
    metadata = json.loads((folder / "zarr.json").read_text())
    metadata["shape"][0] = items
    content = json.dumps(metadata).encode()
    (folder / "zarr.json").write_bytes(content)
    sha256["zarr.json"] = sha256_of_bytes(content)
    shape = [items, *about["shape"][1:]]
    arrays = {name: {**about, "shape": shape, "sha256": sha256}}
    write_mark(location, replace(mark, arrays=arrays))


def make_store(folder: Path, videos: list[str], arrays: Arrays, frames: int) -> Location:
    """A store of equal videos: the first is written, the others are copies of its files."""
    location = Location(folder)
    create_store(location, "benchmark", {})
    write_wanted(location, dict.fromkeys(videos, ()))
    first, *others = videos
    write_video(location, first, arrays, frames)
    marks = read_marks(location, first)
    for video in others:
        shutil.copytree(folder / group_path(first), folder / group_path(video))
        for name, mark in marks.items():
            key = folder / journal_key(video, name)
            key.parent.mkdir(parents=True, exist_ok=True)
            key.write_text(json.dumps(mark_values(replace(mark, video=video))))
    update_index(location)
    return location


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def client_of(viewer: Viewer) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{viewer.port}",
        headers={"Authorization": f"token {viewer.keys.token}"},
        timeout=120,
    )


def measure_list(folder: Path, videos: int) -> dict[str, float]:
    """Seconds until the list of a store is there, of a complete one and of one being built."""
    location = make_store(folder, [f"{n:04d}" for n in range(videos)], {}, 30)
    found = {}
    for what in ("complete", "being built"):
        viewer = Viewer(open_store(folder))
        viewer.start()
        with client_of(viewer) as client:
            found[f"list of {videos:,} videos, {what}, server"] = timed(
                lambda client=client: client.get("/api/videos").raise_for_status()  # type: ignore[misc]
            )
        viewer.stop()
        if what == "complete":
            found |= in_browser(folder, lambda page, link: listed(page, link, videos))
            distrust_index(location)
    return found


def listed(page: Any, link: str, videos: int) -> dict[str, float]:
    """In a browser: from opening the page to the list on the screen."""
    began = time.perf_counter()
    page.goto(link)
    page.locator("#count", has_text=f"{videos:,} video").wait_for()
    page.locator("#videos button").nth(5).wait_for()
    return {f"list of {videos:,} videos, complete, page open": time.perf_counter() - began}


def measure_seeks(folder: Path, frames: int, jumps: int) -> dict[str, float]:
    """Seconds from a jump to the frame, by the server and on the screen."""
    make_store(folder, ["long"], material(), frames)
    places = np.random.default_rng(2).integers(0, frames - 1, jumps).tolist()
    viewer = Viewer(open_store(folder))
    viewer.start()
    with client_of(viewer) as client:
        opened = timed(lambda: client.get("/api/video", params={"video": "long"}))
        version = client.get("/api/video", params={"video": "long"}).json()["version"]

        def jump(frame: int) -> None:
            query = {"video": "long", "v": version, "start": frame, "stop": frame + 1}
            for array, form in (("frames", "picture"), ("density", "heat"), ("flow_dis", "flow")):
                told = client.get("/api/items", params={**query, "array": array, "form": form})
                assert struct.unpack_from("<I", told.content) == (1,)

        jump(1)
        seconds = [timed(lambda place=place: jump(place)) for place in places]  # type: ignore[misc]
    viewer.stop()
    found = {
        f"open a video of {frames:,} frames, server": opened,
        "seek, server, median": median(seconds),
        "seek, server, slowest": max(seconds),
    }
    return found | in_browser(folder, lambda page, link: sought(page, link, places))


def sought(page: Any, link: str, places: list[int]) -> dict[str, float]:
    """In a browser: from the call to the frame drawn with all layers; and how fast it plays."""
    page.goto(f"{link}#video=long&frame=5&layers={LAYERS}")
    page.wait_for_selector("body[data-frame='5']")
    seconds = page.evaluate(
        """async (places) => {
          const field = document.getElementById("frame");
          const taken = [];
          for (const place of places) {
            const began = performance.now();
            field.value = String(place);
            field.dispatchEvent(new Event("change"));
            while (document.body.dataset.frame !== String(place)) {
              await new Promise((resolve) => { setTimeout(resolve, 1); });
            }
            taken.push((performance.now() - began) / 1000);
            await new Promise((resolve) => { setTimeout(resolve, 300); });
          }
          return taken;
        }""",
        places,
    )
    shown = page.evaluate(
        """async () => {
          document.getElementById("play").click();
          await new Promise((resolve) => { setTimeout(resolve, 1000); });
          const first = Number(document.body.dataset.frame);
          const began = performance.now();
          await new Promise((resolve) => { setTimeout(resolve, 5000); });
          const passed = Number(document.body.dataset.frame) - first;
          return (1000 * passed) / (performance.now() - began);
        }"""
    )
    return {
        "seek, on the screen, median": median(seconds),
        "seek, on the screen, slowest": max(seconds),
        "frames/s played, of 30": shown,
    }


def in_browser(folder: Path, act: Callable[[Any, str], dict[str, float]]) -> dict[str, float]:
    """What `act` measures in headless Chromium; nothing where there is none."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        print("playwright is not installed: nothing is measured in a browser", file=sys.stderr)
        return {}
    path = os.environ.get("FOVEAL_CHROMIUM") or shutil.which("chromium")
    viewer = Viewer(open_store(folder))
    viewer.start()
    try:
        with sync_playwright() as started:
            try:
                browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
            except Error:
                print("there is no Chromium: nothing is measured in a browser", file=sys.stderr)
                return {}
            # Chromium's policy for the page would refuse the benchmark's own waiting.
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            return act(page, viewer.link())
    finally:
        viewer.stop()


def measure_ffmpeg(folder: Path, frames: int, jumps: int) -> float:
    """Median seconds in which ffmpeg gives a random frame of the same pictures as H.264."""
    ffmpeg, file = imageio_ffmpeg.get_ffmpeg_exe(), folder / "long.mp4"
    pictures = material()["frames"]
    size = f"{SIZE[1]}x{SIZE[0]}"
    form = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(FPS)]
    options = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
    write = [ffmpeg, "-v", "error", "-y", *form, "-i", "pipe:0", *options, str(file)]
    with subprocess.Popen(write, stdin=subprocess.PIPE) as encoding:
        assert encoding.stdin is not None
        for _ in range(-(-frames // PERIOD)):
            encoding.stdin.write(pictures.tobytes())
        encoding.stdin.close()

    def jump(frame: int) -> None:
        at = ["-ss", str(frame / FPS), "-i", str(file), "-frames:v", "1"]
        read = [ffmpeg, "-v", "error", *at, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
        subprocess.run(read, check=True, capture_output=True)

    places = np.random.default_rng(2).integers(0, frames - 30, jumps).tolist()
    return median([timed(lambda place=place: jump(place)) for place in places])  # type: ignore[misc]


def rows(figures: dict[str, float]) -> list[Row]:
    """The same for machines; a jump in the server against that of ffmpeg comes first."""
    peer = figures["seek, ffmpeg, median"]
    told = []
    for what, value in figures.items():
        if "ffmpeg" in what:
            continue
        goal = next((s for name, s in GOALS_SECONDS.items() if what.startswith(name)), None)
        against: dict[str, Any] = {}
        if what == "seek, server, median":
            against = {"peer": "ffmpeg, frames alone", "peer_value": peer, "ratio": peer / value}
        told.append(
            row(
                what,
                value,
                "frames/s" if "frames/s" in what else "s",
                goal=None if goal is None else ("value at most", goal),
                **against,
            )
        )
    return sorted(told, key=lambda one: one["ratio"] is None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--jumps", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    frames = round(asked.minutes * 60 * FPS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = measure_list(folder / "many.zarr", asked.videos)
        figures |= measure_seeks(folder / "long.zarr", frames, asked.jumps)
        figures["seek, ffmpeg, median"] = measure_ffmpeg(folder, frames, asked.jumps)
    ratio = figures["seek, ffmpeg, median"] / figures["seek, server, median"]
    missed = [
        what
        for what, value in figures.items()
        for goal, most in GOALS_SECONDS.items()
        if what.startswith(goal) and "ffmpeg" not in what and value > most
    ]
    if asked.json:
        found = {"figures": figures, "ratio": ratio, "missed": missed}
        print_json(__file__, rows(figures), found)
        return 0  # what is missed stands in the rows
    else:
        for what, value in figures.items():
            unit = "" if "frames/s" in what else " s"
            print(f"{what:55} {value:8.3f}{unit}{'  TOO SLOW' if what in missed else ''}")
        print(f"{'three layers by the server against ffmpeg’s pictures':55} {ratio:8.2f} x")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
