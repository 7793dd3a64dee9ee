"""An audio stage: how loud each frame's stretch of sound is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from foveal.pipeline.recipe.section import StageSection
from foveal.pipeline.stages.base import (
    AUDIO,
    NO_ARRAYS,
    Arrays,
    PlainStage,
    Stage,
    StageRequest,
)
from foveal.pipeline.stages.frames import TIMELINE
from foveal.pipeline.video.types import ArrayBatch, AudioBatch
from foveal.storage.schema import ArraySpec


class LoudnessSection(StageSection):
    """Section ``loudness`` of the recipe."""

    def make(self, request: StageRequest) -> Sequence[Stage]:
        return [LoudnessStage()]


class LoudnessStage(PlainStage):
    """``loudness``: root mean square of the samples until the next frame; 0 without sound."""

    name = "loudness"
    inputs = (TIMELINE, AUDIO)
    arrays = ("loudness",)

    def __init__(self) -> None:
        self._frame_seconds: list[np.ndarray] = []
        self._sounds: list[AudioBatch] = []

    def outputs(self) -> Sequence[ArraySpec]:
        about = {"long_name": "loudness", "units": "root mean square of samples in [-1, 1]"}
        return [
            ArraySpec(
                "loudness", ("time",), (), np.dtype(np.float32), about, axis="frame", kind="scalar"
            )
        ]

    def push(self, batch: ArrayBatch | AudioBatch) -> Arrays:
        if isinstance(batch, AudioBatch):
            self._sounds.append(batch)
        else:
            self._frame_seconds.append(batch.values)
        return NO_ARRAYS

    def finish(self) -> Iterable[Arrays]:
        frames = np.concatenate(self._frame_seconds)
        energy, count = np.zeros(len(frames)), np.zeros(len(frames))
        for sound in self._sounds:
            seconds = sound.start_seconds + np.arange(len(sound)) / sound.rate_hz
            frame = np.searchsorted(frames, seconds, side="right") - 1
            heard = frame >= 0
            np.add.at(energy, frame[heard], sound.samples[heard].astype(float) ** 2)
            np.add.at(count, frame[heard], 1)
        loudness = np.sqrt(energy / np.maximum(count, 1))
        return [{"loudness": loudness.astype(np.float32)}]
