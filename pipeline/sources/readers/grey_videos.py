"""Reader for ground truth published as a grey video: one map per frame, of 8 to 16 bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import GazeError
from foveal.pipeline.recipe.section import MAX_SIDE_PX
from foveal.pipeline.sources.readers.files import check_file
from foveal.pipeline.video.truncation import missing_bytes

if TYPE_CHECKING:
    import av

_TINT = 1 / 32
"""Largest deviation of chroma from grey, as a share of its half range: a codec's loss."""

_MP4 = "mp4"
"""The only format that libav may read: other formats may name further files."""


class VideoMaps:
    """Density maps of an MP4 file; picture k belongs to frame k; see `PublishedMaps`.

    The luma samples keep their range and depth, so 10-bit maps hold 0 to 1023. Frames are decoded
    in order: a request for an earlier frame decodes from the start again.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    size : (height, width)
        Size of the maps in pixels.
    dtype : numpy dtype
        uint8 up to 8 bits, uint16 up to 16 bits.
    about : dict
        ``bits`` and ``valid_range`` of the values.

    Raises
    ------
    GazeError
        The file is missing, truncated, not MP4, has no grey video, or more than 8192 px per side.
    """

    def __init__(self, path: Path) -> None:
        check_file(path)
        if lacking := missing_bytes(path):
            raise GazeError(f"{path}: the last {lacking} bytes are missing; fetch it again")
        self.path = path
        with _opened(path) as container:
            stream = _video_stream(path, container)
            component = stream.codec_context.format.components[0]
            self.size = (stream.codec_context.height, stream.codec_context.width)
            self._declared = stream.frames or sum(bool(one.size) for one in container.demux(stream))
        if component.is_alpha or stream.codec_context.format.is_rgb:
            raise GazeError(f"{path} is coloured; a map has one grey channel")
        self.dtype = np.dtype(np.uint8 if component.bits <= 8 else "<u2")
        self.about: dict[str, Any] = {
            "bits": component.bits,
            "valid_range": [0, 2**component.bits - 1],
        }
        self._frames: Iterator[NDArray[Any]] = iter(())
        self._next = 0
        self._latest: NDArray[Any] | None = None

    def __len__(self) -> int:
        return int(self._declared)

    def density(self, frame: int) -> NDArray[Any]:
        """Decode the map of `frame` (from 0), `dtype` [height, width], exactly as published.

        Raises
        ------
        GazeError
            The map cannot be decoded, or the video ends before it.
        """
        if self._latest is None or frame < self._next - 1:
            self._frames, self._next = self._decoded(), 0
        while self._next <= frame:
            latest = next(self._frames, None)
            if latest is None:
                raise GazeError(
                    f"{self.path}: {self._next} maps can be decoded, {len(self)} are declared; "
                    "fetch it again"
                )
            self._latest = latest
            self._next += 1
        assert self._latest is not None
        return self._latest

    def _decoded(self) -> Iterator[NDArray[Any]]:
        import av

        with _opened(self.path) as container:
            stream = _video_stream(self.path, container)
            stream.thread_type = "AUTO"
            stream.codec_context.options = {"err_detect": "explode"}
            number = 0
            try:
                for frame in container.decode(stream):
                    if frame.is_corrupt:
                        raise GazeError(f"{self.path}: map {number} is damaged; fetch it again")
                    yield self._luma(frame, number)
                    number += 1
            except av.FFmpegError as error:
                raise GazeError(
                    f"{self.path}: map {number} cannot be decoded ({error.strerror}); "
                    "fetch it again"
                ) from None

    def _luma(self, frame: av.VideoFrame, number: int) -> NDArray[Any]:
        if (frame.height, frame.width) != self.size:
            raise GazeError(f"{self.path}: map {number} is {frame.width}x{frame.height}")
        luma, *chroma = (_plane(plane, self.dtype) for plane in frame.planes)
        grey = 2 ** (self.about["bits"] - 1)
        if any(np.abs(plane.astype(np.int32) - grey).max() > grey * _TINT for plane in chroma):
            raise GazeError(f"{self.path} is coloured in map {number}; a map has one grey channel")
        return np.ascontiguousarray(luma)


def _plane(plane: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
    return rows[:, : plane.width]


def _opened(path: Path) -> Any:
    import av

    try:
        return av.open(f"file:{path}", format=_MP4, metadata_errors="replace")
    except av.FFmpegError as error:
        raise GazeError(f"{path}: no readable MP4 ({error.strerror}); fetch it again") from None


def _video_stream(path: Path, container: Any) -> Any:
    if not container.streams.video:
        raise GazeError(f"{path} holds no video stream; maps are published as a grey video")
    stream = container.streams.video[0]
    about = stream.codec_context
    if about.format is None or not (0 < about.height <= MAX_SIDE_PX >= about.width > 0):
        raise GazeError(
            f"{path} holds {about.width}x{about.height} pictures; sides up to {MAX_SIDE_PX} px "
            "are read"
        )
    return stream
