"""This module reads what a video says before it is decoded: size, frame rate, declared length."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.errors import DecodeError
from foveal.pipeline.recipe.section import MAX_SIDE_PX
from foveal.pipeline.video.truncation import missing_bytes
from foveal.pipeline.video.types import Video, VideoInfo

_MAX_FPS = 1000
_PLAYLISTS = frozenset(("concat", "dash", "hls", "hls,applehttp", "imf", "image2", "lavfi", "sdp"))
"""Formats that name other files, which may be anywhere on the disk."""


def probe(video: Video) -> VideoInfo:
    """Return size, frame rate and declared length of a video file or a folder of frame images.

    The size is that of the upright picture with square pixels: rotation metadata are applied, and
    a pixel aspect other than 1:1 stretches the width.

    Parameters
    ----------
    video : Video
        The file or the folder.

    Raises
    ------
    DecodeError
        The file is missing, empty or not a video, or has no video stream or no frame.
    """
    import av

    if video.image_names is not None:
        return _probe_images(video)
    path = video.path
    if not path.is_file():
        is_odd = path.exists() and not path.is_dir()
        what = "no plain file" if is_odd else "there is no such file"
        raise DecodeError(f"{path.name}: {what}; restore it from the dataset")
    if path.stat().st_size == 0:
        raise DecodeError(f"{path.name}: the file is empty (0 bytes); fetch it again")
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            form = container.format.name
            if form in _PLAYLISTS:
                raise DecodeError(f"{path.name}: a playlist of other files ({form}), not a video")
            if form.endswith("_pipe"):
                raise DecodeError(f"{path.name}: a picture ({form[:-5]}), not a video")
            cover = av.stream.Disposition.attached_pic
            streams = [s for s in container.streams.video if not s.disposition & cover]
            if not streams:
                kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing readable"
                raise DecodeError(f"{path.name}: no video stream in it, only {kinds}{_cut(path)}")
            stream = streams[0]
            frame = next(container.decode(stream), None)
            if frame is None:
                raise DecodeError(
                    f"{path.name}: the video stream has no decodable frame{_cut(path)}"
                )
            aspect = stream.sample_aspect_ratio or Fraction(1)
            height, width = _upright_size(frame.height, frame.width, aspect, frame.rotation)
            _check_size(path, height, width)
            fps = stream.average_rate or stream.guessed_rate
            duration_seconds = None
            if stream.duration is not None and stream.time_base is not None:
                duration_seconds = float(stream.duration * stream.time_base)
            return VideoInfo(
                height_px=height,
                width_px=width,
                fps=_checked_fps(path, fps),
                frames=stream.frames or None,
                duration_seconds=duration_seconds,
                time_base=stream.time_base or Fraction(1, av.time_base),
            )
    except av.FFmpegError as error:
        raise DecodeError(
            f"{path.name}: no readable video ({error.strerror}){_cut(path)}"
        ) from None


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as upright RGB.

    Parameters
    ----------
    path : Path
        The image file.

    Returns
    -------
    ndarray, uint8 [height, width, 3]

    Raises
    ------
    DecodeError
        The file is missing, not an image, damaged, or larger than 8192 px on a side.
    """
    import cv2
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as header:
            width, height = header.size
    except UnidentifiedImageError:
        raise DecodeError(f"{path.name}: no readable image; fetch it again") from None
    except OSError as error:
        raise DecodeError(f"{path.name}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # Pillow's readers raise errors of any type
        raise DecodeError(f"{path.name}: no readable image ({error})") from None
    _check_size(path, height, width)
    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise DecodeError(f"{path.name}: cannot be decoded ({error.err})") from None
    if image is None:
        raise DecodeError(f"{path.name}: a damaged image; fetch it again")
    return np.asarray(image, np.uint8)


def _cut(path: Path) -> str:
    lacking = missing_bytes(path)
    return f"; the last {lacking} bytes are missing, fetch it again" if lacking else ""


def _probe_images(video: Video) -> VideoInfo:
    assert video.image_names is not None
    if not video.image_names:
        raise DecodeError(
            "; ".join((f"{video.path.name}: a folder without frame images", *video.notes))
        )
    height, width = read_image(video.path / video.image_names[0]).shape[:2]
    fps = video.fps or 1.0
    frames = len(video.image_names)
    return VideoInfo(height, width, fps, frames, frames / fps)


def _upright_size(
    height: int, width: int, aspect: Fraction, rotation_degrees: float
) -> tuple[int, int]:
    width = math.floor(width * aspect + Fraction(1, 2))
    return (width, height) if round(rotation_degrees / 90) % 2 else (height, width)


def _check_size(path: Path, height: int, width: int) -> None:
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise DecodeError(
            f"{path.name}: a {width}x{height} picture; sides up to {MAX_SIDE_PX} px are read"
        )


def _checked_fps(path: Path, fps: Fraction | None) -> float:
    if fps is None or not 0 < fps <= _MAX_FPS:
        raise DecodeError(f"{path.name}: frame rate {fps}; between 0 and {_MAX_FPS} is allowed")
    return float(fps)
