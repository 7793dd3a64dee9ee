"""This module holds the result of an evaluation: tables, and the scores of single frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.models.metrics import ScoreTable

_EXTREMES = 5
_APART_FRAMES = 25
"""Best and worst frames of one video are at least so far apart: neighbours look alike."""


@dataclass(frozen=True)
class Frame:
    """A frame and its NSS.

    Attributes
    ----------
    video : str
    frame : int
    nss : float
    """

    video: str
    frame: int
    nss: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of several contestants on the same frames.

    Attributes
    ----------
    store : str
        URL of the store.
    split : str or None
        The split that was scored; None for all videos.
    metrics : tuple of str
        Names of the metrics.
    variant : str
        Whose definitions of the metrics were used.
    tables : mapping of str to mapping
        By contestant, what `ScoreTable.table` returns.
    best, worst : mapping of str to list of Frame
        By contestant, the frames with the highest and the lowest NSS, at least 25 frames apart.
    without_baselines : mapping of str to str
        Baselines that the store cannot give, and why.
    made_from : mapping of str to sequence of str
        By contestant, videos that it was made from, besides those scored.
    inputs_sha256 : mapping of str to str
        By contestant, see `foveal.storage.evaluation.inputs_sha256`.
    frames : mapping of str to mapping
        By contestant, video and metric, the scores of all frames, float64 [frames], NaN where a
        frame is excluded.
    remarks : tuple of str
        How the scores differ from those of whom the variant names.
    """

    store: str
    split: str | None
    metrics: tuple[str, ...]
    variant: str
    tables: Mapping[str, Mapping[str, Any]]
    best: Mapping[str, list[Frame]]
    worst: Mapping[str, list[Frame]]
    without_baselines: Mapping[str, str]
    made_from: Mapping[str, Sequence[str]]
    inputs_sha256: Mapping[str, str]
    frames: Mapping[str, Mapping[str, Mapping[str, NDArray[np.float64]]]]
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the scores of single frames as JSON values."""
        return {
            "store": self.store,
            "split": self.split,
            "variant": self.variant,
            "metrics": list(self.metrics),
            "contestants": {
                name: {
                    **table,
                    "best": [vars(frame) for frame in self.best[name]],
                    "worst": [vars(frame) for frame in self.worst[name]],
                    "made_from": list(self.made_from.get(name, ())),
                    "inputs_sha256": self.inputs_sha256[name],
                }
                for name, table in self.tables.items()
            },
            "without_baselines": dict(self.without_baselines),
            "remarks": list(self.remarks),
        }

    def to_csv(self) -> str:
        """Return a row per contestant and video, and two of means; column ``of`` says which."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["contestant", "of", "video", *self.metrics])
        for name, table in self.tables.items():
            for average in ("mean_of_videos", "mean_of_frames"):
                means = [table["dataset"][metric][average] for metric in self.metrics]
                writer.writerow([name, average, "", *means])
            for video, entry in table["videos"].items():
                means = [entry["metrics"][metric]["mean"] for metric in self.metrics]
                writer.writerow([name, "video", video, *means])
        return text.getvalue()


def ranked(table: ScoreTable, videos: Sequence[str]) -> list[Frame]:
    """Return frames by falling NSS; none where NSS was not computed."""
    if "nss" not in table.metrics:
        return []
    frames = [
        Frame(video, int(frame), float(score))
        for video in videos
        for frame, score in enumerate(table.per_frame(video)["nss"])
        if not np.isnan(score)
    ]
    return sorted(frames, key=lambda each: -each.nss)


def first_apart(frames: Sequence[Frame]) -> list[Frame]:
    """Return the first few frames that are not near an earlier one."""
    kept: list[Frame] = []
    for frame in frames:
        near = (
            other.video == frame.video and abs(other.frame - frame.frame) < _APART_FRAMES
            for other in kept
        )
        if not any(near):
            kept.append(frame)
        if len(kept) == _EXTREMES:
            break
    return kept
