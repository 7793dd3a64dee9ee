"""The sound of a video, on the clock of its frames."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from foveal.errors import DecodeError
from foveal.pipeline.video.types import AudioBatch, Video

CLOCK_SECONDS = 1.2e-3
"""Timestamps up to this far from where counted samples put them say nothing: many containers
(Matroska, FLV) round them to milliseconds. What is further off is a gap or an overlap."""


def decode_audio(video: Video) -> Generator[AudioBatch, None, None]:
    """Decode the first audio stream of a video, mixed down to one channel at its own rate.

    The container's timestamps say when a sample sounds: the presentation time of the first frame
    is 0, so sound that begins before it has negative times. Samples that an encoder needs to start
    (priming) and that the container marks as such are left out.

    Parameters
    ----------
    video : Video
        A folder of images, or a file without sound, yields nothing.

    Raises
    ------
    DecodeError
        The sound is there and cannot be decoded.
    """
    if video.image_names is not None:
        return
    try:
        with _opened(video) as container:
            if not container.streams.audio:
                return
            first_frame_seconds = _first_frame_seconds(container)
        # Opened again, not rewound: a seek to 0 loses the packet before it, which Opus begins with.
        with _opened(video) as container:
            stream = container.streams.audio[0]
            mono = av.AudioResampler(format="fltp", layout="mono")
            start, rate_hz = 0, 0
            for frame in container.decode(stream):
                if rate_hz and frame.sample_rate != rate_hz:
                    # The resampler keeps the rate that it saw first, and its clock.
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
    """Brings decoded sound to an even clock: sample i sounds i / `rate_hz` seconds after frame 0.

    Each stretch without gaps is resampled by itself and laid where its first timestamp says. What
    sounds before the first frame is left out; gaps become zeros; of an overlap the earlier sound
    stays.

    Parameters
    ----------
    rate_hz : int
    samples : int
        Length wanted; what sounds later is left out.

    Attributes
    ----------
    heard : int
        Samples that came from the file; the others are gaps, or before and after the sound.
    stretches : int
        Runs of sound without a gap.
    first_seconds : float or None
        When the sound begins on the clock of the frames; negative before the first frame.
    native_hz : int or None
        The file's own rate.
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
        """Take decoded sound; give the samples that follow those given before.

        Returns
        -------
        ndarray, float32 [n]
            Zeros where nothing sounds.
        """
        expected = self._stretch_seconds + self._stretch_taken / batch.rate_hz
        goes_on = (
            self._resampler is not None
            and batch.rate_hz == self.native_hz
            and abs(batch.start_seconds - expected) <= CLOCK_SECONDS
        )
        parts = [] if goes_on else [*self._ended(), *self._begun(batch)]
        parts += self._resampled(batch.samples, batch.rate_hz)
        return _joined(parts)

    def finish(self) -> Iterator[NDArray[np.float32]]:
        """The rest, and zeros up to the length wanted, in parts."""
        yield _joined(self._ended())
        while self._written < self.samples:
            rest = min(self.samples - self._written, 1 << 20)
            self._written += rest
            yield np.zeros(rest, np.float32)

    def _begun(self, batch: AudioBatch) -> list[NDArray[np.float32]]:
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=self.rate_hz)
        self._stretch_seconds, self._stretch_taken = batch.start_seconds, 0
        self._stretch_given, self.native_hz = 0, batch.rate_hz
        self.stretches += 1
        if self.first_seconds is None:
            self.first_seconds = batch.start_seconds
        return []

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
        """A resampled part where it belongs, after the zeros before it."""
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
