"""This module chooses which moments the figures show, and draws the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from foveal.pipeline.compare.figures import Row, difference, over_time, sheet
from foveal.pipeline.compare.moments import FRAME, TRUTH, shown_moments
from foveal.pipeline.preview.view import VideoView
from foveal.storage.marks import group_name
from foveal.storage.reader import Store

ENDS = 2
"""Number of videos shown at each end of the differences."""

APART = 0.1
"""Smallest distance between peaks, as a share of the video."""

Means = dict[str, dict[str, float]]
"""By video and model; models without a score are left out."""


@dataclass
class Work:
    """What the figures are drawn from.

    Attributes
    ----------
    store : Store
    models : list of str
    metric, label : str
        Name of the metric, and its label in figures.
    higher_is_better : bool
    scores : mapping
        By video and model, the score of each frame, float64, NaN where it has none.
    views : dict
        Open videos, by id.
    """

    store: Store
    models: list[str]
    metric: str
    label: str
    higher_is_better: bool
    scores: Mapping[str, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)
    views: dict[str, VideoView] = field(default_factory=dict)

    def view(self, video: str) -> VideoView:
        """Return an open video."""
        if video not in self.views:
            self.views[video] = VideoView(self.store, video)
        return self.views[video]

    def rows(self, video: str, frames: Sequence[int], labels: Sequence[str] = ()) -> list[Row]:
        """Return moments of a video, with the frames' scores below the models' pictures."""
        view = self.view(video)
        rows = []
        for place, shown in enumerate(shown_moments(view, self.models, frames)):
            at = f"{shown.seconds:.2f} s\nframe {shown.frame}"
            below = {
                model: f"{self.label} {score:.2f}" if np.isfinite(score) else "no score"
                for model, of in self.scores.get(video, {}).items()
                for score in (of[shown.frame],)
            }
            label = labels[place] if labels else f"{video}\n{at}"
            rows.append(Row(shown, label, below))
        return rows

    def means(self) -> Means:
        """Return the mean score over the frames of each video."""
        return {
            video: {
                model: float(np.nanmean(scores))
                for model, scores in of.items()
                if np.isfinite(scores).any()
            }
            for video, of in self.scores.items()
        }


def draw_figures(
    work: Work,
    drawn: Sequence[str],
    frames: int,
    pair: tuple[str, str] | None,
    means: Means,
) -> dict[str, Figure]:
    """Return all figures by name, see `foveal.pipeline.compare.compare.compare`."""
    columns = [FRAME, TRUTH, *work.models]
    rows = [row for video in drawn for row in work.rows(video, work.view(video).spread(frames))]
    figures = {"sheet": sheet(rows, columns, f"{work.store.dataset}: {work.label} below each map")}
    if pair is not None:
        both = {
            video: (of[pair[0]], of[pair[1]]) for video, of in means.items() if {*pair} <= {*of}
        }
        if both:
            ends = [
                row for video in _ends(both) for row in _most_apart(work, video, pair, both[video])
            ]
            figures["difference"] = difference(
                both, pair, work.label, ends, work.models, higher_is_better=work.higher_is_better
            )
    for video in drawn:
        scores = work.scores.get(video)
        if scores and any(np.isfinite(each).any() for each in scores.values()):
            peaks = peak_frames(scores, pair, higher_is_better=work.higher_is_better)
            labels = [f"{letter}  {why}" for letter, (_, why) in zip("abcdef", peaks, strict=False)]
            shown = work.rows(video, [frame for frame, _ in peaks], labels)
            figures[f"time_{group_name(video)}"] = over_time(
                video, work.view(video).seconds, scores, work.label, shown
            )
    return figures


def _ends(both: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the videos with the greatest differences, then those with the least, each once."""
    ranked = sorted(both, key=lambda video: both[video][1] - both[video][0])
    count = min(ENDS, (len(ranked) + 1) // 2)
    return list(dict.fromkeys([*ranked[:count], *ranked[len(ranked) - count :]]))


def _most_apart(
    work: Work, video: str, pair: tuple[str, str], means: tuple[float, float]
) -> list[Row]:
    """Return the moment of a video at which its models differ most, as their means do."""
    gaps = work.scores[video][pair[0]] - work.scores[video][pair[1]]
    sign = 1.0 if means[0] >= means[1] else -1.0
    if not np.isfinite(gaps).any():
        return []
    frame = int(np.nanargmax(sign * gaps))
    return work.rows(video, [frame], [f"{video}\n{means[0] - means[1]:+.3f}\nframe {frame}"])


def peak_frames(
    scores: Mapping[str, NDArray[np.float64]],
    pair: tuple[str, str] | None,
    *,
    higher_is_better: bool = True,
) -> list[tuple[int, str]]:
    """Return notable frames in order, and why: extremes of a model, or of the gap of two models.

    Parameters
    ----------
    scores : mapping of str to ndarray, float64 [frames]
        By model, NaN where there is none.
    pair : (str, str), optional
        With two models: where each leads most, if it ever does; and the best and worst frame of
        the first.
    higher_is_better : bool
    """
    scores = {model: of if higher_is_better else -of for model, of in scores.items()}
    first = pair[0] if pair else next(iter(scores))
    name = first.removeprefix("saliency_")
    searched = [(scores[first], f"{name} best"), (-scores[first], f"{name} worst")]
    if pair is not None:
        gaps = scores[pair[0]] - scores[pair[1]]
        second = pair[1].removeprefix("saliency_")
        searched = [(gaps, f"{name} ahead"), (-gaps, f"{second} ahead"), *searched]
    apart = max(1, round(APART * len(scores[first])))
    found: list[tuple[int, str]] = []
    for values, why in searched:
        left = values.copy()
        for frame, _ in found:
            left[max(0, frame - apart + 1) : frame + apart] = np.nan
        if np.isfinite(left).any() and not (why.endswith("ahead") and np.nanmax(left) <= 0):
            found.append((int(np.nanargmax(left)), why))
    return sorted(found)
