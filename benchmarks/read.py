"""Random 79-frame windows from a store against folders of pictures and the video itself.

The same frames lie as a store, as a folder of JPEGs (quality 95), as a folder of PNGs, and as the
video they came from; all are read in one run, taking turns, the store by a ClipLoader, whose
workers are threads, the others by a DataLoader, the pages of the operating system warm. With flow
and density, the folders hold one .npy (float16) a flow map and one PNG a density map. Cached I3D
features are read as batches of 128 random windows against ``np.load(mmap_mode="r")``. Ratios are
foveal's speed over the peer's. Then ``Clips`` against this project's own way through dask: batches
of clips (``Store.lazy(clips=…)``), and slices of the arrays end to end. Last, frames and features
are read with their checksums compared and not, by turns.

    python benchmarks/read.py [--video FILE] [--windows 24] [--rounds 3] [--json]

torchcodec is measured where it is installed. Whatever is lossless is compared value by value.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import dask
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from foveal.models.flow.dis import DIS
from foveal.pipeline.demo import encode_video, natural_scene, render_scene
from foveal.pipeline.stages.density_maps import density_maps
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.density_kernels import gaussian
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.resize import resize_frames
from foveal.pipeline.video.types import Video
from foveal.storage import slices
from foveal.storage.kinds import said_by_name
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.root import create_store
from foveal.storage.schema import ArraySpec
from foveal.storage.shards import ShardLayout
from foveal.storage.writer import VideoWriter
from foveal.torch import ClipLoader, Clips, Windows, collate

WINDOW, BATCH = 79, 4
FRAME_SIZE, FLOW_SIZE, MAP_SIZE = (192, 256), (112, 112), (180, 320)
FEATURE_SHAPE, FEATURE_WINDOWS, FEATURE_BATCH = (1024, 5, 5, 5), 512, 128
CHECKSUM_GOAL_PERCENT = 3
GOALS = {"jpeg": 2.0, "png": 6.0, "torchcodec": 3.0, "mmap": 0.7}
DASK_WINDOWS, DASK_CLIPS, DASK_CLIP_FRAMES, MOST_DASK = 64, 16, 16, 4.0

Arrays = Mapping[str, NDArray[Any]]


def make_clip(path: Path, frames: int) -> None:
    scene = natural_scene(np.random.default_rng(0), (360, 640), 30.0, frames)
    encode_video((frame.image for frame in render_scene(scene)), path, 30.0, "libx264")


def decoded(path: Path) -> Arrays:
    """Everything a store would hold of a clip."""
    video = Video("clip", "train", path)
    batches = list(decode(video, probe(video)))
    source = np.concatenate([batch.frames for batch in batches])
    frames = resize_frames(source, FRAME_SIZE)
    points = np.random.default_rng(1).uniform((0, 0), (639, 359), (len(frames) * 60, 2))
    density = density_maps(
        points,
        np.arange(0, len(points) + 1, 60),
        (360, 640),
        MAP_SIZE,
        gaussian(12.74),
        "max",
        np.uint8,
    )
    return {
        "time": np.concatenate([batch.pts_seconds for batch in batches]),
        "frames": frames,
        "flow_dis": DIS()(resize_frames(source, FLOW_SIZE)).astype(np.float16),
        "density": density,
    }


def random_features() -> NDArray[np.float16]:
    """Like I3D's: non-negative, about half of them zero."""
    values = np.random.default_rng(2).standard_normal((FEATURE_WINDOWS, *FEATURE_SHAPE))
    return np.maximum(values, 0).astype(np.float16)


def write_store(folder: Path, arrays: Arrays, features: NDArray[np.float16]) -> None:
    dims = {
        "time": ("time",),
        "frames": ("time", "y", "x", "rgb"),
        "flow_dis": ("pair", "flow_dis_y", "flow_dis_x", "uv"),
        "density": ("time", "map_y", "map_x"),
    }
    location = Location(folder)
    create_store(location, "benchmark", {})
    frames = len(arrays["frames"])
    for video, length in (("clip", frames), ("features", FEATURE_WINDOWS + WINDOW - 1)):
        about = {"video": video, "split": video, "fps": 30.0, "source_size": [360, 640]}
        writer = VideoWriter(location, video, about)
        content = arrays if video == "clip" else {"time": np.arange(length) / 30}
        for name, values in content.items():
            spec = ArraySpec(name, dims[name], values.shape[1:], values.dtype, **said_by_name(name))
            stage = writer.stage(name, {"stage": name}, [spec])
            stage.append({name: values})
            last = float(content["time"][-1])
            stage.complete({"parameters": {}, "video": about, "last_pts_seconds": last})
        if video == "features":
            five = tuple(f"i3d_rgb_{axis}" for axis in ("window", "feature", "t", "y", "x"))
            starts = "i3d_rgb_window_start"
            specs = [
                ArraySpec(
                    "i3d_rgb",
                    five,
                    FEATURE_SHAPE,
                    np.dtype(np.float16),
                    {},
                    1,
                    128,
                    compress=False,
                    **said_by_name("i3d_rgb"),
                ),
                ArraySpec(starts, five[:1], (), np.dtype(np.int64), **said_by_name(starts)),
            ]
            stage = writer.stage("i3d_rgb", {"stage": "i3d_rgb"}, specs)
            stage.append({"i3d_rgb": features, starts: np.arange(FEATURE_WINDOWS)})
            stage.complete({"parameters": {"window": WINDOW}})


def write_folder(folder: Path, arrays: Arrays, suffix: str) -> None:
    folder.mkdir()
    for k, frame in enumerate(arrays["frames"]):
        Image.fromarray(frame).save(folder / f"{k:05d}.{suffix}", quality=95)
    for k, flow in enumerate(arrays["flow_dis"]):
        np.save(folder / f"flow{k:05d}.npy", flow)
    for k, density in enumerate(arrays["density"]):
        Image.fromarray(density).save(folder / f"map{k:05d}.png")


class Folder(Dataset[dict[str, torch.Tensor]]):
    """Windows from a folder of pictures, as most training code reads them."""

    def __init__(self, folder: Path, suffix: str, starts: list[int], everything: bool) -> None:
        self.folder, self.suffix, self.starts = folder, suffix, starts
        self.everything = everything

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        window = range(self.starts[index], self.starts[index] + WINDOW)
        sample = {"frames": self._pictures("{:05d}." + self.suffix, window)}
        if self.everything:
            maps = [np.load(self.folder / f"flow{k:05d}.npy") for k in window]
            sample["flow_dis"] = torch.from_numpy(np.stack(maps))
            sample["density"] = self._pictures("map{:05d}.png", window)
        return sample

    def _pictures(self, name: str, window: range) -> torch.Tensor:
        pictures = [np.asarray(Image.open(self.folder / name.format(k))) for k in window]
        return torch.from_numpy(np.stack(pictures))


class VideoFile(Dataset[dict[str, torch.Tensor]]):
    """Windows decoded from the video by torchcodec, at the video's own size."""

    def __init__(self, path: Path, starts: list[int]) -> None:
        from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found]

        self.make, self.path, self.starts = VideoDecoder, path, starts
        self.decoders: dict[int, Any] = {}  # a process; an open file is no use after a fork

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        process = os.getpid()
        if process not in self.decoders:
            self.decoders[process] = self.make(str(self.path))
        start = self.starts[index]
        return {"frames": self.decoders[process].get_frames_in_range(start, start + WINDOW).data}


class Mapped(Dataset[dict[str, torch.Tensor]]):
    """Feature windows from a memory-mapped .npy file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: Any = None

    def __len__(self) -> int:
        return FEATURE_WINDOWS

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if self.values is None:
            self.values = np.load(self.path, mmap_mode="r")
        return {"i3d_rgb": torch.from_numpy(np.array(self.values[index]))}


def seconds_by_turns(
    readers: Mapping[str, Callable[[], Iterator[Any]]], rounds: int
) -> dict[str, float]:
    """Median time each reader takes for one pass; the readers take turns, after a warm-up.

    A turn is as many passes as take a second: a short one would measure its neighbours' end.
    """
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(rounds + 1):
        for name, reader in readers.items():
            spent, passes = 0.0, 0
            while spent < 1 and (turn or not passes):
                started = time.perf_counter()
                for _ in reader():
                    pass
                spent += time.perf_counter() - started
                passes += 1
            if turn:
                seconds[name].append(spent / passes)
    return {name: median(times) for name, times in seconds.items()}


def check_equal(clips: Clips, png: Folder) -> None:
    """Samples of the store and of the lossless folder hold the same values."""
    for number in range(0, len(clips), 8):
        ours, theirs = clips[number], png[number]
        for key, value in theirs.items():
            found = ours[key].movedim(1, -1) if ours[key].ndim > 3 else ours[key]
            if key == "flow_dis":
                found, value = found[ours["flow_dis_valid"][:, 0]], value[: len(found)]
            if not torch.equal(found, value):
                raise SystemExit(f"{key} of window {number} differs from the PNG folder")


def compare_windows(
    work: Path, video: Path, arrays: Arrays, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    stride = (len(arrays["frames"]) - WINDOW) // arguments.windows
    results = []
    for everything in (False, True):
        names = ["frames", "flow_dis", "density"] if everything else ["frames"]
        clips = Clips(work / "store", "clip", frames=WINDOW, stride=stride, variables=names)
        starts = [clips.where(number)[1] for number in range(len(clips))]
        check_equal(clips, Folder(work / "png", "png", starts, everything))
        sets: dict[str, Dataset[Any]] = {
            "jpeg": Folder(work / "jpeg", "jpeg", starts, everything),
            "png": Folder(work / "png", "png", starts, everything),
        }
        if not everything and has_torchcodec():
            sets["torchcodec"] = VideoFile(video, starts)
        for workers in (0, 2):
            readers = {
                name: DataLoader(
                    data,
                    BATCH,
                    shuffle=True,
                    num_workers=workers,
                    persistent_workers=workers > 0,
                    collate_fn=collate,
                ).__iter__
                for name, data in sets.items()
            }
            loader = ClipLoader(clips, BATCH, num_workers=workers)
            seconds = seconds_by_turns({"foveal": loader.__iter__, **readers}, arguments.rounds)
            results += report("+".join(names), workers, seconds, len(clips) * WINDOW)
    return results


def compare_features(work: Path, rounds: int) -> list[dict[str, Any]]:
    clips = Clips(work / "store", "features", frames=1, variables=[Windows("i3d_rgb")])
    mapped = Mapped(work / "features.npy")
    for number in (0, FEATURE_WINDOWS - 1):
        if not torch.equal(clips[number]["i3d_rgb"][0], mapped[number]["i3d_rgb"]):
            raise SystemExit(f"features of window {number} differ")
    results = []
    for workers in (0, 2):
        ours = ClipLoader(clips, FEATURE_BATCH, num_workers=workers)
        theirs = DataLoader(
            mapped,
            FEATURE_BATCH,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        seconds = seconds_by_turns({"foveal": ours.__iter__, "mmap": theirs.__iter__}, rounds)
        results += report("i3d_rgb", workers, seconds, FEATURE_WINDOWS)
    return results


def compare_checksums(work: Path, turns: int) -> list[dict[str, Any]]:
    """What comparing checksums costs: the same stored bytes, read by turns with it and without.

    Two stores would not do: where their pages lie in memory makes more of a difference. Time is
    that of the one thread that reads, so that other programs count for little.
    """
    kinds: dict[str, tuple[int, Callable[[], Clips]]] = {
        "frames": (
            BATCH,
            lambda: Clips(work / "store", "clip", frames=WINDOW, stride=16, variables=["frames"]),
        ),
        "i3d_rgb": (
            FEATURE_BATCH,
            lambda: Clips(work / "store", "features", frames=1, variables=[Windows("i3d_rgb")]),
        ),
    }
    results = []
    for what, (batch, make) in kinds.items():
        loaders = {}
        for checked in (True, False):
            with compared(checked):
                loaders[checked] = ClipLoader(make(), batch, num_workers=0)
                cpu_seconds(loaders[checked])  # opens every array, and warms the pages
        spent: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(turns):
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


def compare_dask(work: Path, rounds: int) -> list[dict[str, Any]]:
    """Random clips at once: by `Clips`, as batches through dask, and sliced from whole arrays."""
    store = open_store(work / "store")
    random = np.random.default_rng(3)
    results = []
    for array, video, items, count in (
        ("i3d_rgb", "features", 1, DASK_WINDOWS),
        ("frames", "clip", DASK_CLIP_FRAMES, DASK_CLIPS),
    ):
        variable = Windows(array) if array == "i3d_rgb" else array
        clips = Clips(store, video, frames=items, variables=[variable])
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
        seconds = seconds_by_turns(readers, rounds)
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


def report(
    what: str, workers: int, seconds: Mapping[str, float], items: int
) -> list[dict[str, Any]]:
    return [
        {
            "read": what,
            "workers": workers,
            "peer": peer,
            "foveal_items_per_second": round(items / seconds["foveal"]),
            "peer_items_per_second": round(items / seconds[peer]),
            "ratio": round(seconds[peer] / seconds["foveal"], 2),
            "goal": GOALS[peer] if what in ("frames", "i3d_rgb") else None,
        }
        for peer in seconds
        if peer != "foveal"
    ]


def has_torchcodec() -> bool:
    try:
        import torchcodec  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, help="a clip of its own where left out")
    parser.add_argument("--windows", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        video = arguments.video or work / "clip.mp4"
        if arguments.video is None:
            make_clip(video, 400)
        arrays, features = decoded(video), random_features()
        write_store(work / "store", arrays, features)
        np.save(work / "features.npy", features)
        for suffix in ("jpeg", "png"):
            write_folder(work / suffix, arrays, suffix)
        results = compare_windows(work, video, arrays, arguments)
        results += compare_features(work, arguments.rounds)
        through_dask = compare_dask(work, arguments.rounds)
        checksums = compare_checksums(work, 10 * arguments.rounds)
    if arguments.json:
        values = {"results": results, "dask": through_dask, "checksums": checksums}
        print(json.dumps(values | {"torchcodec_installed": has_torchcodec()}))
        return
    for row in results:
        goal = f" (goal {row['goal']})" if row["goal"] else ""
        print(
            f"{row['read']:24} {row['workers']} workers: "
            f"{row['foveal_items_per_second']:6} items/s, {row['ratio']:6.2f} x {row['peer']}{goal}"
        )
    for row in through_dask:
        most = f" (at most {row['most']})" if row["most"] else ""
        print(
            f"{row['read']:24} Clips {row['clips_ms']:6} ms, {row['peer']} {row['peer_ms']:6} ms: "
            f"{row['times_clips']} x{most}"
        )
    for row in checksums:
        print(
            f"{row['read']:24} checksums: {row['ms_with_checksums']} ms a pass with, "
            f"{row['ms_without']} ms without: {row['cost_percent']:+} % "
            f"(goal {row['goal_percent']} %)"
        )
    if not has_torchcodec():
        print("torchcodec is not installed: not measured")


if __name__ == "__main__":
    main()
