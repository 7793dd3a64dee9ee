"""This module writes frames as a video file, through ffmpeg."""

from __future__ import annotations

import contextlib
import tempfile
import wave
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError
from foveal.pipeline.video.ffmpeg import ffmpeg_executable

CODEC_OPTIONS: dict[str, dict[str, str | int]] = {
    "mpeg4": {"vtag": "xvid", "qscale:v": 1, "qmin": 1, "pix_fmt": "yuv420p"},
    "libx264": {"crf": 12, "preset": "veryfast", "pix_fmt": "yuv420p"},
    "ffv1": {"pix_fmt": "bgr0"},
    "x264_grey": {
        "vcodec": "libx264",
        "qp": 0,
        "preset": "veryfast",
        "bf": 0,
        "pix_fmt": "gray",
        "movflags": "+faststart",
    },
}
"""Options of each encoder: the first two are close to lossless, the last two are lossless.

Grey video has no B-frames, so that every reader shows its first picture at time 0.
"""


def encode_video(
    frames: Iterable[NDArray[np.uint8]],
    path: Path,
    fps: float | Fraction,
    codec: str = "mpeg4",
    *,
    audio_seconds: float | None = None,
    sound: tuple[NDArray[np.float32], int] | None = None,
) -> int:
    """Write frames as a video file.

    One thread and bit-exact flags encode it, so the same frames give the same bytes with the same
    build of ffmpeg.

    Parameters
    ----------
    frames : iterable of ndarray, uint8 [height, width, 3]
        RGB frames of one size, with even height and width; for ``x264_grey`` [height, width] of
        any size.
    path : Path
        The file to write; its suffix determines the container.
    fps : float or Fraction
        Frames per second.
    codec : str
        A key of `CODEC_OPTIONS`.
    audio_seconds : float, optional
        Length of an audio track with a low tone (MPEG layer II); by default there is none.
    sound : (ndarray, float32 [n], int), optional
        Samples in [-1, 1] and samples per second, for an audio track (AAC) that begins with the
        first frame.

    Returns
    -------
    int
        Number of frames written.

    Raises
    ------
    ValueError
        There are no frames, they differ in size or dtype, or the codec is unknown.
    MissingDependency
        No ffmpeg is found.
    FovealError
        ffmpeg failed; the message ends with ffmpeg's own.
    """
    if codec not in CODEC_OPTIONS:
        raise ValueError(f"codec {codec!r} is unknown; allowed: {', '.join(CODEC_OPTIONS)}")
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise ValueError(f"no frames to write to {path}")
    height, width = first.shape[:2]
    grey = codec == "x264_grey"
    shape = (height, width) if grey else (height, width, 3)
    if first.shape != shape or (not grey and (height % 2 or width % 2)):
        wanted = "[height, width]" if grey else "[even height, even width, 3]"
        raise ValueError(f"frames must be {wanted}, got {first.shape}")

    streams = [
        ffmpeg.input(
            "pipe:",
            format="rawvideo",
            pix_fmt="gray" if grey else "rgb24",
            video_size=(width, height),
            framerate=str(fps),
        )
    ]
    options: dict[str, str | int] = {
        "vcodec": codec,
        **CODEC_OPTIONS[codec],
        "threads": 1,
        "fflags": "+bitexact",
        "flags:v": "+bitexact",
        "flags:a": "+bitexact",
    }
    if audio_seconds is not None:
        tone = f"sine=frequency=220:sample_rate=44100:duration={audio_seconds:.3f}"
        streams.append(ffmpeg.input(tone, format="lavfi"))
        options |= {"acodec": "mp2", "audio_bitrate": "64k"}
    with _sound_file(sound) as track:
        if track is not None:
            streams.append(ffmpeg.input(track))
            options |= {"acodec": "aac", "audio_bitrate": "128k"}
        process = (
            ffmpeg.output(*streams, str(path), **options)
            .global_args("-nostdin", "-loglevel", "error")
            .overwrite_output()
            .run_async(cmd=ffmpeg_executable(), pipe_stdin=True, pipe_stderr=True)
        )
        return _written(process, first, remaining, path, codec)


@contextlib.contextmanager
def _sound_file(sound: tuple[NDArray[np.float32], int] | None) -> Iterator[str | None]:
    """Write samples to a WAV file that is deleted when the context ends."""
    if sound is None:
        yield None
        return
    samples, rate_hz = sound
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        with wave.open(file.name, "wb") as track:
            track.setnchannels(1)
            track.setsampwidth(2)
            track.setframerate(rate_hz)
            track.writeframes(np.rint(samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
        yield file.name


def _written(
    process: Any,
    first: NDArray[np.uint8] | None,
    remaining: Iterator[NDArray[np.uint8]],
    path: Path,
    codec: str,
) -> int:
    """Give all frames to ffmpeg, wait for it, and return how many frames there were."""
    assert first is not None
    shape, written = first.shape, 0
    try:
        while first is not None:
            if first.shape != shape or first.dtype != np.uint8:
                raise ValueError(
                    f"frame {written} is {first.dtype} {first.shape}, not uint8 {shape} as the "
                    "first"
                )
            process.stdin.write(np.ascontiguousarray(first).data)
            written += 1
            first = next(remaining, None)
        process.stdin.close()
    except BrokenPipeError:
        pass  # ffmpeg gave up; its message, below, says why
    except BaseException:
        process.kill()
        process.wait()
        raise
    said = process.stderr.read().decode(errors="replace").strip()
    if process.wait() != 0:
        raise FovealError(f"ffmpeg could not write {path} with {codec}: {said}")
    return written
