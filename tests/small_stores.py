"""Writes small stores whose every value is known in closed form; holds no tests.

Frame k of video number v: pixel (y, x) is (10 v + k + y, k + x, v) modulo 256. Flow pair k moves
(k + 1/2, -k). Density of frame k is 1 everywhere and 200 at (y, x) = (k mod height, 2). Frame k has
k mod 3 fixations at (x, y) = (k mod width, point). The window that begins at frame s has features
s, s + 1/4, s + 1/2, ….
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from foveal.models.flow import make_estimator
from foveal.pipeline.stages.base import OF_THIS_RUN, PlainStage, Stage, StageContext
from foveal.pipeline.stages.density import DensitySection, DensityStage
from foveal.pipeline.stages.fixations import FixationsStage
from foveal.pipeline.stages.flow import FlowSection, FlowStage
from foveal.pipeline.stages.frames import FramesSection, FramesStage, TimeStage
from foveal.pipeline.stages.i3d import I3DSection, I3DStage
from foveal.pipeline.stages.write import Batches, StageWork, identity_of, write_stages
from foveal.pipeline.video.types import Fixations, VideoInfo
from foveal.storage.copies import write_group
from foveal.storage.digests import fingerprint, sealed, sha256_of_object
from foveal.storage.index import index_row, write_index
from foveal.storage.location import Location
from foveal.storage.marks import journal_key, read_journal, read_marks, write_mark
from foveal.storage.root import create_store
from foveal.storage.schema import ArraySpec
from foveal.storage.wanted import write_wanted

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


def _arrays(stage: str, number: int, frames: int) -> dict[str, np.ndarray]:
    steps = np.arange(frames)
    if stage == "time":
        return {"time": steps / FPS}
    if stage == "frames":
        return {"frames": np.stack([frame(number, k) for k in steps])}
    if stage == "flow_tvl1":
        flow = np.zeros((frames - 1, 3, 4, 2), np.float16)
        flow[..., 0] = (steps[:-1] + 0.5)[:, None, None]
        flow[..., 1] = -steps[:-1, None, None]
        return {"flow_tvl1": flow}
    if stage == "density":
        return {"density": np.stack([density(k) for k in steps])}
    if stage == "fixations":
        points = _points(frames)
        k, x, y = points.T
        return {
            "fixation_frame": k.astype(np.int32),
            "fixation_x": x.astype(np.float32),
            "fixation_y": y.astype(np.float32),
            "fixation_subject": y.astype(np.int16),
            "fixation_offset": np.searchsorted(k, np.arange(frames + 1)).astype(np.int64),
        }
    starts = np.arange(max(0, frames - WINDOW + 1))
    return {
        "i3d_rgb": np.array([features(s) for s in starts], np.float16).reshape(-1, 4, 2, 2, 1),
        "i3d_rgb_window_start": starts.astype(np.int64),
        "i3d_rgb_valid_frames": np.full(len(starts), WINDOW, np.int64),
    }


def _points(frames: int) -> np.ndarray:
    points = [(k, k % WIDTH, point) for k in range(frames) for point in range(k % 3)]
    return np.array(points, np.int64).reshape(-1, 3)


class Known(PlainStage):
    """A stage of the pipeline whose numbers are replaced by known ones of the same description."""

    def __init__(self, real: Stage, number: int, frames: int) -> None:
        self._real, self._number, self._frames = real, number, frames
        self._values = _arrays(real.name, number, frames)
        self.name, self.arrays, self.inputs = real.name, real.arrays, ()

    def parameters(self) -> dict[str, object]:
        return {"window": WINDOW, "number": self._number}

    def outputs(self) -> list[ArraySpec]:
        return [
            dataclasses.replace(
                spec,
                item_shape=self._values[spec.name].shape[1:],
                chunk_items=CHUNK,
                shard_items=SHARD,
            )
            for spec in self._real.outputs()
        ]

    def finish(self) -> list[dict[str, np.ndarray]]:
        return [self._values]

    def provenance(self) -> dict[str, object]:
        found: dict[str, object] = {OF_THIS_RUN: {}}
        if self.name == "time":
            found["last_pts_seconds"] = (self._frames - 1) / FPS
        if self.name == "fixations":
            found["empty_frames"] = len(range(0, self._frames, 3))
        return found


@functools.cache
def _network() -> object:
    from foveal.models.i3d.weights import load_i3d

    return load_i3d("rgb", "random")


def _real_stage(name: str, context: StageContext) -> Stage:
    """The pipeline's own stage of a name, prepared."""
    stage: Stage
    if name == "time":
        stage = TimeStage()
    elif name == "frames":
        stage = FramesStage(FramesSection())
    elif name == "flow_tvl1":
        section = FlowSection(size=(3, 4))
        stage = FlowStage(section, make_estimator("tvl1"))
    elif name == "density":
        stage = DensityStage(DensitySection(sigma_px=2.0), {})
    elif name == "fixations":
        stage = FixationsStage({})
    else:
        section = I3DSection(streams=("rgb",), window=WINDOW, size=(32, 32), endpoint="mixed_5c")
        section = section.model_copy(update={"pooling": "none"})
        stage = I3DStage(section, "rgb", _network(), "random", "cpu")
    stage.prepare(context)
    return stage


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
    k, x, y = _points(frames).T
    fixations = Fixations(
        k.astype(np.int32), x.astype(np.float32), y.astype(np.float32), y.astype(np.int16), ("a",)
    )
    info = VideoInfo(HEIGHT, WIDTH, FPS, frames)
    context = StageContext(info, lambda: fixations, lambda: None)
    for name in stages:
        stage = Known(_real_stage(name, context), number, frames)
        notes = {"video": about} if name == "time" else {}
        work = StageWork(stage, identity_of(stage, {}), notes, {"compute_seconds": 0.5})
        write_stages(location, video, about, [work], nothing())


def nothing() -> Batches:
    """No input at all."""
    yield from ()


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
        write_mark(location, dataclasses.replace(mark, arrays=arrays))


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
