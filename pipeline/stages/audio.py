"""This module stores the sound of a video, ``audio``, and its spectrum, ``log_mel``.

Both use the clock of the frames: sample i sounds i / rate seconds after the first frame, and
``<array>_offset`` says where the items of each frame begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from foveal.errors import DecodeError
from foveal.pipeline.recipe.section import StageSection
from foveal.pipeline.stages.base import (
    AUDIO,
    NO_ARRAYS,
    Arrays,
    PlainStage,
    Stage,
    StageContext,
    StageRequest,
    numbers_spec,
)
from foveal.pipeline.stages.frames import TIMELINE
from foveal.pipeline.video.types import ArrayBatch, AudioBatch
from foveal.storage.schema import ArraySpec

if TYPE_CHECKING:
    from foveal.pipeline.recipe.recipe import Recipe
    from foveal.pipeline.video.audio import Waveform

WAVEFORM = "audio"
"""Name of the stage and the array of samples."""

_SAMPLES_PER_CHUNK = 2**14
_SAMPLES_PER_SHARD = 2**21
_HOPS_PER_CHUNK = 2**7
_HOPS_PER_SHARD = 2**14
_OFFSETS_PER_CHUNK = 2**14
_INT16 = 32767
_MOST_SECONDS = 24 * 3600


class AudioSection(StageSection):
    """Store the sound of each video, mixed down to one channel.

    Attributes
    ----------
    rate_hz : int
        Samples per second as stored, for any rate of the file.
    dtype : {'int16', 'float32'}
        Type of the stored samples.
    without_sound : {'none', 'silence'}
        Videos without an audio stream have no samples, or zeros.
    """

    rate_hz: Annotated[int, Field(ge=1000, le=192_000)] = 16_000
    dtype: Literal["int16", "float32"] = "int16"
    without_sound: Literal["none", "silence"] = "none"

    def make(self, request: StageRequest) -> Sequence[Stage]:
        return [AudioStage(self)]


class LogMelSection(StageSection):
    """Store the logarithm of the sound's power in mel bands, of the stored waveform.

    Attributes
    ----------
    bands : int
        Number of mel bands.
    window_seconds, hop_seconds : float
        Length of the Hann windows and distance of their centres; hop h is centred at
        h × `hop_seconds`.
    low_hz, high_hz : float, float or null
        Range of the bands; null takes half the rate of the waveform.
    floor : float
        Added to the power before the logarithm.
    dtype : {'float16', 'float32'}
        Type of the stored values.
    """

    bands: Annotated[int, Field(ge=1, le=512)] = 64
    window_seconds: Annotated[float, Field(gt=0, le=1)] = 0.025
    hop_seconds: Annotated[float, Field(gt=0, le=1)] = 0.01
    low_hz: Annotated[float, Field(ge=0)] = 60.0
    high_hz: Annotated[float, Field(gt=0)] | None = None
    floor: Annotated[float, Field(gt=0, le=1)] = 1e-6
    dtype: Literal["float16", "float32"] = "float16"

    @model_validator(mode="after")
    def _band_is_there(self) -> LogMelSection:
        if self.high_hz is not None and self.high_hz <= self.low_hz:
            raise ValueError(f"high_hz {self.high_hz} is not above low_hz {self.low_hz}")
        if self.hop_seconds > self.window_seconds:
            raise ValueError(
                f"hop_seconds {self.hop_seconds} skips sound between windows of "
                f"{self.window_seconds} s; make it at most as long as a window"
            )
        return self

    @classmethod
    def check(cls, sections: Sequence[LogMelSection], recipe: Recipe) -> None:
        waveform = next(iter(recipe.sections(WAVEFORM)), None)
        if not isinstance(waveform, AudioSection):
            raise ValueError("log_mel is made of the waveform: add an audio section")
        for section in sections:
            if max(section.high_hz or 0, section.low_hz) > waveform.rate_hz / 2:
                raise ValueError(
                    f"log_mel: bands up to {section.high_hz or section.low_hz} Hz need a waveform "
                    f"with twice as many samples per second; audio.rate_hz is {waveform.rate_hz}"
                )
            if round(section.hop_seconds * waveform.rate_hz) < 1:
                raise ValueError(f"log_mel: a hop of {section.hop_seconds} s is below one sample")

    def make(self, request: StageRequest) -> Sequence[Stage]:
        (waveform,) = request.recipe.sections(WAVEFORM)
        assert isinstance(waveform, AudioSection)
        return [LogMelStage(self, waveform.rate_hz)]


class _OnTheClock(PlainStage):
    """Collect the times of the frames, and find where the items of each frame begin."""

    def __init__(self) -> None:
        self._frame_seconds: list[NDArray[np.float64]] = []

    def prepare(self, context: StageContext) -> None:
        self._fps = context.info.fps

    def _end_seconds(self) -> float:
        """Return the time at which the last frame ends."""
        last = self._frame_seconds[-1][-1] if self._frame_seconds else -1 / self._fps
        seconds = float(last) + 1 / self._fps
        if seconds > _MOST_SECONDS:
            raise DecodeError(
                f"the video is {seconds:.0f} s long; sound is stored for up to {_MOST_SECONDS} s"
            )
        return seconds

    def _offsets(self, rate_hz: float, items: int) -> NDArray[np.int64]:
        """Return the first item at or after each frame's time, then the number of items."""
        seconds = np.concatenate([np.zeros(0), *self._frame_seconds])
        first = np.ceil(seconds * rate_hz - 1e-6).astype(np.int64)
        return np.append(np.minimum(first, items), items)


class AudioStage(_OnTheClock):
    """Store ``audio``, and ``audio_offset``: the samples of frame k begin at row ``offset[k]``.

    Parameters
    ----------
    section : AudioSection
        Settings of the recipe.
    """

    name = WAVEFORM
    inputs = (TIMELINE, AUDIO)
    arrays = (WAVEFORM, f"{WAVEFORM}_offset")

    def __init__(self, section: AudioSection) -> None:
        super().__init__()
        self._section = section
        self._waveform: Waveform | None = None
        self._items = 0

    def parameters(self) -> dict[str, Any]:
        return self._section.resolved()

    def outputs(self) -> Sequence[ArraySpec]:
        rate_hz, dtype = self._section.rate_hz, np.dtype(self._section.dtype)
        about: dict[str, Any] = {
            "long_name": "sound, one channel",
            "units": "1",
            "rate_hz": rate_hz,
            "clock": "sample i sounds i / rate_hz seconds after the first frame",
        }
        if dtype == np.int16:
            about["scale_factor"] = 1 / _INT16
        return [
            ArraySpec(
                WAVEFORM,
                (f"{WAVEFORM}_sample",),
                (),
                dtype,
                about,
                _SAMPLES_PER_CHUNK,
                _SAMPLES_PER_SHARD,
                axis="sample",
                kind="waveform",
                offset=f"{WAVEFORM}_offset",
            ),
            _offset_spec(WAVEFORM),
        ]

    def push(self, batch: ArrayBatch | AudioBatch) -> Arrays:
        if isinstance(batch, ArrayBatch):
            self._frame_seconds.append(batch.values)
            return NO_ARRAYS
        return self._given(self._sound().push(batch))

    def finish(self) -> Iterable[Arrays]:
        if self._waveform is not None or self._section.without_sound == "silence":
            for part in self._sound().finish():
                yield self._given(part)
        yield {f"{WAVEFORM}_offset": self._offsets(self._section.rate_hz, self._items)}

    def provenance(self) -> dict[str, Any]:
        sound = self._waveform
        if sound is None or sound.native_hz is None:
            return {"has_sound": False}
        rate_hz = self._section.rate_hz
        return {
            "has_sound": True,
            "native_rate_hz": sound.native_hz,
            "sound_begins_seconds": round(sound.first_seconds or 0.0, 6),
            "stretches": sound.stretches,
            "seconds_without_sound": round((self._items - sound.heard) / rate_hz, 6),
        }

    def _sound(self) -> Waveform:
        from foveal.pipeline.video.audio import Waveform

        if self._waveform is None:
            rate_hz = self._section.rate_hz
            self._waveform = Waveform(rate_hz, int(np.ceil(self._end_seconds() * rate_hz - 1e-6)))
        return self._waveform

    def _given(self, samples: NDArray[np.float32]) -> Arrays:
        self._items += len(samples)
        if not len(samples):
            return NO_ARRAYS
        if self._section.dtype == "float32":
            return {WAVEFORM: samples}
        loud = np.nan_to_num(samples).clip(-1, 1) * _INT16
        return {WAVEFORM: np.rint(loud).astype(np.int16)}


class LogMelStage(_OnTheClock):
    """Store ``log_mel`` [hop, band] and ``log_mel_offset``, made from the stored ``audio``.

    Parameters
    ----------
    section : LogMelSection
        Settings of the recipe.
    rate_hz : int
        Samples per second of ``audio``.
    """

    name = "log_mel"
    inputs = (TIMELINE, WAVEFORM)
    arrays = ("log_mel", "log_mel_offset")

    def __init__(self, section: LogMelSection, rate_hz: int) -> None:
        super().__init__()
        self._section, self._rate_hz = section, rate_hz
        self._hop = round(section.hop_seconds * rate_hz)
        self._window = max(2, round(section.window_seconds * rate_hz))
        # Zeros before the first sample, so that hop 0 is centred on it.
        self._held: NDArray[np.float32] = np.zeros(self._window // 2, np.float32)
        self._samples = self._hops = 0

    def parameters(self) -> dict[str, Any]:
        return {**self._section.resolved(), "rate_hz": self._rate_hz}

    def outputs(self) -> Sequence[ArraySpec]:
        about = {
            "long_name": "logarithm of the sound's power in mel bands",
            "units": "ln of power",
            "rate_hz": self._rate_hz / self._hop,
            "clock": "hop h is centred h / rate_hz seconds after the first frame",
        }
        return [
            ArraySpec(
                "log_mel",
                ("log_mel_hop", "log_mel_band"),
                (self._section.bands,),
                np.dtype(self._section.dtype),
                about,
                _HOPS_PER_CHUNK,
                _HOPS_PER_SHARD,
                axis="hop",
                kind="features",
                offset="log_mel_offset",
            ),
            _offset_spec("log_mel"),
        ]

    def push(self, batch: ArrayBatch) -> Arrays:
        if batch.array == TIMELINE:
            self._frame_seconds.append(batch.values)
            return NO_ARRAYS
        self._samples += len(batch)
        samples = batch.physical.astype(np.float32, copy=False)
        self._held = np.concatenate([self._held, samples])
        return self._computed()

    def finish(self) -> Iterable[Arrays]:
        hops = -(-self._samples // self._hop)
        missing = (hops - self._hops - 1) * self._hop + self._window - len(self._held)
        if hops > self._hops:
            self._held = np.pad(self._held, (0, max(0, missing)))
            yield self._computed(hops - self._hops)
        yield {"log_mel_offset": self._offsets(self._rate_hz / self._hop, self._hops)}

    def _computed(self, most: int | None = None) -> Arrays:
        from foveal.models.sound import log_mel

        hops = (len(self._held) - self._window) // self._hop + 1
        hops = hops if most is None else min(hops, most)
        if hops < 1:
            return NO_ARRAYS
        section, used = self._section, (hops - 1) * self._hop + self._window
        values = log_mel(
            self._held[:used],
            self._rate_hz,
            self._window,
            self._hop,
            section.bands,
            (section.low_hz, section.high_hz or self._rate_hz / 2),
            section.floor,
        )
        self._held = self._held[hops * self._hop :]
        self._hops += hops
        return {"log_mel": values.astype(section.dtype)}


def _offset_spec(array: str) -> ArraySpec:
    about = f"items of {array} of frame k are offset[k] … offset[k + 1] - 1"
    return numbers_spec(f"{array}_offset", "time_plus_1", about, "frame_plus_1", _OFFSETS_PER_CHUNK)
