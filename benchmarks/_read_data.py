"""The clips that `read.py` and `layout.py` read, and the forms in which peers hold them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.models.flow.dis import DIS
from foveal.pipeline.demo import encode_video, natural_scene, render_scene
from foveal.pipeline.stages.density_maps import density_maps
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.density_kernels import gaussian
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.resize import resize_frames
from foveal.pipeline.video.types import Video
from foveal.storage.kinds import said_by_name
from foveal.storage.location import Location
from foveal.storage.root import create_store
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter

SOURCE_SIZE = (360, 640)
FRAME_SIZE, FLOW_SIZE, MAP_SIZE = (192, 256), (112, 112), (180, 320)
FEATURE_SHAPE, FEATURE_WINDOWS, FEATURE_WINDOW_FRAMES = (1024, 5, 5, 5), 512, 79

DIMS = {
    "time": ("time",),
    "frames": ("time", "y", "x", "rgb"),
    "flow_dis": ("pair", "flow_dis_y", "flow_dis_x", "uv"),
    "density": ("time", "map_y", "map_x"),
}

Arrays = Mapping[str, NDArray[Any]]
"""What a store holds of a clip, by the name of the array."""


def sample_videos() -> list[Path]:
    """Videos of the folder that ``FOVEAL_SAMPLES`` names, as far as there are any."""
    folder = Path(os.environ.get("FOVEAL_SAMPLES", "samples"))
    return sorted([*folder.glob("dhf1k/video/*.*"), *folder.glob("videos/*.*")])


def make_clip(path: Path, frames: int, seed: int = 0) -> None:
    """Write a synthetic scene as H.264, 360x640 at 30 frames per second."""
    scene = natural_scene(np.random.default_rng(seed), SOURCE_SIZE, 30.0, frames)
    encode_video((frame.image for frame in render_scene(scene)), path, 30.0, "libx264")


def decoded(path: Path) -> Arrays:
    """Everything a store would hold of a clip: time, frames, flow, and density of random points."""
    video = Video("clip", "train", path)
    batches = list(decode(video, probe(video)))
    source = np.concatenate([batch.frames for batch in batches])
    frames = resize_frames(source, FRAME_SIZE)
    height, width = source.shape[1:3]
    points = np.random.default_rng(1).uniform(
        (0, 0), (width - 1, height - 1), (len(frames) * 60, 2)
    )
    density = density_maps(
        points,
        np.arange(0, len(points) + 1, 60),
        (height, width),
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
    """Like I3D's: non-negative, about half of them zero; [windows, 1024, 5, 5, 5]."""
    values = np.random.default_rng(2).standard_normal((FEATURE_WINDOWS, *FEATURE_SHAPE))
    return np.maximum(values, 0).astype(np.float16)


def write_store(
    folder: Path, clips: Mapping[str, Arrays], features: NDArray[np.float16] | None
) -> None:
    """Write a store: the clips of split ``clips``, and one video of split ``features``."""
    location = Location(folder)
    create_store(location, "benchmark", {})
    for video, arrays in clips.items():
        _write_video(location, video, "clips", arrays)
    if features is None:
        return
    length = FEATURE_WINDOWS + FEATURE_WINDOW_FRAMES - 1
    _write_video(location, "features", "features", {"time": np.arange(length) / 30})
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
    writer = VideoWriter(location, "features", _about("features", "features"))
    stage = writer.stage("i3d_rgb", {"stage": "i3d_rgb"}, specs)
    stage.append({"i3d_rgb": features, starts: np.arange(FEATURE_WINDOWS)})
    stage.complete({"parameters": {"window": FEATURE_WINDOW_FRAMES}})


def _about(video: str, split: str) -> dict[str, Any]:
    return {"video": video, "split": split, "fps": 30.0, "source_size": list(SOURCE_SIZE)}


def _write_video(location: Location, video: str, split: str, arrays: Arrays) -> None:
    about = _about(video, split)
    writer = VideoWriter(location, video, about)
    last = float(arrays["time"][-1])
    for name, values in arrays.items():
        spec = ArraySpec(name, DIMS[name], values.shape[1:], values.dtype, **said_by_name(name))
        stage = writer.stage(name, {"stage": name}, [spec])
        stage.append({name: values})
        stage.complete({"parameters": {}, "video": about, "last_pts_seconds": last})


def write_folder(folder: Path, arrays: Arrays, suffix: str) -> None:
    """A file per frame, as most training code has it: pictures, flow as .npy, maps as .png."""
    folder.mkdir()
    for k, frame in enumerate(arrays["frames"]):
        Image.fromarray(frame).save(folder / f"{k:05d}.{suffix}", quality=95)
    for k, flow in enumerate(arrays["flow_dis"]):
        np.save(folder / f"flow{k:05d}.npy", flow)
    for k, density in enumerate(arrays["density"]):
        Image.fromarray(density).save(folder / f"map{k:05d}.png")
