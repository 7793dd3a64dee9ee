"""Estimate the disk space and time of a build from a measurement on its first video."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from zarr.storage import MemoryStore

from foveal.errors import InputError
from foveal.pipeline.build.plan import VideoPlan
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.base import AUDIO, DECODE, FRAMES
from foveal.pipeline.stages.write import Batches, write_stages
from foveal.pipeline.video.audio import decode_audio
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.types import FrameBatch
from foveal.storage.location import Location


@dataclass(frozen=True)
class StageForecast:
    """What one stage will cost over all videos."""

    stage: str
    videos: int
    frames: int
    stored_bytes: int
    compute_seconds: float


@dataclass(frozen=True)
class Forecast:
    """What a build will cost.

    Attributes
    ----------
    stages : list of StageForecast
    wall_seconds : float
        Sum of the stages' computing and of decoding.
    free_bytes : int or None
        Free space at the store's place; None for object stores.
    basis : str
        What the figures were measured on.
    unreadable : dict of str to str
        Videos that cannot even be opened, with the reason.
    """

    stages: list[StageForecast]
    wall_seconds: float
    free_bytes: int | None
    basis: str
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def stored_bytes(self) -> int:
        return sum(stage.stored_bytes for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "stored_bytes": self.stored_bytes}


def estimate(recipe: Recipe, to_do: Sequence[VideoPlan]) -> Forecast:
    """Cost of the pending stages; opens every video, decodes a second of the first.

    Parameters
    ----------
    recipe : Recipe
    to_do : sequence of VideoPlan
    """
    frames: dict[str, int] = {}
    videos: dict[str, int] = {}
    unreadable: dict[str, str] = {}
    readable: list[tuple[VideoPlan, int]] = []
    for plan in to_do:
        try:
            info = plan.info
        except InputError as error:
            unreadable[plan.video.id] = str(error)
            continue
        length = info.frames or round((info.duration_seconds or 0) * info.fps)
        length = min(length, plan.video.max_frames or length)
        readable.append((plan, length))
        for stage in plan.pending:
            frames[stage] = frames.get(stage, 0) + plan.stages[stage].cost.items(length)
            videos[stage] = videos.get(stage, 0) + 1
    rates: dict[str, tuple[float, float]] = {}
    measured: list[str] = []
    for plan, length in readable:
        if set(plan.pending) <= rates.keys():
            continue
        try:
            rates |= _measure(plan, length)
            measured.append(plan.video.id)
        except InputError as error:
            unreadable[plan.video.id] = str(error)
    stages = []
    wall_seconds = 0.0
    for stage, count in frames.items():
        seconds, size = rates.get(stage, (0.0, 0.0))
        stages.append(
            StageForecast(stage, videos[stage], count, round(size * count), seconds * count)
        )
        wall_seconds += seconds * count
    wall_seconds += rates.get(DECODE, (0.0, 0.0))[0] * max(frames.values(), default=0)
    basis = f"the first frames of {', '.join(measured)}" if measured else "nothing to measure"
    return Forecast(stages, wall_seconds, _free_bytes(recipe.store), basis, unreadable)


def _measure(plan: VideoPlan, length: int) -> dict[str, tuple[float, float]]:
    """Seconds and stored bytes per unit of work, by stage, over the first frames."""
    started = time.monotonic()
    wanted = max([stage.cost.sample_frames for stage in plan.stages.values()])
    batches: list[FrameBatch] = []
    for batch in decode(plan.video, plan.info):
        batches.append(batch)
        if batch.stop >= wanted:
            break
    frames = np.concatenate([batch.frames for batch in batches])[:wanted]
    times = np.concatenate([batch.pts_seconds for batch in batches])[:wanted]
    rates = {DECODE: ((time.monotonic() - started) / len(frames), 0.0)}
    due = plan.prepared(plan.stages)

    def sample() -> Batches:
        for name in (DECODE, FRAMES):
            yield name, FrameBatch(0, frames, times), len(frames)
        if any(AUDIO in work.stage.inputs for work in due):
            for sound in decode_audio(plan.video):
                if sound.start_seconds > times[-1]:
                    break
                yield AUDIO, sound, 0

    write_stages(Location(MemoryStore()), plan.video.id, {}, due, sample())
    for work in due:
        assert work.mark is not None
        sampled = max(1, work.stage.cost.items(len(frames)))
        over = max(length, len(frames)) if work.stage.cost.whole else sampled
        seconds = work.compute_seconds + work.write_seconds
        rates[work.stage.name] = (seconds / over, work.mark.stored_bytes / sampled)
    return rates


def _free_bytes(store: str) -> int | None:
    local = Location(store, read_only=True).local
    if local is None:
        return None
    existing = next(path for path in (local.absolute(), *local.absolute().parents) if path.exists())
    return shutil.disk_usage(Path(existing)).free
