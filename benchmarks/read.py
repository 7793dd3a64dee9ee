"""Random clips from a store against what people read them with instead.

Three comparisons with others, each in one run, the readers taking turns, the pages of the
operating system warm; ratios are foveal's speed over the peer's:

peers
    Clips of 16 and of 79 frames (192x256) with their density, shuffled: torchcodec, LitData and
    WebDataset. In which form each holds them: `_read_peers.py`.
folders
    Windows of 79 frames, alone and with flow and density: a folder of JPEGs (quality 95) and one of
    PNGs, flow as one .npy (float16) per map and density as one PNG per map.
features
    Batches of 128 random windows of cached I3D features: ``np.load(mmap_mode="r")``.

Two are of foveal with itself: ``dask`` (`Clips` against `Store.lazy`, by clips and by slices of
whole arrays), and ``checksums`` (the same bytes with their checksums compared, and not).

foveal reads by a ClipLoader, whose workers are threads, the others by their own loaders, whose
workers are processes. Whatever is lossless is compared value by value, the rest within bounds.

    python benchmarks/read.py [--parts peers folders …] [--videos FILE …] [--rounds 3] [--json]

The videos are those of --videos, else of the folder that ``FOVEAL_SAMPLES`` names (DHF1K's 002 and
two web videos: ``dhf1k/video``, ``videos``), else three synthetic ones, whose texture compresses
less than that of real videos. ``pip install 'foveal[bench]'`` brings the peers; one that is missing
is named.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _figures import Row, faster, higher, print_json, row
from _read_compared import compare_peers, pivot, why_behind
from _read_costs import CHECKSUM_GOAL_PERCENT, MOST_DASK, compare_checksums, compare_dask
from _read_data import decoded, make_clip, random_features, sample_videos, write_store
from _read_folders import BATCH, FEATURE_BATCH, WINDOW, compare_features, compare_folders
from _turns import Turns

OWN_FRAMES = 400
PARTS = ("peers", "folders", "features", "dask", "checksums")


def rows(found: Mapping[str, Any]) -> list[Row]:
    """All comparisons for machines."""
    told = [
        higher(
            f"{one['read']}, {one['workers']} workers",
            one["foveal_items_per_second"],
            "items/s",
            one["peer"],
            one["peer_items_per_second"],
            goal=("ratio at least", one["goal"]) if one["goal"] else None,
            note=why_behind(one) if "peer_stored_bytes" in one else "",
        )
        for one in found["results"]
    ]
    for one in found["dask"]:
        goal = ("ratio at least", 1 / MOST_DASK) if one["most"] else None
        peer = f"{one['peer']} through dask"
        told.append(
            faster(one["read"], one["clips_ms"], peer, one["peer_ms"], unit="ms")
            | {"note": f"dask may take {MOST_DASK:g} times as long" if goal else ""}
        )
    for one in found["checksums"]:
        told.append(
            row(
                f"comparing checksums of {one['read']}",
                one["cost_percent"],
                "% more time",
                goal=("value at most", CHECKSUM_GOAL_PERCENT),
            )
        )
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--videos", nargs="+", type=Path, help="read these")
    parser.add_argument("--frames", type=int, help="of each of three videos of its own")
    parser.add_argument("--windows", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn, at least")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="the table of peers for the docs")
    arguments = parser.parse_args()
    if arguments.frames is not None and arguments.frames < WINDOW + 1:
        parser.error(f"--frames is at least {WINDOW + 1}: windows have {WINDOW}")
    if missing := [str(path) for path in arguments.videos or [] if not path.is_file()]:
        parser.error(f"no such video: {', '.join(missing)}")
    torch.set_num_threads(1)
    found: dict[str, Any] = {"results": [], "dask": [], "checksums": [], "without": {}}
    parts, turns = arguments.parts, Turns(arguments.rounds, arguments.seconds)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        given = arguments.videos or ([] if arguments.frames else sample_videos())
        videos = {f"clip{n}": path for n, path in enumerate(given)}
        for seed in range(0 if videos else 3):
            videos[f"clip{seed}"] = work / f"clip{seed}.mp4"
            make_clip(videos[f"clip{seed}"], arguments.frames or OWN_FRAMES, seed)
        found["videos"] = [path.name for path in given] or "synthetic"
        arrays = {name: decoded(path) for name, path in videos.items()}
        features = random_features() if {"features", "dask", "checksums"} & {*parts} else None
        write_store(work / "store", arrays, features)
        if "peers" in parts:
            found["results"] += compare_peers(work, videos, arrays, turns, found["without"])
        if "folders" in parts:
            found["results"] += compare_folders(work, arrays["clip0"], arguments.windows, turns)
        if "features" in parts and features is not None:
            np.save(work / "features.npy", features)
            found["results"] += compare_features(work, turns)
        if "dask" in parts:
            found["dask"] = compare_dask(work, turns)
        if "checksums" in parts:
            found["checksums"] = compare_checksums(
                work, 10 * turns.rounds, window=WINDOW, batch=BATCH, feature_batch=FEATURE_BATCH
            )
    if arguments.json:
        print_json(__file__, rows(found), found, "; ".join(found["without"].values()))
    elif arguments.markdown and found["results"]:
        print(pivot(found["results"]))
    else:
        print_words(found)


def print_words(found: Mapping[str, Any]) -> None:
    for one in found["results"]:
        goal = f" (goal {one['goal']})" if one["goal"] else ""
        note = f"; {why_behind(one)}" if "peer_stored_bytes" in one else ""
        print(
            f"{one['read']:32} {one['workers']} workers: {one['foveal_items_per_second']:6} "
            f"items/s, {one['ratio']:6.2f} x {one['peer']}{goal}{note}"
        )
    for one in found["dask"]:
        most = f" (at most {one['most']})" if one["most"] else ""
        print(
            f"{one['read']:32} Clips {one['clips_ms']:6} ms, {one['peer']} {one['peer_ms']:6} ms: "
            f"{one['times_clips']} x{most}"
        )
    for one in found["checksums"]:
        print(
            f"{one['read']:32} checksums: {one['ms_with_checksums']} ms per pass with, "
            f"{one['ms_without']} ms without: {one['cost_percent']:+} % "
            f"(goal {one['goal_percent']} %)"
        )


if __name__ == "__main__":
    main()
