"""Encode items of arrays as pictures for the browser: exact pixels, maps and motion in colours."""

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
    drawn_as,
    flow_scale,
    heat_colours,
    heat_opacity,
    heat_scale,
    level_of,
    resized,
)
from foveal.pipeline.view.opened import OpenVideos, Video

ARROWS_ACROSS = 28
"""Arrows per row, at most."""

_MOST_ITEMS = 64
"""Items per answer, at most."""

_THUMBNAIL_PX = (90, 160)
"""Largest height and width of thumbnails."""

_JPEG_QUALITY = 92
_PNG_LEVEL = 1
_PNG_OPTIONS = [
    *(cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
]
_DARKENED = 0.75


def pack(parts: Sequence[bytes]) -> bytes:
    """Join `parts` into one object: their number, their lengths (uint32, little endian), bytes."""
    return struct.pack(f"<{len(parts) + 1}I", len(parts), *map(len, parts)) + b"".join(parts)


def drawn(
    videos: OpenVideos, video: Video, name: str, form: str, start: int, stop: int, *, exact: bool
) -> list[bytes]:
    """Encode items of an array, each as one object.

    Parameters
    ----------
    videos : OpenVideos
    video : Video
    name : str
        A complete array.
    form : {'picture', 'heat', 'flow', 'arrows'}
        Form in the manifest. ``picture``: PNG, or JPEG where not `exact`. ``heat``: PNG with a
        palette whose opacity rises with the value. ``flow``: PNG in the Middlebury colours, opaque
        from the end of the scale on. ``arrows``: uint16 rows and columns, then float32
        [rows, columns, 2], the mean motion of each cell in pixels of the flow's own grid.
    start, stop : int
        First item, and the one after the last; items beyond the end are left out.
    exact : bool
        Whether pictures must be lossless.

    Raises
    ------
    FovealError
        The array cannot be drawn in this form.
    """
    if form not in forms_of(video, name):
        raise FovealError(f"{name!r} of video {video.view.video!r} cannot be drawn as {form!r}")
    if not 0 <= start < stop <= start + _MOST_ITEMS:
        raise FovealError(f"items {start} to {stop} are not up to {_MOST_ITEMS} in rising order")
    items = videos.read(video, name, start, stop)
    if form == "picture":
        return [encoded(item, exact) for item in items]
    if form == "heat":
        return [_heat(level_of(item, scale_of(video, name))) for item in items]
    if form == "flow":
        _, fastest = scale_of(video, name)
        return [encoded(motion_colours(item.astype(np.float32), fastest), True) for item in items]
    return [_arrows(item.astype(np.float32)) for item in items]


def forms_of(video: Video, name: str) -> tuple[str, ...]:
    """List the forms in which the array `name` can be drawn; none where its items have no frame."""
    form = drawn_as(video.view, name, by_frame=False)
    if form is None or _first_frames(video, name) is None:
        return ()
    return ("flow", "arrows") if form == "flow" else (form,)


def _first_frames(video: Video, name: str) -> NDArray[np.int64] | None:
    return video.once(("first frames", name), lambda: video.view.first_frames(name))


def scale_of(video: Video, name: str) -> tuple[float, float]:
    """Find the values at the two ends of the colours of the array `name`, for the whole video."""

    def sampled() -> tuple[float, float]:
        if drawn_as(video.view, name, by_frame=False) == "flow":
            return 0.0, flow_scale(video.view, name)
        return heat_scale(video.view, name)

    return video.once(("scale", name), sampled)


def motion_colours(flow: NDArray[np.float32], fastest_px: float) -> NDArray[np.uint8]:
    """Draw `flow` in the Middlebury colours, uint8 [height, width, 4], for use over a picture.

    On white it looks as `flow_to_color` draws it. Slower motion is more transparent; motion of
    `fastest_px` and more is opaque.
    """
    speed = np.hypot(flow[..., 0], flow[..., 1])
    known = np.all(np.abs(flow) <= UNKNOWN_PX, axis=-1)
    moves = known & (speed > 0)
    direction = np.where(moves[..., None], flow, 1) / np.where(moves, speed, np.sqrt(2))[..., None]
    # Slightly below 1, so that rounding makes none of them faster than the scale.
    hue = flow_to_color((direction * 0.999).astype(np.float32), 1.0)
    share = np.where(known, speed / np.float32(fastest_px), 0)
    hue = np.where((share > 1)[..., None], hue * _DARKENED, hue)
    hue = np.where(known[..., None], hue, 0)
    alpha = np.where(known, np.clip(share, 0, 1), 1)[..., None] * 255
    return np.asarray(np.rint(np.concatenate([hue, alpha], axis=-1)), np.uint8)


def thumbnail(video: Video) -> bytes | None:
    """Encode the middle frame of `video`, or its ground truth map, as a small JPEG; maybe None."""
    view = video.view
    name = view.ground or view.ground_truth_map
    if name is None:
        return None
    middle = min(view.frames // 2, view.infos[name].items - 1)
    item = view.read(name, middle, middle + 1)[0]
    if name != view.ground:
        level = level_of(item, scale_of(video, name))
        item = heat_colours(0.0)[(level * 255).astype(np.uint8)]
    height, width = view.source_size
    shrink = min(_THUMBNAIL_PX[0] / height, _THUMBNAIL_PX[1] / width)
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    return encoded(resized(item, size), exact=False)


def encoded(picture: NDArray[Any], exact: bool) -> bytes:
    """Encode `picture`, uint8 [height, width, 3 or 4], as PNG, or as JPEG where not `exact`."""
    channels = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[picture.shape[-1]]
    how = (".png", _PNG_OPTIONS) if exact else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    done, content = cv2.imencode(how[0], cv2.cvtColor(picture, channels), how[1])
    if not done:
        raise FovealError(f"a picture of shape {picture.shape} cannot be encoded")
    return content.tobytes()


def _heat(level: NDArray[np.float32]) -> bytes:
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
    """Load what draws maps, so that the first map is not slow."""
    _heat_palette()


def _arrows(flow: NDArray[np.float32]) -> bytes:
    height, width = flow.shape[:2]
    columns = min(width, ARROWS_ACROSS)
    rows = max(1, min(height, round(columns * height / width)))
    known = np.all(np.abs(flow) <= UNKNOWN_PX, axis=-1, keepdims=True)
    cells = cv2.resize(np.where(known, flow, 0), (columns, rows), interpolation=cv2.INTER_AREA)
    return struct.pack("<2H", rows, columns) + cells.astype("<f4").tobytes()
