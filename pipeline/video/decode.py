"""Decoding: every frame once, in order, with the presentation time of that very frame.

ffmpeg writes pixels to one pipe while its ``metadata`` filter names the presentation time of each
frame on another; both come from the same decode, so frame k and time k belong together whatever
the container claims. Complaints have a third pipe to themselves: ffmpeg's threads write their log
in pieces, and one thread's complaint inside another's line would be lost.

A signal says nothing about a video. ffmpeg runs in its own process group, so that Ctrl-C or a
cancelled run stops it only through the thread that reads it. If a signal reaches ffmpeg all the
same, the decode is interrupted and the video is not marked as damaged.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import IO, Any, Literal, cast

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from foveal.errors import DecodeError
from foveal.pipeline.video.ffmpeg import ffmpeg_executable, ffmpeg_version
from foveal.pipeline.video.pipes import Clock, Log
from foveal.pipeline.video.probe import read_image
from foveal.pipeline.video.truncation import missing_bytes
from foveal.pipeline.video.types import FrameBatch, Video, VideoInfo

BATCH_BYTES = 32 * 2**20
"""Most bytes of pixels in a batch, unless a single frame has more."""

MAX_BATCH_FRAMES = 32
"""Most frames in a batch."""

_PIPE_BYTES = 2**20
_LABEL = "foveal"
_SIGNALLED = (123, 255)
"""Exit statuses of ffmpeg after a signal: it cleaned up, or it ended at once at the fourth one."""
_EXIT_SECONDS = 5.0
_LOST_AT_ENDS = 2
"""Frames an AVI may declare without showing them: placeholders of packed XviD streams."""

Errors = Literal["quarantine", "accept"]
"""What damage in a video leads to."""


def batch_frames(info: VideoInfo) -> int:
    """Return how many frames a batch of the video of `info` has, within `BATCH_BYTES`."""
    return max(1, min(MAX_BATCH_FRAMES, BATCH_BYTES // (info.height_px * info.width_px * 3)))


def decode(
    video: Video, info: VideoInfo, errors: Errors = "quarantine"
) -> Generator[FrameBatch, None, None]:
    """Decode a video from its first frame to its last.

    Parameters
    ----------
    video : Video
        The file or the folder of images.
    info : VideoInfo
        From `probe`; the frames have its upright, square-pixel size.
    errors : {'quarantine', 'accept'}
        Whether damage (a missing end, corrupt packets, concealed errors, fewer frames than an AVI
        declares) raises an error, or frames are taken as the decoder gives them.

    Yields
    ------
    FrameBatch
        Times count from the first frame, in seconds.

    Raises
    ------
    DecodeError
        The video is damaged or truncated, changes its size, or has unusable times.
    InterruptedError
        A signal ended ffmpeg; this says nothing about the video.
    """
    if video.image_names is not None:
        yield from _decode_images(video, info)
    else:
        yield from _decode_file(video, info, errors)


def _decode_images(video: Video, info: VideoInfo) -> Iterator[FrameBatch]:
    names = (video.image_names or ())[: video.max_frames]
    size = (info.height_px, info.width_px, 3)
    step = batch_frames(info)
    for start in range(0, len(names), step):
        images = [read_image(video.path / name) for name in names[start : start + step]]
        for name, image in zip(names[start:], images, strict=False):
            if image.shape != size:
                raise DecodeError(
                    f"{name}: {image.shape[1]}x{image.shape[0]}, but the first frame of "
                    f"{video.id} is {info.width_px}x{info.height_px}"
                )
        times = np.arange(start, start + len(images)) / info.fps
        yield FrameBatch(start, np.stack(images), times)


def _decode_file(video: Video, info: VideoInfo, errors: Errors) -> Iterator[FrameBatch]:
    lacking = missing_bytes(video.path)
    if lacking and errors == "quarantine":
        raise DecodeError(
            f"{video.path.name}: truncated: the last {lacking} bytes are missing; fetch it again, "
            "or accept what is there with decode.errors: accept"
        )
    shape = (info.height_px, info.width_px, 3)
    step = batch_frames(info)
    times_out, times_in = os.pipe()
    try:
        process = subprocess.Popen(
            _command(video, info, times_in),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[times_in],
            process_group=0,
        )
    except BaseException:
        os.close(times_out)
        raise
    finally:
        os.close(times_in)
    stdout, stderr = cast(IO[bytes], process.stdout), cast(IO[bytes], process.stderr)
    _widen(stdout)
    clock = Clock(os.fdopen(times_out, "rb"), info.time_base)
    log = Log(stderr)
    try:
        start = 0
        first: Fraction | None = None
        last = -np.inf
        while True:
            pixels, rest = _read_frames(stdout, step, shape)
            if rest:
                raise DecodeError(f"{video.path.name}: the decoder stopped inside frame {start}")
            if not len(pixels):
                break
            times = clock.take(len(pixels))
            if len(times) < len(pixels):
                raise DecodeError(
                    f"{video.path.name}: frame {start + len(times)} has no presentation time"
                )
            first = times[0] if first is None else first
            seconds = np.array([float(time - first) for time in times])
            steps = np.diff(seconds, prepend=last)
            if (steps <= 0).any():
                frame = start + int(np.argmax(steps <= 0))
                raise DecodeError(
                    f"{video.path.name}: the presentation time of frame {frame} "
                    f"({seconds[frame - start]:.6f} s) does not increase"
                )
            last = seconds[-1]
            yield FrameBatch(start, pixels, seconds)
            start += len(pixels)
        status = process.wait()
        clock.join()
        log.join()
        if clock.starts > 1:
            raise DecodeError(f"{video.path.name}: the picture changes its size or format midway")
        _check_end(video, info, errors, log, status, start, float(max(last, 0)))
    except DecodeError as error:
        if _interrupted(process, ended=len(pixels) < step):
            raise InterruptedError(
                f"{video.path.name}: a signal stopped ffmpeg in frame {start}; build it again"
            ) from error
        raise
    finally:
        process.kill()
        stdout.close()
        process.wait()
        clock.join()
        log.join()


def _interrupted(process: subprocess.Popen[bytes], ended: bool) -> bool:
    """Whether a signal ended ffmpeg; `ended` says that no more pixels come, so it must end soon."""
    try:
        status = process.wait(_EXIT_SECONDS if ended else 0)
    except subprocess.TimeoutExpired:
        return False
    return status < 0 or status in _SIGNALLED


def _check_end(
    video: Video,
    info: VideoInfo,
    errors: Errors,
    log: Log,
    status: int,
    frames: int,
    last_seconds: float,
) -> None:
    name = video.path.name
    if status or not frames:
        complaint = log.complaints[0] if log.complaints else f"ffmpeg ended with {status}"
        raise DecodeError(f"{name}: not decodable: {complaint}")
    if errors == "accept":
        return
    declared = min(info.frames or 0, video.max_frames or info.frames or 0)
    # An AVI counts repeated pictures, which are not decoded again but leave a gap in the times.
    shown = max(frames, round(last_seconds * info.fps) + 1)
    if name.lower().endswith(".avi") and shown + _LOST_AT_ENDS < declared:
        raise DecodeError(
            f"{name}: {frames} of the {declared} frames its header declares can be decoded; fetch "
            "it again, or accept it with decode.errors: accept"
        )
    if log.complaint_count:
        raise DecodeError(
            f"{name}: the decoder met {log.complaint_count} errors ({log.complaints[0]}) in "
            f"{frames} frames; fetch it again, or accept them with decode.errors: accept"
        )


def _command(video: Video, info: VideoInfo, times: int) -> list[str]:
    picture = (
        ffmpeg.input(f"file:{video.path}", protocol_whitelist="file,pipe")["V:0"]
        .filter("scale", info.width_px, info.height_px)
        .filter("setsar", 1)
        .filter("settb", str(info.time_base))
        .filter("metadata", "add", key=_LABEL, value=1)
        .filter("metadata", "print", key=_LABEL, file=f"pipe:{times}", direct=1)
    )
    executable = ffmpeg_executable()
    old = (ffmpeg_version(executable) or (99, 0)) < (5, 1)
    options: dict[str, Any] = {"format": "rawvideo", "pix_fmt": "rgb24"}
    options["vsync" if old else "fps_mode"] = "passthrough"
    if video.max_frames is not None:
        options["frames:v"] = video.max_frames
    arguments = ("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+warning")
    command: list[str] = (
        picture.output("pipe:1", **options).global_args(*arguments).compile(cmd=executable)
    )
    return command


def _widen(pipe: IO[bytes]) -> None:
    """Enlarge a pipe where the system allows it; this only makes decoding faster."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _read_frames(
    pipe: IO[bytes], count: int, shape: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], int]:
    """Read up to `count` frames; also return how many bytes of an incomplete frame followed."""
    pixels = np.empty((count, *shape), np.uint8)
    view = pixels.reshape(-1).data
    filled = 0
    while filled < len(view):
        read = pipe.readinto(view[filled:])  # type: ignore[attr-defined]
        if not read:
            break
        filled += read
    frame_bytes = int(np.prod(shape))
    return pixels[: filled // frame_bytes], filled % frame_bytes
