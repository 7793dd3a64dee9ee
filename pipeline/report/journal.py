"""Sum up the completion marks: time, disk space and devices of each stage, and gaze left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foveal.storage.marks import Mark


@dataclass
class StageSummary:
    """One stage over all videos.

    Attributes
    ----------
    name : str
    videos, frames : int
        Videos in which it is complete, and their length together.
    compute_seconds : float
        Spent computing, decoding and writing aside.
    stored_bytes : int
    devices : counter of str
        Videos by the device that computed them.
    parameters : list of dict
        Its settings; more than one entry where videos differ.
    by_random_weights : int
        Videos in which an untrained network computed it.
    """

    name: str
    videos: int = 0
    frames: int = 0
    compute_seconds: float = 0.0
    stored_bytes: int = 0
    devices: Counter[str] = field(default_factory=Counter)
    parameters: list[Mapping[str, Any]] = field(default_factory=list)
    by_random_weights: int = 0


@dataclass
class JournalSummary:
    """Sums over the marks of a store, so that no more than some of them are in memory at once.

    Attributes
    ----------
    compute_seconds : float
        Spent computing all stages of all videos.
    completed_at : list of str
        When the first and the last stage were completed; empty where none is.
    devices : set of str
        What computed any of them.
    """

    compute_seconds: float = 0.0
    completed_at: list[str] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)
    _stages: dict[str, StageSummary] = field(default_factory=dict)
    _excluded: Counter[str] = field(default_factory=Counter)
    _samples_read: int = 0

    def add(self, marks: Mapping[str, Mark]) -> None:
        """Count the marks of one video, given by stage."""
        infos = [info for mark in marks.values() for info in mark.infos.values()]
        frames = next((info.items for info in infos if info.role == "timeline"), 0)
        for name, mark in marks.items():
            about = mark.provenance
            seconds = about.get("compute_seconds", 0.0)
            stage = self._stages.setdefault(name, StageSummary(name))
            stage.videos += 1
            stage.frames += frames
            stage.compute_seconds += seconds
            stage.stored_bytes += mark.stored_bytes
            stage.devices[device(mark)] += 1
            stage.by_random_weights += mark.random_weights
            parameters = about.get("parameters", {})
            if parameters and parameters not in stage.parameters:
                stage.parameters.append(parameters)
            times = sorted([*self.completed_at, str(about["completed_at"])])
            self.completed_at = [times[0], times[-1]]
            self.compute_seconds += seconds
            self.devices.add(device(mark))
            self._excluded.update(about.get("excluded_samples", {}))
            self._samples_read += about.get("samples_read", 0)

    def stages(self) -> list[StageSummary]:
        """Every stage, the one that took longest first."""
        return sorted(self._stages.values(), key=lambda stage: (-stage.compute_seconds, stage.name))

    def excluded_samples(self) -> dict[str, Any] | None:
        """Gaze samples left out of the fixated points; None where none were.

        Returns
        -------
        dict or None
            ``counts`` by reason (a Counter), their ``total``, samples ``read`` in all (0: unknown)
            and ``whole``: what shares are of, the samples read where that is known.
        """
        total, read = self._excluded.total(), self._samples_read
        if not total:
            return None
        return {"counts": +self._excluded, "total": total, "read": read, "whole": read or total}


def device(mark: Mark) -> str:
    """Device that computed a stage; stages without one ran on the CPU."""
    return str(mark.provenance.get("device", "cpu"))


def utc(stamp: str) -> str:
    """A time stamp of the store for people."""
    return stamp.replace("T", " ").replace("Z", " UTC")
