"""A signal says nothing about a video: if one ends ffmpeg, the decode is interrupted."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from foveal.errors import DecodeError
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Video

FRAMES = 600


@pytest.fixture(scope="module")
def clip(shared_clips: Any) -> Path:
    # More pixels than the pipe holds, so that ffmpeg is at work still when the signal comes.
    path: Path = shared_clips.encode(
        "long.mp4", FRAMES, (240, 320), vcodec="libx264", preset="ultrafast"
    )
    return path


def ffmpeg_of(path: Path) -> int:
    (found,) = [
        int(command.parent.name)
        for command in Path("/proc").glob("[0-9]*/cmdline")
        if f"file:{path}".encode() in read(command)
    ]
    return found


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("errors", ["quarantine", "accept"])
def test_a_signal_interrupts_and_gives_no_verdict(clip: Path, number: int, errors: Any) -> None:
    video = Video("clip", None, clip)
    batches = decode(video, probe(video), errors)
    next(batches)
    os.kill(ffmpeg_of(clip), number)
    with pytest.raises(InterruptedError, match=r"long\.mp4: a signal stopped ffmpeg in frame \d+"):
        list(batches)


def test_ffmpeg_is_out_of_reach_of_what_stops_the_builds_group(clip: Path) -> None:
    video = Video("clip", None, clip)
    batches = decode(video, probe(video))
    next(batches)
    ffmpeg = ffmpeg_of(clip)
    assert os.getpgid(ffmpeg) == ffmpeg != os.getpgrp()
    assert os.getsid(ffmpeg) == os.getsid(0), "a closed session takes it along"
    batches.close()
    assert not Path(f"/proc/{ffmpeg}").exists()


def test_damage_is_a_verdict_still(clip: Path, tmp_path: Path) -> None:
    content = bytearray(clip.read_bytes())
    start = content.find(b"mdat") + 40_000
    content[start : start + 20_000] = bytes(20_000)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content)
    video = Video("broken", None, broken)
    with pytest.raises(DecodeError, match=r"broken\.mp4: the decoder met \d+ errors"):
        list(decode(video, probe(video)))
