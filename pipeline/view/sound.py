"""Serve the sound of a video as WAV, in byte ranges, by which a browser seeks."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError
from foveal.pipeline.view.opened import Video

_HEADER_BYTES = 44
_PART_SAMPLES = 2**17
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_RATES = ("sample_rate_hz", "sample_rate", "rate_hz", "samplerate", "rate")


class Sound:
    """A waveform of a video as a WAV file of 16-bit samples.

    Parameters
    ----------
    video : Video
    name : str
        An array of kind ``waveform``: [samples] or [samples, channels]; floats from -1 to 1, or
        16-bit integers.

    Attributes
    ----------
    channels : int
        Number of channels.
    rate_hz : int
        Samples per second, from the array's attributes or from its length and that of the video.
    start_seconds : float
        Position of the first frame in the sound.
    size_bytes : int
        Size of the file.

    Raises
    ------
    FovealError
        The video has no such waveform.
    """

    def __init__(self, video: Video, name: str) -> None:
        view = video.view
        info = view.infos.get(name)
        if info is None or info.kind != "waveform" or not info.items or len(info.shape) > 2:
            raise FovealError(f"video {view.video!r} has no sound {name!r}")
        self._view, self._name, self._samples = view, name, info.items
        self.channels = int(np.prod(info.item_shape, dtype=int))
        self.rate_hz = max(1, round(_rate_hz(video, name)))
        offset = sample_of_frame(video, name, np.arange(1))
        self.start_seconds = float(offset[0]) / self.rate_hz
        self.size_bytes = _HEADER_BYTES + self._samples * self._frame_bytes

    @property
    def _frame_bytes(self) -> int:
        return 2 * self.channels

    def header(self) -> bytes:
        """Make the header of the file, its first 44 bytes."""
        body = self.size_bytes - _HEADER_BYTES
        form = (16, 1, self.channels, self.rate_hz, self.rate_hz * self._frame_bytes)
        return struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            *(b"RIFF", 36 + body, b"WAVE", b"fmt ", *form, self._frame_bytes, 16, b"data", body),
        )

    def content(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes `start` to `stop` - 1 of the file."""
        if start < _HEADER_BYTES:
            yield self.header()[start:stop]
        first = max(start, _HEADER_BYTES) - _HEADER_BYTES
        last = stop - _HEADER_BYTES
        while first < last:
            sample = first // self._frame_bytes
            until = min(self._samples, sample + _PART_SAMPLES)
            samples = _as_16_bit(self._view.read(self._name, sample, until)).tobytes()
            before = first - sample * self._frame_bytes
            part = samples[before : before + last - first]
            yield part
            first += len(part)


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Parse a ``Range`` `header` for a file of `size` bytes.

    Returns
    -------
    (int, int) or None
        First byte, and the one after the last; None where it is no single range of the file.

    Examples
    --------
    >>> [byte_range(text, 100) for text in ("bytes=10-19", "bytes=90-", "bytes=-5", "bytes=100-")]
    [(10, 20), (90, 100), (95, 100), None]
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, stop = max(0, size - int(match[2])), size
    else:
        start, stop = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    return (start, stop) if start < stop else None


def _as_16_bit(samples: NDArray[Any]) -> NDArray[np.int16]:
    """Samples as little-endian 16-bit integers; floats are clipped to -1 … 1."""
    if samples.dtype.kind == "f":
        whole = np.rint(np.nan_to_num(samples.astype(np.float32)).clip(-1, 1) * 32767)
        return np.asarray(whole, "<i2")
    if samples.dtype == np.uint8:
        return np.asarray((samples.astype(np.int16) - 128) * 256, "<i2")
    return np.asarray(samples, "<i2")


def sample_of_frame(video: Video, name: str, frames: NDArray[Any]) -> NDArray[np.int64]:
    """Find the sample at which each of `frames` begins, by stored offsets or by the rate.

    `frames` may contain the number of frames too, for the end of the last one.
    """
    view, samples = video.view, video.view.infos[name].items
    if (offsets := _offsets(video, name)) is not None:
        places = offsets[np.minimum(frames, len(offsets) - 1)]
    else:
        ends = np.append(view.seconds, view.seconds[-1] + 1 / view.about["fps"]) - view.seconds[0]
        places = np.rint(ends[frames] * _rate_hz(video, name))
    return np.asarray(np.clip(places, 0, samples), np.int64)


def _offsets(video: Video, name: str) -> NDArray[np.int64] | None:
    """First sample of each frame, where the stage of the waveform stores it."""
    view = video.view

    def read() -> NDArray[np.int64] | None:
        stage = view.infos[name].stage
        kept = [i.name for i in view.infos.values() if (i.stage, i.axis) == (stage, "frame_plus_1")]
        named = [each for each in kept if each in (f"{name}_offset", f"{stage}_offset")] or kept[:1]
        return np.asarray(view.array(named[0])[:], np.int64) if named else None

    return video.once(("sound offsets", name), read)


def _rate_hz(video: Video, name: str) -> float:
    view = video.view
    stated = view.array(name).attrs
    for key in _RATES:
        value = stated.get(key, view.parameters(name).get(key))
        if isinstance(value, int | float) and value > 0:
            return float(value)
    offsets = _offsets(video, name)
    samples = view.infos[name].items if offsets is None else int(offsets[-1] - offsets[0])
    seconds = view.seconds[-1] - view.seconds[0] + 1 / view.about["fps"]
    return float(max(1.0, samples / seconds))
