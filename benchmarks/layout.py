"""How codec and chunk size decide what reading costs: the choice behind the store's defaults.

Frames, flow and density of one clip are written in every layout and read as random windows of 79,
10 and 1 items, by one core, the pages of the operating system warm. Shards hold 128 items. Ratios
are against Blosc with zstd at level 3 in chunks of 16, the plain choice.

    python benchmarks/layout.py [--video FILE] [--windows 40] [--json]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _figures import faster, print_json
from _read_data import DIMS, decoded, make_clip, sample_videos
from numcodecs import blosc  # type: ignore[import-untyped]
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

from foveal.storage.kinds import said_by_name
from foveal.storage.location import Location
from foveal.storage.root import create_store
from foveal.storage.schema import ArraySpec
from foveal.storage.slices import Gatherer, Slice
from foveal.storage.writer import VideoWriter

SHARD_ITEMS = 128
PEER, CHOSEN = ("zstd", 3, 16), ("lz4hc", 3, 8)
CODECS = (("zstd", 1), ("zstd", 3), ("zstd", 5), ("lz4", 5), ("lz4hc", 3), ("lz4hc", 5))
LAYOUTS = [(*codec, 16) for codec in CODECS] + [("lz4hc", 3, items) for items in (1, 4, 8, 32)]
WINDOWS = (79, 10, 1)


@dataclass(frozen=True)
class LaidOut(ArraySpec):
    """An array with a codec of its own; all else is as a store has it, checksums too."""

    codec: str = PEER[0]
    level: int = PEER[1]

    def zarr_layout(self) -> dict[str, Any]:
        wide = self.dtype.itemsize > 1
        blosc_codec = BloscCodec(
            cname=self.codec,  # type: ignore[arg-type]
            clevel=self.level,
            shuffle=BloscShuffle.shuffle if wide else BloscShuffle.noshuffle,
            typesize=self.dtype.itemsize,
        )
        return super().zarr_layout() | {"compressors": [blosc_codec, Crc32cCodec()]}


def write(location: Location, name: str, values: NDArray[Any], layout: Any) -> float:
    """Write a store of one array in one layout; gives items a second."""
    codec, level, chunk = layout
    create_store(location, "benchmark", {})
    spec = LaidOut(
        name,
        DIMS[name],
        values.shape[1:],
        values.dtype,
        chunk_items=chunk,
        shard_items=SHARD_ITEMS,
        codec=codec,
        level=level,
        **said_by_name(name),
    )
    stage = VideoWriter(location, "clip", {}).stage(name, {"stage": name}, [spec])
    started = time.perf_counter()
    stage.append({name: values})
    stage.complete({})
    return len(values) / (time.perf_counter() - started)


def milliseconds(gatherer: Gatherer, name: str, items: int, window: int, count: int) -> float:
    """Median time of a random window."""
    starts = np.random.default_rng(window).integers(0, items - window + 1, count).tolist()
    times = []
    for start in starts:
        started = time.perf_counter()
        gatherer.read([Slice("clip", name, start, start + window)])
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1e3


def measure(values: NDArray[Any], kind: str, windows: int) -> list[dict[str, Any]]:
    rows = []
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            location = Location(folder)
            speed = write(location, kind, values, layout)
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
            gatherer = Gatherer(location)
            milliseconds(gatherer, kind, len(values), 1, 3)
            row = {"array": kind, "codec": layout[0], "level": layout[1], "chunk": layout[2]}
            row |= {"kilobytes": size / len(values) / 1e3, "written_per_second": speed}
            for window in WINDOWS:
                row[f"window_{window}_ms"] = milliseconds(
                    gatherer, kind, len(values), window, windows
                )
            rows.append(row)
    peer = next(row for row in rows if (row["codec"], row["level"], row["chunk"]) == PEER)
    for row in rows:
        row["ratio"] = peer["window_79_ms"] / row["window_79_ms"]
    return rows


def is_chosen(row: dict[str, Any]) -> bool:
    """Whether a store has this layout unless told otherwise."""
    return (row["codec"], row["level"], row["chunk"]) == CHOSEN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, help="else of FOVEAL_SAMPLES, else synthetic")
    parser.add_argument("--frames", type=int, help="of a synthetic clip")
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    blosc.use_threads = False
    with tempfile.TemporaryDirectory() as folder:
        given = [] if arguments.frames else sample_videos()
        video = arguments.video or next(iter(given), None)
        if video is None:
            video = Path(folder) / "clip.avi"
            make_clip(video, arguments.frames or 400)
        arrays = decoded(video)
    rows = []
    for kind in ("frames", "flow_dis", "density"):
        rows += measure(arrays[kind], kind, arguments.windows)
    if arguments.json:
        told = [
            faster(
                f"79 {row['array']} of {row['codec']} {row['level']}, chunks of {row['chunk']}",
                row["window_79_ms"],
                "zstd 3, chunks of 16",
                row["ratio"] * row["window_79_ms"],
                unit="ms",
                note=f"{row['kilobytes']:.1f} KB per item",
            )
            for row in sorted(rows, key=lambda row: not is_chosen(row))
        ]
        print_json(__file__, told, rows)
        return
    print("array     codec    chunk  KB/item  written/s  79 items  10 items    1 item  79: ratio")
    for row in rows:
        print(
            f"{row['array']:9} {row['codec']:5} {row['level']} {row['chunk']:6} "
            f"{row['kilobytes']:8.1f} {row['written_per_second']:10.0f} "
            + " ".join(f"{row[f'window_{window}_ms']:6.2f} ms" for window in WINDOWS)
            + f" {row['ratio']:10.2f}"
        )


if __name__ == "__main__":
    main()
