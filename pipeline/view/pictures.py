"""Items of arrays as pictures that a browser draws: exact pixels, maps and motion in colours."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveal.errors import FovealError
from foveal.models.flow.color import UNKNOWN_PX, flow_to_color
from foveal.pipeline.preview.panels import (
    as_map,
    drawn_as,
    flow_scale,
    heat_colours,
    heat_opacity,
    heat_scale,
    resized,
)
from foveal.pipeline.view.opened import OpenVideos, Video

MOST_ITEMS = 64
"""Items that one answer holds at most."""

ARROWS_ACROSS = 28
"""Arrows in a row, at most."""

THUMBNAIL_PX = (90, 160)
"""Height and width that thumbnails fit into."""

_JPEG_QUALITY = 92
_PNG_LEVEL = 1
_PNG_OPTIONS = [
    *(cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
]
_DARKENED = 0.75


def pack(parts: Sequence[bytes]) -> bytes:
    """Several objects as one: their number, their lengths (uint32, little endian), their bytes."""
    return struct.pack(f"<{len(parts) + 1}I", len(parts), *map(len, parts)) + b"".join(parts)


def drawn(
    videos: OpenVideos, video: Video, name: str, form: str, start: int, stop: int, *, exact: bool
) -> list[bytes]:
    """Items of an array, each as one object.

    Parameters
    ----------
    videos : OpenVideos
    video : Video
    name : str
        A complete array.
    form : {'picture', 'heat', 'flow', 'arrows'}
        As the manifest has it. Pictures become PNG, or JPEG where not `exact`; maps PNG with a
        palette whose opacity rises with the value; flow PNG in the Middlebury colours, opaque where
        motion is as fast as the scale's end; arrows uint16 rows and columns, then float32
        [rows, columns, 2], motion in pixels of the flow's own grid, the mean of each cell.
    start, stop : int
        Items; those beyond the end are left out.
    exact : bool

    Raises
    ------
    FovealError
        Where the array cannot be drawn in this form.
    """
    if form not in forms_of(video, name):
        raise FovealError(f"{name!r} of video {video.view.video!r} cannot be drawn as {form!r}")
    if not 0 <= start < stop <= start + MOST_ITEMS:
        raise FovealError(f"items {start} to {stop} are not up to {MOST_ITEMS} in rising order")
    items = videos.read(video, name, start, stop)
    if form == "picture":
        return [encoded(item, exact) for item in items]
    if form == "heat":
        low, high = scale_of(video, name)
        return [_heat(item, low, high) for item in items]
    if form == "flow":
        _, fastest = scale_of(video, name)
        return [encoded(motion_colours(item.astype(np.float32), fastest), True) for item in items]
    return [_arrows(item.astype(np.float32)) for item in items]


def forms_of(video: Video, name: str) -> tuple[str, ...]:
    """The forms in which an array of frames, pairs or windows may be drawn; none for others."""
    form = drawn_as(video.view, name, by_frame=False)
    if form is None or _first_frames(video, name) is None:
        return ()
    return ("flow", "arrows") if form == "flow" else (form,)


def _first_frames(video: Video, name: str) -> NDArray[np.int64] | None:
    return video.once(("first frames", name), lambda: video.view.first_frames(name))


def scale_of(video: Video, name: str) -> tuple[float, float]:
    """What the ends of an array's colour scale stand for, by a sample of the whole video."""

    def sampled() -> tuple[float, float]:
        frames = range(video.view.infos[name].items)
        if drawn_as(video.view, name, by_frame=False) == "flow":
            return 0.0, flow_scale(video.view, name, frames)
        return heat_scale(video.view, name, frames)

    return video.once(("scale", name), sampled)


def motion_colours(flow: NDArray[np.float32], fastest_px: float) -> NDArray[np.uint8]:
    """Flow in the Middlebury colours, uint8 [height, width, 4], to lie upon a picture.

    Upon white it is what `flow_to_color` gives: slower motion is paler there, and lets more of the
    picture through here.
    """
    speed = np.hypot(flow[..., 0], flow[..., 1])
    known = np.all(np.abs(flow) <= UNKNOWN_PX, axis=-1)
    moves = known & (speed > 0)
    direction = np.where(moves[..., None], flow, 1) / np.where(moves, speed, np.sqrt(2))[..., None]
    # A hair below 1, so that rounding takes none of them for faster than the scale.
    hue = flow_to_color((direction * 0.999).astype(np.float32), 1.0)
    share = np.where(known, speed / np.float32(fastest_px), 0)
    hue = np.where((share > 1)[..., None], hue * _DARKENED, hue)
    hue = np.where(known[..., None], hue, 0)
    alpha = np.where(known, np.clip(share, 0, 1), 1)[..., None] * 255
    return np.asarray(np.rint(np.concatenate([hue, alpha], axis=-1)), np.uint8)


def thumbnail(video: Video) -> bytes | None:
    """The middle frame as a small JPEG, or the map of where people looked; None without both."""
    view = video.view
    name = view.ground or view.ground_truth_map
    if name is None:
        return None
    middle = min(view.frames // 2, view.infos[name].items - 1)
    item = view.read(name, middle, middle + 1)[0]
    if name != view.ground:
        low, high = scale_of(video, name)
        level = np.nan_to_num((as_map(item) - low) / ((high - low) or 1)).clip(0, 1)
        item = heat_colours(0.0)[(level * 255).astype(np.uint8)]
    height, width = view.source_size
    shrink = min(THUMBNAIL_PX[0] / height, THUMBNAIL_PX[1] / width)
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    return encoded(resized(item, size), exact=False)


def encoded(picture: NDArray[Any], exact: bool) -> bytes:
    """A picture uint8 [height, width, 3 or 4] as PNG, or as JPEG where not `exact`."""
    channels = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[picture.shape[-1]]
    how = (".png", _PNG_OPTIONS) if exact else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    done, content = cv2.imencode(how[0], cv2.cvtColor(picture, channels), how[1])
    if not done:
        raise FovealError(f"a picture of shape {picture.shape} cannot be encoded")
    return content.tobytes()


def _heat(item: NDArray[Any], low: float, high: float) -> bytes:
    level = np.nan_to_num((as_map(item) - low) / np.float32((high - low) or 1)).clip(0, 1)
    index = (level * 255).astype(np.uint8)
    image = Image.frombytes("P", index.shape[::-1], index.tobytes())
    palette, opacity = _heat_palette()
    image.putpalette(palette)
    content = io.BytesIO()
    image.save(content, "PNG", transparency=opacity, compress_level=_PNG_LEVEL)
    return content.getvalue()


@functools.cache
def _heat_palette() -> tuple[bytes, bytes]:
    opacity = np.rint(heat_opacity(np.linspace(0, 1, 256, dtype=np.float32)) * 255)
    return heat_colours().tobytes(), opacity.astype(np.uint8).tobytes()


def warm_up() -> None:
    """Load what draws maps, before the first of them is waited for."""
    _heat_palette()


def _arrows(flow: NDArray[np.float32]) -> bytes:
    height, width = flow.shape[:2]
    columns = min(width, ARROWS_ACROSS)
    rows = max(1, min(height, round(columns * height / width)))
    known = np.all(np.abs(flow) <= UNKNOWN_PX, axis=-1, keepdims=True)
    cells = cv2.resize(np.where(known, flow, 0), (columns, rows), interpolation=cv2.INTER_AREA)
    return struct.pack("<2H", rows, columns) + cells.astype("<f4").tobytes()
