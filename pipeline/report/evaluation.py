"""What the report says of the latest evaluation: scores, and frames known best and worst."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError, StoreError
from foveal.pipeline.preview.panels import as_map
from foveal.pipeline.preview.view import VideoView
from foveal.pipeline.report.journal import utc
from foveal.pipeline.report.survey import Shot, shot_under
from foveal.storage.evaluation import read_evaluation
from foveal.storage.reader import Store
from foveal.storage.schema import EVALUATION

DRAWN_PREDICTIONS = 8
DRAWN_FRAMES = 3
"""Best frames, and as many worst ones, that are drawn of a prediction at most."""


def evaluation_of(store: Store) -> dict[str, Any] | None:
    """Scores of the latest `foveal evaluate`; None where there was none.

    Returns
    -------
    dict or None
        ``problem`` (why they cannot be read), or ``about``, ``metrics``, ``current`` (by
        contestant), ``old`` (names), ``without_baselines``, ``remarks``, ``extremes`` (by
        prediction, dicts of ``about``, ``kind``, ``nss`` and ``shots`` or ``problem``) and
        ``not_drawn``.
    """
    try:
        scores = read_evaluation(store.location)
    except StoreError as error:
        return {"problem": str(error)}
    if scores is None:
        return None
    try:
        return _shown(store, scores)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        return {
            "problem": f"{store.location}/{EVALUATION} holds no scores that can be shown "
            f"({error!r}); `foveal evaluate` computes them again"
        }


def _shown(store: Store, scores: Mapping[str, Any]) -> dict[str, Any]:
    if not scores["contestants"]:
        raise ValueError("it scores nothing")
    current = {name: entry for name, entry in scores["contestants"].items() if entry["up_to_date"]}
    drawn = [
        name for name, entry in current.items() if entry["best"] and _is_stored(store, name, entry)
    ]
    return {
        "problem": "",
        "about": _about(store, scores),
        "metrics": scores["metrics"],
        "current": current,
        "old": [name for name in scores["contestants"] if name not in current],
        "without_baselines": scores["without_baselines"],
        "remarks": scores.get("remarks", []),
        "extremes": {
            name: [
                _extreme(store, name, frame, kind)
                for kind in ("best", "worst")
                for frame in current[name][kind][:DRAWN_FRAMES]
            ]
            for name in drawn[:DRAWN_PREDICTIONS]
        },
        "not_drawn": len(drawn) - len(drawn[:DRAWN_PREDICTIONS]),
    }


def _is_stored(store: Store, name: str, entry: Mapping[str, Any]) -> bool:
    """Whether a contestant is a prediction in the store and no baseline."""
    video = entry["best"][0]["video"]
    try:
        info = store.infos(video).get(name)
    except StoreError:
        return False
    return info is not None and info.role == "prediction"


def _about(store: Store, scores: Mapping[str, Any]) -> str:
    split = scores["split"]
    there = int((store.videos.split == split).sum()) if split else len(store.videos)
    scored = max(len(entry["videos"]) for entry in scores["contestants"].values())
    where = f"split {split}" if split else "the store"
    mask = f", frames that count in {scores['mask']}" if scores["mask"] else ""
    return (
        f"{scored:,} of {there:,} videos of {where}{mask}; "
        f"metrics as {scores['variant']} defines them; "
        "mean over the frames of a video, then over videos. "
        f"Scored {utc(scores['evaluated_at'])} by `foveal evaluate`."
    )


def _extreme(store: Store, name: str, frame: Mapping[str, Any], kind: str) -> dict[str, Any]:
    about = f"{frame['video']} · frame {frame['frame']}"
    shown: dict[str, Any] = {"about": about, "kind": kind, "nss": frame["nss"], "problem": ""}
    try:
        return {
            **shown,
            "shots": _shots(VideoView(store, frame["video"]), name, frame["frame"], about),
        }
    except FovealError as error:
        return {**shown, "problem": str(error)}


def _shots(view: VideoView, name: str, frame: int, about: str) -> list[Shot]:
    """The frame under the density of the ground truth, and under the prediction."""
    maps = [each for each in (view.ground_truth_map, name) if each is not None]
    names = [*maps, *([view.ground] if view.ground else [])]
    moment = next(view.moments(names, view.checked([frame])))
    return [
        shot_under(view, moment, each, _stretched(moment.items[each]), f"{about} under {each}")
        for each in maps
    ]


def _stretched(values: NDArray[Any]) -> NDArray[np.float32]:
    """From 0 to 1; NSS does not change by this."""
    above = as_map(values) - np.float32(values.min())
    return np.asarray(above / max(above.max(), np.float32(1e-12)), np.float32)
