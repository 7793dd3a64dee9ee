"""What the completion marks tell of the stages: time, disk, devices, gaze left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foveal.storage.marks import Mark

Journal = Mapping[str, Mapping[str, Mark]]
"""Marks by video and stage."""


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


def stage_summaries(journal: Journal) -> list[StageSummary]:
    """Every stage of a store, the one that took longest first."""
    found: dict[str, StageSummary] = {}
    for marks in journal.values():
        infos = [info for mark in marks.values() for info in mark.infos.values()]
        frames = next((info.items for info in infos if info.role == "timeline"), 0)
        for name, mark in marks.items():
            stage = found.setdefault(name, StageSummary(name))
            stage.videos += 1
            stage.frames += frames
            stage.compute_seconds += mark.provenance.get("compute_seconds", 0.0)
            stage.stored_bytes += mark.stored_bytes
            stage.devices[device(mark)] += 1
            stage.by_random_weights += mark.random_weights
            parameters = mark.provenance.get("parameters", {})
            if parameters and parameters not in stage.parameters:
                stage.parameters.append(parameters)
    return sorted(found.values(), key=lambda stage: (-stage.compute_seconds, stage.name))


def device(mark: Mark) -> str:
    """What computed a stage; stages that do not say ran on the CPU."""
    return str(mark.provenance.get("device", "cpu"))


def excluded_samples(journal: Journal) -> dict[str, Any] | None:
    """Gaze samples left out of the fixated points; None where none were.

    Returns
    -------
    dict or None
        ``counts`` by reason (a Counter), their ``total``, samples ``read`` in all (0: unknown) and
        ``whole``: what shares are of, the samples read where that is known.
    """
    counts: Counter[str] = Counter()
    read = 0
    for marks in journal.values():
        for mark in marks.values():
            counts.update(mark.provenance.get("excluded_samples", {}))
            read += mark.provenance.get("samples_read", 0)
    total = counts.total()
    return (
        {"counts": +counts, "total": total, "read": read, "whole": read or total} if total else None
    )


def utc(stamp: str) -> str:
    """A stamp of the store for people."""
    return stamp.replace("T", " ").replace("Z", " UTC")
