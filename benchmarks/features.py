"""Features of a backbone: a build against the bare network on the same frames, in the same run.

    python benchmarks/features.py                                        # a small network: a minute
    python benchmarks/features.py --backbone torchvision:r3d_18 --frames 16 --size 112
    python benchmarks/features.py --backbone timm:vit_base_patch16_224 --device cuda --json

The peer gets its frames decoded, resized and normalised, in memory, and is called in batches of the
same size with nothing around it: no decoding, no storing. foveal's time is that of a build of the
video from the file to the marked arrays. Both take turns; times are medians, the ratio of the best
times stands in brackets. Processor time (least of all turns, ffmpeg's with it) tells more where
others are at work on the same cores: it counts decoding even where that runs beside. Weights are
random, which changes no time. At most 1.05 is wanted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _figures import faster, print_json

from foveal.models.device import choose_device
from foveal.models.features import open_backbone
from foveal.pipeline.build.build import Build
from foveal.pipeline.demo.textures import GROUNDS
from foveal.pipeline.demo.write import DemoClip, write_demo
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.windows import FrameWindows
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.resize import resize_frames
from foveal.pipeline.video.types import Video

BATCH = {"cpu": (8, 1), "cuda": (32, 8)}


def bare_network(video: Video, section: dict[str, Any], device: torch.device) -> Callable[[], None]:
    """The network called on the video's frames, which are decoded and normalised already."""
    backbone = open_backbone(section["backbone"], "random", None, section.get("frames"))
    size = tuple(section["size"])
    frames = np.concatenate([resize_frames(b.frames, size) for b in decode(video, probe(video))])
    mean, std = (torch.tensor(each) for each in (backbone.mean, backbone.std))
    pixels = (torch.from_numpy(frames) / 255 - mean) / std
    if "frames" in section:
        _, windows = FrameWindows(section["frames"]).push(pixels.numpy())
        items = torch.stack([torch.from_numpy(each) for each in windows]).permute(0, 4, 1, 2, 3)
    else:
        items = pixels.permute(0, 3, 1, 2)
    batch = BATCH[device.type]["frames" in section]
    batches = [part.contiguous().to(device) for part in items.split(batch)]
    network: Any = backbone.network.to(device)
    call = network.forward_features if backbone.name.startswith("timm:") else network

    def run() -> None:
        with torch.inference_mode():
            for each in batches:
                call(each)
            if device.type == "cuda":
                torch.cuda.synchronize()

    return run


def race(
    build: Build, section: dict[str, Any], device: torch.device, repeats: int
) -> dict[str, list[float]]:
    """Seconds of each turn of both, after one that does not count, by the clock and of processor.

    The latter is that of all threads and of ffmpeg.
    """
    ((name, video),) = build.videos.items()
    stages = list(build.plan().to_do[0].stages)

    def ours() -> None:
        result = build.run(name, recompute=stages)
        assert result.ok, result

    turns = {"bare network": bare_network(video, section, device), "foveal": ours}
    times: dict[str, list[float]] = defaultdict(list)
    for repeat in range(repeats + 1):
        for each, run in turns.items():
            started, worked = time.perf_counter(), sum(os.times()[:4])
            run()
            if repeat:
                times[each].append(time.perf_counter() - started)
                times[f"{each}, processor"].append(sum(os.times()[:4]) - worked)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", default="timm:vit_small_patch16_224")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--frames", type=int, help="of a window, for networks of clips")
    parser.add_argument("--clip-frames", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    size = [options.size, options.size]
    section = {"backbone": options.backbone, "weights": "random", "size": size, "pooling": "mean"}
    if options.frames:
        section["frames"] = options.frames
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clip = DemoClip(1, options.clip_frames, next(iter(GROUNDS)), 2)
        write_demo(folder / "raw", clips=(clip,), size=(360, 640), observers=1)
        recipe = {
            "dataset": {"kind": "dhf1k", "root": str(folder / "raw"), "splits": ["train"]},
            "store": str(folder / "store.zarr"),
            "features": section,
            "device": options.device,
        }
        with Build.open(Recipe.parse(recipe)).at_work(alone=True) as build:
            times = race(build, section, device, options.repeats)
    median = {name: statistics.median(found) for name, found in times.items()}
    best = {name: min(found) for name, found in times.items()}
    row = {
        "backbone": options.backbone,
        "device": str(device),
        "threads": options.threads,
        "frames": options.clip_frames,
        "seconds": median["foveal"],
        "peer": "bare network",
        "peer_seconds": median["bare network"],
        "ratio": median["foveal"] / median["bare network"],
        "ratio_of_best": best["foveal"] / best["bare network"],
        "ratio_of_processor_time": best["foveal, processor"] / best["bare network, processor"],
    }
    if options.json:
        told = faster(
            f"building {options.backbone} of {options.clip_frames} frames",
            row["seconds"],
            "the bare network on decoded frames",
            row["peer_seconds"],
            goal=("ratio at least", 1 / 1.05),
            note=f"processor time {row['ratio_of_processor_time']:.2f} of the peer's",
        )
        print_json(__file__, [told], row)
        return
    print(
        f"{options.backbone}, {options.clip_frames} frames of 640x360 at {size[0]}x{size[1]} on "
        f"{device}, {options.threads} threads: build {row['seconds']:.2f} s, bare network "
        f"{row['peer_seconds']:.2f} s: {row['ratio']:.3f}x [{row['ratio_of_best']:.3f}x], "
        f"processor time {row['ratio_of_processor_time']:.3f}x; 1.05x is wanted"
    )


if __name__ == "__main__":
    main()
