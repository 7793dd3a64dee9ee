"""Writes small stores whose every value is known in closed form; holds no tests.

Frame k of video number v: pixel (y, x) is (10 v + k + y, k + x, v) modulo 256. Flow pair k moves
(k + 1/2, -k). Density of frame k is 1 everywhere and 200 at (y, x) = (k mod height, 2). Frame k has
k mod 3 fixations at (x, y) = (k mod width, point). The window that begins at frame s has features
s, s + 1/4, s + 1/2, ….
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from foveal.storage.copies import write_group
from foveal.storage.digests import fingerprint, sealed, sha256_of_object
from foveal.storage.index import index_row, write_index
from foveal.storage.kinds import said_by_name
from foveal.storage.location import Location
from foveal.storage.marks import journal_key, read_journal, read_marks, write_mark
from foveal.storage.root import create_store
from foveal.storage.schema import ArraySpec
from foveal.storage.wanted import write_wanted
from foveal.storage.writer import VideoWriter

HEIGHT, WIDTH, FPS = 6, 8, 10.0
CHUNK, SHARD = 4, 8
STAGES = ("time", "frames", "flow_tvl1", "density", "fixations", "i3d_rgb")
WINDOW = 5
RECIPE = {"dataset": {"kind": "small"}, "store": "small", "i3d": {"window": WINDOW}}


def frame(video_number: int, k: int) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    values = np.stack([10 * video_number + k + y, k + x, np.full_like(x, video_number)], axis=-1)
    return (values % 256).astype(np.uint8)


def density(k: int) -> np.ndarray:
    values = np.ones((HEIGHT, WIDTH), np.uint8)
    values[k % HEIGHT, 2] = 200
    return values


def features(start: int) -> np.ndarray:
    return (start + np.arange(16) / 4).astype(np.float16).reshape(4, 2, 2, 1)


def _arrays(stage: str, number: int, frames: int) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    steps = np.arange(frames)
    if stage == "time":
        return {"time": (("time",), steps / FPS)}
    if stage == "frames":
        pictures = np.stack([frame(number, k) for k in steps])
        return {"frames": (("time", "y", "x", "rgb"), pictures)}
    if stage == "flow_tvl1":
        flow = np.zeros((frames - 1, 3, 4, 2), np.float16)
        flow[..., 0] = (steps[:-1] + 0.5)[:, None, None]
        flow[..., 1] = -steps[:-1, None, None]
        return {"flow_tvl1": (("pair", "flow_tvl1_y", "flow_tvl1_x", "uv"), flow)}
    if stage == "density":
        maps = np.stack([density(k) for k in steps])
        return {"density": (("time", "map_y", "map_x"), maps)}
    if stage == "fixations":
        points = [(k, k % WIDTH, point) for k in steps for point in range(k % 3)]
        k, x, y = np.array(points).reshape(-1, 3).T
        offset = np.searchsorted(k, np.arange(frames + 1))
        return {
            "fixation_frame": (("fixation",), k.astype(np.int32)),
            "fixation_x": (("fixation",), x.astype(np.float32)),
            "fixation_y": (("fixation",), y.astype(np.float32)),
            "fixation_subject": (("fixation",), y.astype(np.int16)),
            "fixation_offset": (("time_plus_1",), offset.astype(np.int64)),
        }
    starts = np.arange(max(0, frames - WINDOW + 1))
    values = [features(s) for s in starts]
    shape = (len(starts), 4, 2, 2, 1)
    return {
        "i3d_rgb": (
            ("i3d_rgb_window", "i3d_rgb_feature", "i3d_rgb_t", "i3d_rgb_y", "i3d_rgb_x"),
            np.array(values, np.float16).reshape(shape),
        ),
        "i3d_rgb_window_start": (("i3d_rgb_window",), starts.astype(np.int64)),
    }


def write_video(
    location: Location,
    video: str,
    number: int = 0,
    *,
    frames: int = 20,
    split: str | None = "train",
    stages: Iterable[str] = STAGES,
) -> None:
    """Write one video, stage by stage as a build does."""
    about = {
        "video": video,
        "split": split,
        "fps": FPS,
        "source_size": [HEIGHT, WIDTH],
        "source_file": f"{video}.avi",
        "source_sha256": "0" * 64,
    }
    writer = VideoWriter(location, video, about)
    for stage in stages:
        arrays = _arrays(stage, number, frames)
        specs = [
            ArraySpec(
                name, dims, values.shape[1:], values.dtype, {}, CHUNK, SHARD, **said_by_name(name)
            )
            for name, (dims, values) in arrays.items()
        ]
        identity = {"stage": stage, "version": 1, "parameters": {}, "video": number}
        stage_writer = writer.stage(stage, identity, specs)
        stage_writer.append({name: values for name, (_, values) in arrays.items()})
        provenance = {"parameters": {"window": WINDOW}, "compute_seconds": 0.5}
        if stage == "time":
            provenance["video"] = about
            provenance["last_pts_seconds"] = (frames - 1) / FPS
        if stage == "fixations":
            provenance["empty_frames"] = len(range(0, frames, 3))
        stage_writer.complete(provenance)


def write_small_store(url: object, videos: Mapping[str, Mapping[str, object]]) -> Location:
    """Create a store, write videos (options of `write_video` by id) and the index."""
    location = Location(url)  # type: ignore[arg-type]
    create_store(location, "small", RECIPE)
    write_wanted(location, dict.fromkeys(videos, ()))
    for number, (video, options) in enumerate(videos.items()):
        write_video(location, video, number, **options)  # type: ignore[arg-type]
    write_small_index(location)
    return location


def write_small_index(location: Location) -> None:
    marks, quarantined = read_journal(location)
    write_index(
        location,
        [
            index_row(video, None, marks.get(video, {}), quarantined.get(video))
            for video in sorted(marks.keys() | quarantined.keys())
        ],
    )


def vouch(location: Location, video: str) -> None:
    """Let a video's marks say what lies there now, as if a build had written it that way."""
    for mark in read_marks(location, video).values():
        arrays: dict[str, dict[str, Any]] = {}
        for name, about in mark.arrays.items():
            folder = f"videos/{video}/{name}"
            metadata = location.read_json(f"{folder}/zarr.json")
            keys = [key.removeprefix(f"{folder}/") for key in location.list_all(folder)]
            arrays[name] = {
                **about,
                "shape": metadata["shape"],
                "dtype": metadata["data_type"],
                "sha256": {key: sha256_of_object(location, f"{folder}/{key}") for key in keys},
            }
        write_mark(location, replace(mark, arrays=arrays))


def edit_mark(
    location: Location, video: str, stage: str, edit: Callable[[dict[str, Any]], object]
) -> None:
    """Change a mark and give it the digest of what it then holds."""
    values = location.read_json(journal_key(video, stage))
    del values["provenance"]["digest"]
    edit(values)
    values["provenance"]["digest"] = fingerprint(values)
    location.write_json(journal_key(video, stage), values)


def edit_root(location: Location, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change what the root says, and give it and its copy the digest of what they then hold."""
    content = location.read("zarr.json")
    assert content is not None
    about = json.loads(content)["attributes"]["foveal"]
    edit(about)
    write_group(location, "", {"foveal": sealed(about)})
