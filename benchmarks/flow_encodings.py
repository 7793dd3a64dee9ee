"""Encodings of stored flow on one clip: bytes a map, seconds to write and read, error in pixels.

The flow is TV-L1 at 112x112 of the demo's first clip, or of --clip. The peer is float32.

    python benchmarks/flow_encodings.py [--clip FILE] [--frames 60] [--json]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from _figures import faster, print_json
from numpy.typing import NDArray

from foveal.models.flow import make_estimator
from foveal.models.flow.encode import ENCODINGS
from foveal.pipeline.demo import DemoClip, write_demo
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.resize import resize_frames
from foveal.pipeline.video.types import Video
from foveal.storage.location import Location
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter


def flow_of(clip: Path, frames: int) -> NDArray[np.float32]:
    video = Video("clip", None, clip, max_frames=frames)
    decoded = np.concatenate([batch.frames for batch in decode(video, probe(video))])
    return make_estimator("tvl1")(resize_frames(decoded, (112, 112)))


def measure(name: str, flow: NDArray[np.float32], folder: Path) -> dict[str, Any]:
    encoding = ENCODINGS[name]
    dims = ("pair", "y", "x", "uv")
    spec = ArraySpec(
        "flow", dims, flow.shape[1:], encoding.dtype, encoding.attributes, axis="pair", kind="flow"
    )
    location = Location(folder / name)
    sink = VideoWriter(location, "clip", {}).stage("flow", {"encoding": name}, [spec])
    started = time.perf_counter()
    sink.append({"flow": encoding.encode(flow)})
    mark = sink.complete({})
    written = time.perf_counter()
    stored = zarr.open_array(location.zarr, path="videos/clip/flow", mode="r")[:]
    error = np.abs(encoding.decode(np.asarray(stored)) - flow)
    return {
        "encoding": name,
        "bytes_a_map": mark.stored_bytes / len(flow),
        "write_ms_a_map": (written - started) / len(flow) * 1e3,
        "read_ms_a_map": (time.perf_counter() - written) / len(flow) * 1e3,
        "mean_error_px": float(error.mean()),
        "max_error_px": float(error.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        clip = arguments.clip
        if clip is None:
            write_demo(Path(name) / "raw", clips=(DemoClip(1, arguments.frames, "meadow", 4),))
            clip = Path(name) / "raw/video/001.AVI"
        flow = flow_of(clip, arguments.frames)
        rows = [measure(encoding, flow, Path(name)) for encoding in ENCODINGS]
    whole = next(row["bytes_a_map"] for row in rows if row["encoding"] == "float32")
    if arguments.json:
        told = [
            faster(
                f"flow stored as {row['encoding']}",
                row["bytes_a_map"],
                "float32",
                whole,
                unit="bytes per map",
                note=f"mean error {row['mean_error_px']:.2g} px",
            )
            for row in rows
        ]
        print_json(__file__, told, rows)
        return
    print("encoding   bytes a map   of float32   write ms   read ms   mean error px   max error px")
    for row in rows:
        print(
            f"{row['encoding']:9s} {row['bytes_a_map']:12.0f} {row['bytes_a_map'] / whole:11.2f}"
            f" {row['write_ms_a_map']:10.2f} {row['read_ms_a_map']:9.2f}"
            f" {row['mean_error_px']:15.6f} {row['max_error_px']:14.6f}"
        )


if __name__ == "__main__":
    main()
