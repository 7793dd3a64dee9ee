"""Timelines below the video: one value per frame, read in parts, and windows of frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError
from foveal.pipeline.view.opened import Video
from foveal.pipeline.view.scores import FRAMES_AT_ONCE, frame_scores, metrics_of
from foveal.pipeline.view.sound import sample_of_frame
from foveal.storage.reader import Store

MOST_FRAMES = 16_384
"""Frames per answer, at most."""

_READ_BYTES = 2 * 2**30
"""Largest size that is read of an array; of larger ones, only every n-th item is read."""

_PART_BYTES = 12 * 2**20


def tracks_of(video: Video) -> list[dict[str, Any]]:
    """List the timelines that the arrays of `video` allow.

    Returns
    -------
    list of dict
        ``id``, ``title``, ``form`` (``line``, ``steps``, ``band`` or ``windows``), ``unit``,
        ``part`` (frames per request) and ``note`` of each.
    """
    view = video.view
    tracks: list[dict[str, Any]] = []
    for stage, points in view.points.items():
        tracks.append(
            _track(f"points:{stage}", f"{stage} per frame", "steps", "", MOST_FRAMES)
            | {"note": f"{len(points.x):,} in all"}
        )
    for name in view.select("flow", axis="pair"):
        if not view.is_by_frame(name) or view.infos[name].item_shape[2:] != (2,):
            continue
        every = _every(video, name)
        tracks.append(
            _track(f"speed:{name}", f"{name}: mean motion", "line", "px", _part(video, name))
            | {"note": f"every {every}th pair is read" if every > 1 else ""}
        )
    for name in view.select("scalar"):
        info = view.infos[name]
        if info.role != "timeline" and not info.item_shape and view.is_by_frame(name):
            unit = str(view.array(name).attrs.get("units", ""))
            form = "steps" if info.role == "mask" or info.dtype == "bool" else "line"
            tracks.append(_track(f"scalar:{name}", name, form, unit, MOST_FRAMES))
    for name in view.select("waveform"):
        if view.infos[name].items:
            tracks.append(_track(f"sound:{name}", f"{name}: sound level", "band", "", 4096))
    starts = {info.starts for info in view.infos.values() if info.axis == "window"}
    for name in sorted(filter(None, starts & view.infos.keys())):
        arrays = sorted(info.name for info in view.infos.values() if info.starts == name)
        note = f"{view.infos[name].items:,} windows"
        tracks.append(
            _track(f"windows:{name}", f"windows of {arrays[0]}", "windows", "", 0) | {"note": note}
        )
    return tracks


def scores_of(video: Video) -> list[dict[str, Any]]:
    """List the timelines of metrics of `video`, with ``metric`` and ``arrays`` (predictions).

    This is no part of `tracks_of`, because it imports torch.
    """
    return [
        _track(f"score:{metric}", metric, "line", "", FRAMES_AT_ONCE)
        | {"metric": metric, "arrays": arrays}
        for metric, arrays in metrics_of(video.view).items()
    ]


def _track(name: str, title: str, form: str, unit: str, part: int) -> dict[str, Any]:
    return {"id": name, "title": title, "form": form, "unit": unit, "part": part, "note": ""}


def line(
    store: Store, video: Video, track: str, array: str, start: int, stop: int
) -> NDArray[np.float32]:
    """Read the values of a timeline.

    Parameters
    ----------
    store : Store
    video : Video
    track : str
        An ``id`` of `tracks_of` or `scores_of`, but not of windows.
    array : str
        The prediction, for scores.
    start, stop : int
        First frame, and the one after the last.

    Returns
    -------
    ndarray, float32 [frames]
        NaN where there is no value.

    Raises
    ------
    FovealError
        There is no such timeline, or the video has no such frames.
    """
    view = video.view
    kind, _, name = track.partition(":")
    there = scores_of(video) if kind == "score" else tracks_of(video)
    known = next((each for each in there if each["id"] == track), None)
    if known is None or known["form"] == "windows":
        raise FovealError(f"video {view.video!r} has no timeline {track!r}")
    if not 0 <= start < stop <= view.frames or stop - start > MOST_FRAMES:
        raise FovealError(
            f"video {view.video!r} has frames 0 to {view.frames - 1}, not {start} to {stop - 1}; "
            f"up to {MOST_FRAMES} at once"
        )
    values = np.full(stop - start, np.nan, np.float32)
    if kind == "points":
        values[:] = np.diff(view.points[name].offset[start : stop + 1])
    elif kind == "speed":
        _mean_speed(video, name, start, values)
    elif kind == "score":
        if array not in known["arrays"]:
            raise FovealError(f"video {view.video!r} has no prediction {array!r}")
        values[:] = frame_scores(store, video, array, name, start, stop)
    elif kind == "sound":
        _loudness(video, name, start, values)
    else:
        read = view.read(name, start, min(stop, view.infos[name].items))
        values[: len(read)] = read
    return values


def windows(video: Video, starts: str) -> dict[str, Any]:
    """Read the first frames of the windows in `starts`, and their length where it is stored."""
    view = video.view
    if f"windows:{starts}" not in {each["id"] for each in tracks_of(video)}:
        raise FovealError(f"video {view.video!r} has no windows {starts!r}")
    first = view.read(starts, 0, view.infos[starts].items).astype(int)
    parameters = view.parameters(starts)
    length = parameters.get("window")
    return {"starts": first.tolist(), "length": length if isinstance(length, int) else None}


def _item_bytes(video: Video, name: str) -> int:
    info = video.view.infos[name]
    return int(np.prod(info.item_shape)) * np.dtype(info.dtype).itemsize


def _every(video: Video, name: str) -> int:
    """Step between the items that are read, so that large arrays need up to `_READ_BYTES`."""
    return max(1, -(-_item_bytes(video, name) * video.view.infos[name].items // _READ_BYTES))


def _part(video: Video, name: str) -> int:
    """Frames per request: reading them takes a few hundredths of a second."""
    wanted = _PART_BYTES // max(1, _item_bytes(video, name)) * _every(video, name)
    return int(np.clip(wanted, 8, 4096))


def _mean_speed(video: Video, name: str, start: int, values: NDArray[np.float32]) -> None:
    """Write the mean motion in pixels of the flow's grid into `values`; samples are repeated."""
    view, every = video.view, _every(video, name)
    stop = min(start + len(values), view.infos[name].items)
    if every == 1:
        values[: max(0, stop - start)] = speeds(video.read_many(name, start, stop))
        return
    at = start
    while at < stop:
        following = min(stop, (at // every + 1) * every)
        first = at // every * every
        values[at - start : following - start] = speeds(video.read_many(name, first, first + 1))
        at = following


def speeds(flow: NDArray[Any]) -> NDArray[np.float32]:
    """Compute the mean magnitude of each field of `flow`, float32 [n], over its finite pixels."""
    speed = np.hypot(flow[..., 0].astype(np.float32), flow[..., 1].astype(np.float32))
    known = np.isfinite(speed)
    count = known.sum(axis=(1, 2))
    total = np.where(known, speed, 0).sum(axis=(1, 2))
    return np.where(count, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _loudness(video: Video, name: str, start: int, values: NDArray[np.float32]) -> None:
    """Write the largest amplitude during each frame into `values`."""
    view = video.view
    edges = sample_of_frame(video, name, np.arange(start, start + len(values) + 1))
    first, last = int(edges[0]), int(edges[-1])
    samples = np.abs(view.read(name, first, last).astype(np.float32))
    if view.infos[name].item_shape:
        samples = samples.reshape(len(samples), -1).max(axis=1)
    for n, (begin, end) in enumerate(zip(edges[:-1] - first, edges[1:] - first, strict=True)):
        if end > begin:
            values[n] = samples[begin:end].max()
