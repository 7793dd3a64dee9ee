"""Describe a video to the page: its layers, timelines and sounds, by the kind of each array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from foveal.pipeline.preview.panels import observer_colours
from foveal.pipeline.view.opened import Video
from foveal.pipeline.view.pictures import forms_of
from foveal.pipeline.view.timelines import tracks_of
from foveal.storage.kinds import ArrayInfo

_QUICK_ABOVE_BYTES = 2**19
"""Larger pictures are played as JPEG; when the video stops, the exact picture is shown."""

_BATCH_BYTES = 8 * 2**20
_ORDER = ("picture", "flow", "arrows", "heat")


def manifest(video: Video) -> dict[str, Any]:
    """Describe `video`: everything that the page must know before it requests items.

    Returns
    -------
    dict
        ``video``, ``version``, ``split``, ``frames``, ``fps``, ``source_size``, ``source_file``,
        ``about``, ``layers`` (from bottom to top), ``tracks``, ``sounds`` and ``missing``, in JSON
        types.
    """
    view = video.view
    return {
        "video": view.video,
        "version": video.version,
        "split": view.about.get("split"),
        "frames": view.frames,
        "fps": float(view.about["fps"]),
        "source_size": list(view.source_size),
        "source_file": str(view.about.get("source_file") or ""),
        "about": view.length,
        "layers": _layers(video),
        "tracks": tracks_of(video),
        "sounds": [
            info.name for info in view.infos.values() if info.kind == "waveform" and info.items
        ],
        "missing": view.missing,
    }


def _layers(video: Video) -> list[dict[str, Any]]:
    view = video.view
    found = []
    for name, info in sorted(view.infos.items()):
        found += [_raster(video, info, form) for form in forms_of(video, name)]
    found.sort(key=lambda layer: _place(view.ground, layer))
    for stage, points in view.points.items():
        colours = observer_colours(len(points.subjects))
        found.append(
            {
                "id": stage,
                "form": "points",
                "arrays": list(points.arrays),
                "stage": stage,
                "observers": list(points.subjects),
                "colours": [f"#{bytes(each).hex()}" for each in colours],
                "note": _observers(len(points.subjects)),
                "shown": True,
            }
        )
    masks = view.select("scalar", axis="frame", role="mask")
    found += [{"id": name, "form": "mask", "arrays": [name], "note": "by frame"} for name in masks]
    return found


def _raster(video: Video, info: ArrayInfo, form: str) -> dict[str, Any]:
    view = video.view
    height, width = _grid(info)
    item_bytes = int(np.prod(info.item_shape)) * np.dtype(info.dtype).itemsize
    chunk = view.array(info.name).chunks[0]
    step = max(1, min(16, _BATCH_BYTES // max(1, item_bytes)))
    layer: dict[str, Any] = {
        "id": f"arrows:{info.name}" if form == "arrows" else info.name,
        "form": form,
        "arrays": [info.name],
        "stage": info.stage,
        "role": info.role,
        "kind": info.kind,
        "grid": [height, width],
        "items": info.items,
        "batch": step // chunk * chunk or step,
        "quick": form == "picture" and item_bytes > _QUICK_ABOVE_BYTES,
        "note": f"{width}×{height}",
        "units": str(view.array(info.name).attrs.get("units", "")),
        "shown": info.name == view.ground or info.name == view.ground_truth_map,
    }
    if not view.is_by_frame(info.name):
        first = view.first_frames(info.name)
        layer["first_frames"] = [] if first is None else first.tolist()
    return layer


def _observers(count: int) -> str:
    return f"{count} observer{'' if count == 1 else 's'}"


def _grid(info: ArrayInfo) -> tuple[int, int]:
    sides = list(info.item_shape)
    if info.kind not in ("picture", "flow") and len(sides) == 3:
        sides.pop(int(np.argmin(sides)))
    return sides[0], sides[1]


def _place(ground: str | None, layer: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort key: the background picture first, ground truth before predictions, then by name."""
    role = {"ground_truth": 0, "prediction": 1}.get(layer["role"], 2)
    return (layer["id"] != ground, _ORDER.index(layer["form"]), role, layer["id"])
