"""The report on the latest evaluation: scores, and frames that a prediction knew best and worst."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError, StoreError
from foveal.pipeline.preview.panels import Picture, backdrop, heat, resized
from foveal.pipeline.preview.view import VideoView
from foveal.pipeline.report.page import image, prose, section, table, text
from foveal.pipeline.report.survey import CARD_WIDTH_PX
from foveal.storage.evaluation import read_evaluation
from foveal.storage.reader import Store

DRAWN_PREDICTIONS = 8
DRAWN_FRAMES = 3
"""Best frames, and as many worst ones, that are drawn of a prediction at most."""

_AVERAGE = "mean_of_videos"
_PREDICTION = "saliency_"


def evaluation_section(store: Store) -> str:
    """Scores of the latest `foveal evaluate`; empty where there was none."""
    try:
        scores = read_evaluation(store.location)
    except StoreError as error:
        return section("Evaluation", f'<div class="box trouble bad"><p>{text(error)}</p></div>')
    if scores is None:
        return ""
    current = {name: entry for name, entry in scores["contestants"].items() if entry["up_to_date"]}
    old = [name for name in scores["contestants"] if name not in current]
    parts = [_old(store, old)] if old else []
    parts += [_table(scores["metrics"], current)] if current else []
    parts += [
        f'<p class="faint">No {text(name)}: {prose(why)}</p>'
        for name, why in scores["without_baselines"].items()
    ]
    shown = [name for name in current if name.startswith(_PREDICTION) and current[name]["best"]]
    parts += [_extremes(store, name, current[name]) for name in shown[:DRAWN_PREDICTIONS]]
    if len(shown) > DRAWN_PREDICTIONS:
        parts.append(f'<p class="faint">Frames of the first {DRAWN_PREDICTIONS} predictions.</p>')
    return section("Evaluation", "".join(parts), _about(store, scores))


def _about(store: Store, scores: Mapping[str, Any]) -> str:
    split = scores["split"]
    there = int((store.videos.split == split).sum()) if split else len(store.videos)
    scored = max(len(entry["videos"]) for entry in scores["contestants"].values())
    where = f"split {split}" if split else "the store"
    mask = f", frames that count in {scores['mask']}" if scores["mask"] else ""
    moment = scores["evaluated_at"].replace("T", " ").replace("Z", " UTC")
    return (
        f"{scored:,} of {there:,} videos of {where}{mask}; "
        f"metrics as {scores['variant']} defines them; "
        "mean over the frames of a video, then over videos. "
        f"Scored {moment} by `foveal evaluate`."
    )


def _old(store: Store, names: list[str]) -> str:
    listed = ", ".join(names)
    advice = (
        f"Scores of {listed} are out of date: the prediction or the ground truth has been written "
        f"anew since, or is gone. `foveal evaluate {store.location}` scores them again."
    )
    return f'<div class="box trouble"><p class="bad">{prose(advice)}</p></div>'


def _table(metrics: list[str], entries: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [text(name), *(_score(entry["dataset"][metric][_AVERAGE]) for metric in metrics)]
        for name, entry in entries.items()
    ]
    return table(("", *metrics), rows, range(1, len(metrics) + 1))


def _score(value: float | None) -> str:
    return '<td class="n faint">undefined</td>' if value is None else f"{value:.3f}"


def _extremes(store: Store, name: str, entry: Mapping[str, Any]) -> str:
    boxes = "".join(
        _card(store, name, frame, kind)
        for kind in ("best", "worst")
        for frame in entry[kind][:DRAWN_FRAMES]
    )
    about = (
        "Best and worst frames by NSS. Left the density of the ground truth, right the prediction, "
        "each from its least value to its greatest."
    )
    return (
        f'<h3>{text(name)}</h3><p class="faint">{text(about)}</p><div class="cards">{boxes}</div>'
    )


def _card(store: Store, name: str, frame: Mapping[str, Any], kind: str) -> str:
    about = f"{frame['video']} · frame {frame['frame']}"
    try:
        view = VideoView(store, frame["video"])
        drawn = image(_picture(view, name, frame["frame"]), f"{about} under {name}")
    except FovealError as error:
        drawn = f'<p class="bad">{text(error)}</p>'
    return (
        f'<div class="box">{drawn}<div class="curve"><span>{text(about)}</span>'
        f"<span>{kind} · NSS {frame['nss']:.2f}</span></div></div>"
    )


def _picture(view: VideoView, name: str, frame: int) -> Picture:
    """The frame under the density of the ground truth, and beside it under the prediction."""
    height, width = view.source_size
    size = (max(2, round(CARD_WIDTH_PX * height / width)), CARD_WIDTH_PX)
    names = [array for array in ("frames", "density", name) if array in view.names]
    moment = next(view.moments(names, view.checked([frame])))
    halves = [
        heat(backdrop(moment, size), resized(_stretched(moment.items[array]), size))
        for array in ("density", name)
    ]
    return np.concatenate(halves, axis=1)


def _stretched(values: NDArray[Any]) -> NDArray[np.float32]:
    """From 0 to 1; NSS does not change by this."""
    above = values.astype(np.float32) - np.float32(values.min())
    return np.asarray(above / max(above.max(), np.float32(1e-12)), np.float32)
