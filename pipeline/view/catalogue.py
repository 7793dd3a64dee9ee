"""The list of a store's videos for the page, which stays up to date during a build."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from typing import Any

import pandas as pd

from foveal.errors import FovealError, StoreError
from foveal.storage.evaluation import read_evaluation, stored_scores
from foveal.storage.index import JSON_COLUMNS, index_is_current, read_index
from foveal.storage.reader import Store

_FRESH_SECONDS = 3.0
_SHARE = 10
"""A list is made again after this many times the time that it took."""


class Catalogue:
    """Videos of a store with their scores and warnings.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._made: dict[str, Any] | None = None
        self._next = 0.0
        self._lock = threading.Lock()
        self._working = threading.Lock()

    def read(self) -> dict[str, Any]:
        """Return the list as it was a few seconds ago; a thread makes an old one again.

        During a build, the first answer is the list from before the build, because reading the new
        marks of a large store takes long. ``stale`` then says that another list will follow.

        Returns
        -------
        dict
            ``store``, ``dataset``, ``version``, ``scores`` (``contestant`` and ``metric`` of each
            number in a row's ``scores``), ``videos``, ``problem``, ``stale``.

        Raises
        ------
        StoreError
            The store cannot be read, and there is no earlier list.
        """
        with self._lock:
            made, stale = self._made, time.monotonic() >= self._next
        if made is None:
            return self._former() or self._make()
        if stale and self._working.acquire(blocking=False):
            threading.Thread(target=self._make_aside, daemon=True).start()
        return made

    def _former(self) -> dict[str, Any] | None:
        """The list in the index, during a build; else None."""
        location = self._store.location
        if index_is_current(location):
            return None
        table = read_index(location)
        if table is None or table.empty:
            return None
        for column in JSON_COLUMNS:
            table[column] = [json.loads(text) for text in table[column]]
        made = _versioned({**_listed(self._store, table.set_index("video")), "stale": True})
        with self._lock:
            self._made = self._made or made
        return made

    def _make_aside(self) -> None:
        try:
            self._make()
        except FovealError as error:
            with self._lock:
                if self._made is not None:
                    self._made = _versioned({**self._made, "problem": str(error)})
                self._next = time.monotonic() + _FRESH_SECONDS
        finally:
            self._working.release()

    def _make(self) -> dict[str, Any]:
        began = time.monotonic()
        self._store.reload()
        made = _versioned({**_listed(self._store, self._store.videos), "stale": False})
        took = time.monotonic() - began
        with self._lock:
            self._made = made
            self._next = time.monotonic() + max(_FRESH_SECONDS, _SHARE * took)
        return made


def evaluation_state(store: Store) -> dict[str, Any]:
    """Say which stored scores of `store` are up to date, and when they were computed."""
    try:
        scores = read_evaluation(store.location)
    except StoreError as error:
        return {"problem": str(error)}
    if scores is None:
        return {}
    current = {name: entry["up_to_date"] for name, entry in scores["contestants"].items()}
    return {"evaluated_at": scores.get("evaluated_at"), "up_to_date": current}


def _versioned(made: Mapping[str, Any]) -> dict[str, Any]:
    content = {key: value for key, value in made.items() if key != "version"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {**content, "version": digest[:16]}


def _listed(store: Store, table: pd.DataFrame) -> dict[str, Any]:
    scores, problem = _scores(store)
    pairs = [
        (contestant, metric)
        for contestant, entry in scores.items()
        for metric in _metrics_in(entry)
    ]
    return {
        "store": str(store.location),
        "dataset": str(store.dataset),
        "problem": problem,
        "scores": [{"contestant": name, "metric": metric} for name, metric in pairs],
        "videos": [
            {
                **_row(str(video), row),
                "scores": [_mean(scores[name], str(video), metric) for name, metric in pairs],
            }
            for video, row in table.to_dict("index").items()
        ],
    }


def _row(video: str, row: Mapping[Any, Any]) -> dict[str, Any]:
    flags = [
        f"{stage}: {flag}"
        for stage, figures in row["flow_quality"].items()
        for flag in (figures.get("flags") or () if isinstance(figures, dict) else ())
    ]
    flags += [f"{stage}: random weights, only for trying out" for stage in row["random_weights"]]
    empty, frames = _known(row["empty_frames"]), _known(row["frames"])
    if empty and frames and empty > frames / 10:
        flags.append(f"{empty:,} of {frames:,} frames without a point")
    return {
        "video": video,
        "split": _known(row["split"]),
        "status": row["status"],
        "reason": _known(row["reason"]) or "",
        "frames": frames,
        "seconds": _known(row["duration_seconds"]),
        "size": [_known(row["width_px"]), _known(row["height_px"])],
        "points": _known(row["fixations"]),
        "flags": [str(flag) for flag in flags],
    }


def _known(value: Any) -> Any:
    """A value of a table as a JSON type; None where it is missing."""
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value


def _scores(store: Store) -> tuple[Mapping[str, Any], str]:
    try:
        found = stored_scores(store.location)
    except StoreError as error:
        return {}, str(error)
    return ({} if found is None else found["contestants"]), ""


def _metrics_in(entry: Mapping[str, Any]) -> list[str]:
    for of_video in entry["videos"].values():
        return [str(metric) for metric in of_video.get("metrics", {})]
    return []


def _mean(entry: Mapping[str, Any], video: str, metric: str) -> float | None:
    of_video = entry["videos"].get(video, {})
    mean = of_video.get("metrics", {}).get(metric, {}).get("mean")
    return float(mean) if isinstance(mean, int | float) else None
