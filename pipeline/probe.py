"""What is known of a video before decoding it: size, frame rate, declared length."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from foveal.errors import DecodeError
from foveal.pipeline.sections import MAX_SIDE_PX
from foveal.pipeline.values import Video, VideoInfo

_MAX_FPS = 1000


def probe(video: Video) -> VideoInfo:
    """Geometry and declared length of a video file or a folder of frame images.

    The size is that of the upright picture with square pixels: rotation metadata are applied and
    a pixel aspect other than 1:1 stretches the width.

    Raises
    ------
    DecodeError
        Where the file is missing, empty, no video, has no video stream or no frame.
    """
    if video.image_names is not None:
        return _probe_images(video)
    path = video.path
    if not path.is_file():
        raise DecodeError(f"{path.name}: there is no such file; restore it from the dataset")
    if path.stat().st_size == 0:
        raise DecodeError(f"{path.name}: the file is empty (0 bytes); fetch it again")
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            streams = container.streams.video
            if not streams:
                raise DecodeError(f"{path.name}: no video stream in it (audio only?)")
            stream = streams[0]
            frame = next(container.decode(stream), None)
            if frame is None:
                raise DecodeError(f"{path.name}: the video stream has no decodable frame")
            aspect = stream.sample_aspect_ratio or Fraction(1)
            height, width = _upright_size(frame.height, frame.width, aspect, frame.rotation)
            fps = stream.average_rate or stream.guessed_rate
            has_duration = stream.duration is not None and stream.time_base is not None
            return VideoInfo(
                height_px=height,
                width_px=width,
                fps=_checked_fps(path, fps),
                frames=stream.frames or None,
                duration_seconds=float(stream.duration * stream.time_base)
                if has_duration
                else None,
            )
    except av.FFmpegError as error:
        raise DecodeError(f"{path.name}: no readable video ({error.strerror})") from None


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image file as RGB.

    Returns
    -------
    ndarray, uint8 [height, width, 3]

    Raises
    ------
    DecodeError
    """
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DecodeError(f"{path.name}: cannot be read ({error.strerror})") from None
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if len(content) else None
    except cv2.error as error:
        raise DecodeError(f"{path.name}: no readable image ({error.err})") from None
    if image is None:
        raise DecodeError(f"{path.name}: no readable image")
    return np.asarray(image, np.uint8)


def _probe_images(video: Video) -> VideoInfo:
    assert video.image_names is not None
    if not video.image_names:
        raise DecodeError(f"{video.path.name}: a folder without frame images")
    height, width = read_image(video.path / video.image_names[0]).shape[:2]
    fps = video.fps or 1.0
    frames = len(video.image_names)
    return VideoInfo(height, width, fps, frames, frames / fps)


def _upright_size(
    height: int, width: int, aspect: Fraction, rotation_degrees: float
) -> tuple[int, int]:
    width = math.floor(width * aspect + Fraction(1, 2))
    if round(rotation_degrees / 90) % 2:
        height, width = width, height
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise DecodeError(f"a {width}x{height} picture; sides up to {MAX_SIDE_PX} px are read")
    return height, width


def _checked_fps(path: Path, fps: Fraction | None) -> float:
    if fps is None or not 0 < fps <= _MAX_FPS:
        raise DecodeError(f"{path.name}: frame rate {fps}; between 0 and {_MAX_FPS} is allowed")
    return float(fps)
