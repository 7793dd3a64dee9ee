"""Decoding by foveal against bare ffmpeg writing raw RGB to a pipe, same clip, same run.

The peer is ``ffmpeg -i CLIP -f rawvideo -pix_fmt rgb24 pipe:1`` read a frame at a time into one
buffer: no presentation times, no checks. The clip is encoded first (or named by --clip).

    python benchmarks/decode.py [--clip FILE] [--frames 1500] [--size 360x640] [--json]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import ffmpeg
from _figures import higher, print_json

from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.ffmpeg import ffmpeg_executable
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Video


def encode(path: Path, frames: int, height: int, width: int) -> None:
    """A moving picture with some texture, as MPEG-4 with B-frames in AVI (DHF1K's kind)."""
    source = ffmpeg.input(f"testsrc2=size={width}x{height}:rate=30", f="lavfi").filter(
        "noise", alls=12, allf="t"
    )
    options = {"vcodec": "mpeg4", "bf": 2, "qscale": 5, "frames:v": frames}
    source.output(str(path), **options).run(cmd=ffmpeg_executable(), quiet=True)


def bare(path: Path, frame_bytes: int) -> int:
    """Frames that plain ffmpeg writes to a pipe."""
    command = ffmpeg.input(str(path)).output("pipe:1", format="rawvideo", pix_fmt="rgb24")
    process = subprocess.Popen(
        command.compile(cmd=ffmpeg_executable()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    buffer = bytearray(frame_bytes)
    frames = 0
    while process.stdout.readinto(buffer):  # type: ignore[attr-defined]
        frames += 1
    process.stdout.close()
    process.wait()
    return frames


def seconds_of(function: Callable[[], int]) -> tuple[float, int]:
    started = time.perf_counter()
    frames = function()
    return time.perf_counter() - started, frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--size", default="360x640", help="HEIGHTxWIDTH")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    height, width = (int(side) for side in arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        clip = arguments.clip
        if clip is None:
            clip = Path(folder) / "clip.avi"
            encode(clip, arguments.frames, height, width)
        video = Video("clip", None, clip)
        info = probe(video)

        def foveal() -> int:
            return sum(len(batch) for batch in decode(video, probe(video)))

        def peer() -> int:
            return bare(clip, info.height_px * info.width_px * 3)

        pairs = []
        foveal(), peer()  # the file is in the page cache from here on
        for _ in range(arguments.repeats):
            (ours, decoded), (theirs, written) = seconds_of(foveal), seconds_of(peer)
            pairs.append((ours, theirs))
    ours, theirs = (median(pair[which] for pair in pairs) for which in (0, 1))
    result = {
        "clip": "own" if arguments.clip is None else arguments.clip.name,
        "size": [info.height_px, info.width_px],
        "frames": decoded,
        "frames_by_ffmpeg": written,
        "repeats": arguments.repeats,
        "cores": len(os.sched_getaffinity(0)),
        "foveal_frames_a_second": decoded / ours,
        "ffmpeg_frames_a_second": written / theirs,
        "ratio": theirs / ours,
        "median_of_ratios": median(theirs / ours for ours, theirs in pairs),
    }
    if arguments.json:
        what = f"decoding {decoded} frames of {info.width_px}x{info.height_px}"
        rates = result["foveal_frames_a_second"], result["ffmpeg_frames_a_second"]
        goal = ("ratio at least", 0.9)
        peer = "bare ffmpeg to a pipe"
        print_json(
            __file__, [higher(what, rates[0], "frames/s", peer, rates[1], goal=goal)], result
        )
        return
    print(f"{decoded} frames of {info.width_px}x{info.height_px}, medians of {arguments.repeats}")
    print(f"foveal       {result['foveal_frames_a_second']:8.0f} frames/s")
    print(f"bare ffmpeg  {result['ffmpeg_frames_a_second']:8.0f} frames/s")
    print(f"ratio        {result['ratio']:8.2f}x (goal: at least 0.9x)")


if __name__ == "__main__":
    main()
