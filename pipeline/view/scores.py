"""Score a video's predictions frame by frame, as `foveal evaluate` does."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.pipeline.preview.view import VideoView
from foveal.pipeline.view.opened import Video
from foveal.storage.reader import Store

FRAMES_AT_ONCE = 64
"""Frames that are scored together."""

_ONE_AT_A_TIME = threading.Lock()
"""Held while frames are scored, which uses all cores."""

_OF_ALL_VIDEOS = "other_fixations"
"""Need of metrics that read all videos of the store; they are left out here."""


def metrics_of(view: VideoView) -> dict[str, list[str]]:
    """List the metrics that need only one video, each with the predictions of `view` to score."""
    predictions = view.select("map", axis="frame", role="prediction")
    whole = [name for name in predictions if view.is_by_frame(name)]
    if not whole or view.ground_truth_map != "density" or not view.points:
        return {}
    from foveal.models.metrics import find_metric, names

    return {name: whole for name in names() if _OF_ALL_VIDEOS not in find_metric(name).needs}


def frame_scores(
    store: Store, video: Video, prediction: str, metric: str, start: int, stop: int
) -> NDArray[np.float64]:
    """Score frames `start` to `stop` - 1 of a `prediction` by a `metric`; NaN without a score.

    Raises
    ------
    StoreError
        The video has no ground truth or no such prediction.
    """
    from foveal.models.metrics import ScoreTable
    from foveal.pipeline.learn.baselines import stored
    from foveal.pipeline.learn.ground_truth import Truth

    def of(first: int) -> NDArray[np.float64]:
        table = ScoreTable([metric])
        truth: Any = video.once("ground truth", lambda: Truth(store, video.view.video))
        contest = stored(prediction)(truth, first, min(first + FRAMES_AT_ONCE, truth.frames))
        scores = table.update(
            video.view.video, contest.saliency, contest.fixations, contest.density
        )
        return scores[metric]

    begin = start // FRAMES_AT_ONCE * FRAMES_AT_ONCE
    parts = []
    with _ONE_AT_A_TIME:
        for first in range(begin, stop, FRAMES_AT_ONCE):
            key = ("score", prediction, metric, first)
            parts.append(video.once(key, functools.partial(of, first)))
    return np.concatenate(parts)[start - begin : stop - begin]
