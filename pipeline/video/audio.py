"""This module decodes the sound of a video and puts it on the clock of the frames."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from foveal.errors import DecodeError
from foveal.pipeline.video.types import AudioBatch, Video

CLOCK_SECONDS = 1.2e-3
"""Largest difference between a timestamp and the time that counting samples gives, in seconds, that
is ignored: many containers (Matroska, FLV) round to milliseconds. More is a gap or an overlap."""


def decode_audio(video: Video) -> Generator[AudioBatch, None, None]:
    """Decode the first audio stream of a video, mixed down to one channel at its own rate.

    The container's timestamps say when a sample sounds. Time 0 is the presentation time of the
    first frame, so sound that begins earlier has negative times. Samples that an encoder needs to
    start (priming) are left out where the container marks them.

    Parameters
    ----------
    video : Video
        A folder of images, or a file without sound, yields nothing.

    Yields
    ------
    AudioBatch
        Consecutive samples, float32 in [-1, 1].

    Raises
    ------
    DecodeError
        The file has sound that cannot be decoded.
    """
    if video.image_names is not None:
        return
    try:
        with _opened(video) as container:
            if not container.streams.audio:
                return
            first_frame_seconds = _first_frame_seconds(container)
        # Opened again, not rewound: a seek to 0 loses the packet before it, which Opus needs.
        with _opened(video) as container:
            stream = container.streams.audio[0]
            mono = av.AudioResampler(format="fltp", layout="mono")
            start, rate_hz = 0, 0
            for frame in container.decode(stream):
                if rate_hz and frame.sample_rate != rate_hz:
                    # A resampler keeps the first rate that it saw, and its clock.
                    mono = av.AudioResampler(format="fltp", layout="mono")
                rate_hz = frame.sample_rate
                for part in mono.resample(frame):
                    samples = np.ascontiguousarray(part.to_ndarray()[0], np.float32)
                    if part.pts is None or part.time_base is None:
                        raise DecodeError(f"{video.path}: its sound carries no timestamps")
                    at_seconds = float(part.pts * part.time_base) - first_frame_seconds
                    yield AudioBatch(start, samples, part.sample_rate, at_seconds)
                    start += len(samples)
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(f"{video.path}: its sound cannot be decoded: {error}") from None


def _opened(video: Video) -> av.container.InputContainer:
    return av.open(f"file:{video.path}", metadata_errors="replace")


def _first_frame_seconds(container: av.container.InputContainer) -> float:
    cover = av.stream.Disposition.attached_pic
    streams = [each for each in container.streams.video if not each.disposition & cover]
    if not streams:
        return 0.0
    for frame in container.decode(streams[0]):
        return frame.time or 0.0
    return 0.0


class Waveform:
    """Resample decoded sound so that sample i sounds i / `rate_hz` seconds after frame 0.

    Each stretch without gaps is resampled alone and starts at its first timestamp. Sound before
    the first frame is left out; gaps become zeros; where two stretches overlap, the earlier sound
    is kept.

    Parameters
    ----------
    rate_hz : int
        Samples per second of the result.
    samples : int
        Length of the result; later sound is left out.

    Attributes
    ----------
    heard : int
        Samples that came from the file; the others are gaps, or before or after the sound.
    stretches : int
        Number of runs of sound without a gap.
    first_seconds : float or None
        When the sound begins on the clock of the frames; negative before the first frame.
    native_hz : int or None
        Samples per second in the file.
    """

    def __init__(self, rate_hz: int, samples: int) -> None:
        self.rate_hz, self.samples = rate_hz, samples
        self.heard, self.stretches = 0, 0
        self.first_seconds: float | None = None
        self.native_hz: int | None = None
        self._written = 0
        self._resampler: av.AudioResampler | None = None
        self._stretch_seconds = 0.0
        self._stretch_taken = 0
        self._stretch_given = 0

    def push(self, batch: AudioBatch) -> NDArray[np.float32]:
        """Take decoded sound; return the samples that follow those returned before.

        Parameters
        ----------
        batch : AudioBatch
            The next samples of the file.

        Returns
        -------
        ndarray, float32 [n]
            Zeros where there is no sound.
        """
        expected = self._stretch_seconds + self._stretch_taken / batch.rate_hz
        goes_on = (
            self._resampler is not None
            and batch.rate_hz == self.native_hz
            and abs(batch.start_seconds - expected) <= CLOCK_SECONDS
        )
        parts: list[NDArray[np.float32]] = []
        if not goes_on:
            parts = self._ended()
            self._begin(batch)
        parts += self._resampled(batch.samples, batch.rate_hz)
        return _joined(parts)

    def finish(self) -> Iterator[NDArray[np.float32]]:
        """Yield the rest of the sound, then zeros up to the wanted length, in parts."""
        yield _joined(self._ended())
        while self._written < self.samples:
            rest = min(self.samples - self._written, 1 << 20)
            self._written += rest
            yield np.zeros(rest, np.float32)

    def _begin(self, batch: AudioBatch) -> None:
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=self.rate_hz)
        self._stretch_seconds, self._stretch_taken = batch.start_seconds, 0
        self._stretch_given, self.native_hz = 0, batch.rate_hz
        self.stretches += 1
        if self.first_seconds is None:
            self.first_seconds = batch.start_seconds

    def _ended(self) -> list[NDArray[np.float32]]:
        if self._resampler is None:
            return []
        rest = [self._placed(part) for part in self._resampler.resample(None)]
        self._resampler = None
        return rest

    def _resampled(self, samples: NDArray[np.float32], rate_hz: int) -> list[NDArray[np.float32]]:
        assert self._resampler is not None
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), "fltp", "mono")
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = self._stretch_taken
        self._stretch_taken += len(samples)
        return [self._placed(part) for part in self._resampler.resample(frame)]

    def _placed(self, part: av.AudioFrame) -> NDArray[np.float32]:
        """Cut a resampled part to what is wanted, and put the zeros of a gap in front of it."""
        values = np.asarray(part.to_ndarray()[0], np.float32)
        at = round(self._stretch_seconds * self.rate_hz) + self._stretch_given
        self._stretch_given += len(values)
        values = values[max(0, self._written - at) :][
            : max(0, self.samples - max(at, self._written))
        ]
        if not len(values):
            return values
        gap = max(0, at - self._written)
        self._written += gap + len(values)
        self.heard += len(values)
        return np.concatenate([np.zeros(gap, np.float32), values]) if gap else values


def _joined(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *parts])
