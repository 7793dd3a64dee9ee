"""Does training wait for data? LSTS (or others) at full size, at the paper's batch size.

A store is written with what a build leaves of a dataset: I3D features of 1024 x 5 x 5 x 5 (random
values), density maps of 360 x 640, fixations; for ``--networks`` that read pixels, frames of
240 x 320 and flow of 120 x 160. Networks are trained on it as `foveal train` does;
the share of the time spent waiting for batches is the training's own. Then the same batches are
read without training: the ratio says how many times faster they come than this machine trains. On a
faster device that headroom shrinks; it is measured there with ``--device cuda``.
Run: ``python benchmarks/feeding.py [--networks salema tp_cmrnet] [--steps 8] [--device cpu]
[--workers 0] [--json]``
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _figures import higher, print_json
from numpy.typing import NDArray

from foveal.models import saliency
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.several_stores import open_clips
from foveal.pipeline.learn.train import train
from foveal.pipeline.stages.density_maps import density_maps
from foveal.pipeline.video.density_kernels import gaussian
from foveal.storage.kinds import said_by_name
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.root import create_store
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter
from foveal.torch import ClipLoader

NETWORKS = ("lsts_rgb", "lsts_rgb_flow")
TOWERS = ("i3d_rgb", "i3d_flow")
VIDEOS, WINDOWS, WINDOW_FRAMES = 4, 256, 79
FRAMES = WINDOWS + WINDOW_FRAMES
SIZE = (360, 640)
FRAME_SIZE = (240, 320)
FEATURE_SHAPE = (1024, 5, 5, 5)
POINTS_A_FRAME = 17
ROUNDS = 3
MOST_BATCHES = 24

Arrays = dict[str, tuple[tuple[str, ...], NDArray[Any]]]
"""Dimensions and values by name."""


def contents(rng: np.random.Generator, kinds: set[str]) -> dict[str, Arrays]:
    """What a video's stages hold; windows of both streams start at frames 1, 2, …

    Features, frames and flow are there where networks read these `kinds` of inputs.
    """
    centre = 180 + np.cumsum(rng.normal(0, 2, (FRAMES, 1, 2)), axis=0)
    points = (centre + rng.normal(0, 40, (FRAMES, POINTS_A_FRAME, 2))).clip(0, 359).reshape(-1, 2)
    offset = np.arange(FRAMES + 1) * POINTS_A_FRAME
    density = density_maps(points, offset, SIZE, SIZE, gaussian(12.74), "max", np.uint8)
    point = ("fixation",)
    stages: dict[str, Arrays] = {
        "time": {"time": (("time",), np.arange(FRAMES) / 30)},
        "density": {"density": (("time", "map_y", "map_x"), density)},
        "fixations": {
            "fixation_frame": (point, np.repeat(np.arange(FRAMES), POINTS_A_FRAME)),
            "fixation_x": (point, points[:, 0].astype(np.float32)),
            "fixation_y": (point, points[:, 1].astype(np.float32)),
            "fixation_subject": (point, np.zeros(len(points), np.int16)),
            "fixation_offset": (("time_plus_1",), offset),
        },
    }
    if kinds & {"frame", "flow_image", "flow_stack"}:
        height, width = FRAME_SIZE
        noise = rng.integers(0, 8, (height, 2 * width, 3))
        slope = np.linspace(0, 100, 2 * width)[:, None] + np.linspace(0, 100, height)[:, None, None]
        scene = (slope + noise).astype(np.uint8)
        frames = np.stack([scene[:, n % width : n % width + width] for n in range(FRAMES)])
        stages["frames"] = {"frames": (("time", "y", "x", "rgb"), frames)}
        flow = rng.normal(0, 2, (1, height // 2, width // 2, 2)).astype(np.float16)
        flow = np.repeat(flow, FRAMES - 1, axis=0)
        stages["flow_tvl1"] = {"flow_tvl1": (("pair", "flow_y", "flow_x", "uv"), flow)}
    for tower in kinds.intersection(TOWERS):
        window = f"{tower}_window"
        values = rng.standard_normal((WINDOWS, *FEATURE_SHAPE), np.float32)
        features = np.maximum(values, 0, out=values).astype(np.float16)
        stages[tower] = {
            tower: ((window, *(f"{tower}_{axis}" for axis in "ctyx")), features),
            f"{tower}_window_start": ((window,), np.arange(1, WINDOWS + 1)),
        }
    return stages


def write_store(folder: Path, kinds: set[str]) -> str:
    location = Location(folder)
    create_store(location, "benchmark", {})
    for number in range(VIDEOS):
        video = f"{number:03d}"
        about = {"video": video, "split": "train", "fps": 30.0, "source_size": list(SIZE)}
        writer = VideoWriter(location, video, about)
        for name, arrays in contents(np.random.default_rng(number), kinds).items():
            plain = {"chunk_items": 1, "shard_items": 128, "compress": False}
            specs = [
                ArraySpec(
                    array,
                    dims,
                    values.shape[1:],
                    values.dtype,
                    **said_by_name(array),
                    **(plain if array in TOWERS else {}),  # type: ignore[arg-type]
                )
                for array, (dims, values) in arrays.items()
            ]
            stage = writer.stage(name, {"stage": name}, specs)
            stage.append({array: values for array, (_, values) in arrays.items()})
            stage.complete(
                {
                    "parameters": {"window": WINDOW_FRAMES} if name in TOWERS else {},
                    "video": about,
                    "last_pts_seconds": (FRAMES - 1) / 30,
                    "empty_frames": 0,
                }
            )
    return str(folder)


def batches_per_second(store: str, model: str, workers: int) -> float:
    """Batches as the training takes them, with nobody to train; median of passes."""
    spec = saliency.spec(model)
    frames = spec.training.clip_frames
    clips: Any = open_clips([open_store(store)], "train", spec, None, frames=frames, stride=frames)
    loader = ClipLoader(clips, spec.training.batch_size, seed=0, num_workers=workers)
    batches = min(len(loader), MOST_BATCHES)
    seconds = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        for _ in itertools.islice(loader, batches):
            pass
        seconds.append(time.perf_counter() - started)
    return batches / statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=saliency.names())
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        specs = [saliency.spec(model) for model in arguments.networks]
        kinds = {wanted.kind for spec in specs for wanted in spec.inputs}
        store = write_store(Path(folder) / "store.zarr", kinds)
        for model in arguments.networks:
            settings = {
                "model": model,
                "stores": [store],
                "validation_split": None,
                "run": str(Path(folder) / model),
                "iterations": arguments.steps,
                "device": arguments.device,
                "workers": arguments.workers,
            }
            result = train(TrainSettings.parse(settings))
            rate = batches_per_second(store, model, arguments.workers)
            rows.append(
                {
                    "network": model,
                    "batch_size": saliency.spec(model).training.batch_size,
                    "steps": result.iterations,
                    "seconds_a_step": result.seconds / result.iterations,
                    "waiting_share": result.waiting_share,
                    "batches_per_second": rate,
                    "peer": "training",
                    "ratio": rate * result.seconds / result.iterations,
                }
            )
    if arguments.json:
        told = [
            higher(
                f"batches of {row['network']}, read alone",
                row["batches_per_second"],
                "batches/s",
                f"its training on {arguments.device}",
                row["batches_per_second"] / row["ratio"],
                note=f"training waits {row['waiting_share']:.1%} of its time",
            )
            for row in rows
        ]
        print_json(__file__, told, {"device": arguments.device, "rows": rows})
        return
    print("| | batch | seconds a step | waiting | batches/s, read alone | x training |")
    print("|---|" + "---:|" * 5)
    for row in rows:
        print(
            f"| {row['network']} | {row['batch_size']} | {row['seconds_a_step']:.2f} "
            f"| {row['waiting_share']:.1%} | {row['batches_per_second']:.1f} "
            f"| {row['ratio']:.1f} |"
        )


if __name__ == "__main__":
    main()
