"""Draw arrays without pictures as curves over time: features, numbers, sound."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from foveal.pipeline.preview.panels import drawn_as
from foveal.pipeline.preview.text import FAINT, INK, PAPER, Colour, fitted, font
from foveal.pipeline.preview.view import VideoView

_POINTS = 512
_READ_WHOLE_BYTES = 64 * 2**20
_READ_OF_EACH_BYTES = 2**18
_FRAME, _BAND, _LINE = (56, 58, 66), (44, 66, 110), (131, 170, 255)


@dataclass(frozen=True)
class Strip:
    """An array as a curve over time.

    Attributes
    ----------
    title : str
        Name for people.
    notes : tuple of str
        Short lines of explanation: what one item is, the range.
    edges : ndarray, float64 [points + 1]
        Seconds at which the first item of each point begins, and at which the last point ends.
    low, mean, high : ndarray, float64 [points]
        Statistics of the means of the items in a point; NaN where no value is finite.
    """

    title: str
    notes: tuple[str, ...]
    edges: NDArray[np.float64]
    low: NDArray[np.float64]
    mean: NDArray[np.float64]
    high: NDArray[np.float64]


def strips(view: VideoView) -> list[Strip]:
    """Make a strip of each array of numbers in `view` that no panel shows and that has times.

    Arrays that only serve others are left out: the timeline, starts of windows, points, offsets.
    """
    helpers = {name for i in view.infos.values() for name in (i.starts, i.source_frames, i.offset)}
    names = [
        name
        for name, info in sorted(view.infos.items())
        if drawn_as(view, name) is None
        and name not in helpers
        and info.role != "timeline"
        and info.axis not in ("point", "frame_plus_1")
        and np.dtype(info.dtype).kind in "biuf"
    ]
    return [strip for name in names if (strip := _strip(view, name)) is not None]


def _strip(view: VideoView, name: str) -> Strip | None:
    info = view.infos[name]
    begins = _item_seconds(view, name)
    if begins is None or not info.items or 0 in info.item_shape:
        return None
    places = np.linspace(0, info.items, min(info.items, _POINTS) + 1).astype(int)
    item_bytes = int(np.prod(info.item_shape)) * np.dtype(info.dtype).itemsize
    fits = item_bytes * info.items <= _READ_WHOLE_BYTES
    whole = view.read(name, 0, info.items) if fits else None
    points = np.full((len(places) - 1, 3), np.nan)
    for n, (start, stop) in enumerate(itertools.pairwise(places)):
        # Where the array is too large to be read, only the start of each point is read.
        some = min(stop, start + max(1, _READ_OF_EACH_BYTES // item_bytes))
        part = view.read(name, start, some) if whole is None else whole[start:stop]
        items = part.reshape(len(part), -1).mean(axis=1, dtype=np.float64)
        known = items[np.isfinite(items)]
        if known.size:
            points[n] = known.min(), known.mean(), known.max()
    low, mean, high = points.T
    if np.isnan(mean).all():
        return None
    sides = "×".join(map(str, info.item_shape))
    starts = begins[places[:-1]]
    step = np.median(np.diff(starts)) if len(starts) > 1 else np.inf
    edges = np.append(starts, min(end_seconds(view), starts[-1] + step))
    extent = f"{np.nanmin(low):.3g} to {np.nanmax(high):.3g}"
    notes = (f"{info.kind} {sides}".strip(), f"mean {extent}" if sides else extent)
    return Strip(name.replace("_", " "), notes, edges, low, mean, high)


def _item_seconds(view: VideoView, name: str) -> NDArray[np.float64] | None:
    """Seconds at which each item begins; None where this is not known."""
    info = view.infos[name]
    if info.axis in ("sample", "hop"):
        return np.linspace(view.seconds[0], end_seconds(view), info.items, endpoint=False)
    frames = view.first_frames(name)
    return None if frames is None else view.seconds[np.clip(frames, 0, view.frames - 1)]


def end_seconds(view: VideoView) -> float:
    """Compute the time at which the last frame of `view` ends, in seconds."""
    return float(view.seconds[-1] + 1 / view.about["fps"])


def place_of(view: VideoView, seconds: float, width_px: int) -> float:
    """Convert a time in `seconds` to pixels from the left edge of a strip of `width_px`."""
    whole = end_seconds(view) - view.seconds[0]
    return float(1 + (width_px - 3) * (seconds - view.seconds[0]) / max(whole, 1e-9))


def draw_strip(
    view: VideoView, strip: Strip, size: tuple[int, int], frames: Sequence[int]
) -> Image.Image:
    """Draw a strip of a `size` (height, width) in pixels, with a mark at each of `frames`."""
    height, width = size
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    floor, top = float(np.nanmin(strip.low)), float(np.nanmax(strip.high))

    def down(value: float) -> float:
        share = (top - value) / (top - floor) if top > floor else 0.5
        return 3 + (height - 7) * share

    across = [place_of(view, each, width) for each in strip.edges]
    for n, (left, right) in enumerate(itertools.pairwise(across)):
        if np.isfinite(strip.mean[n]):
            right = max(left, right)
            pen.rectangle((left, down(strip.high[n]), right, down(strip.low[n])), _BAND)
            pen.line([(left, down(strip.mean[n])), (right, down(strip.mean[n]))], _LINE, 2)
    for frame in frames:
        place = place_of(view, view.seconds[frame], width)
        pen.line([(place, 0), (place, height)], FAINT)
    pen.rectangle((0, 0, width - 1, height - 1), outline=_FRAME)
    return image


def label_strip(pen: ImageDraw.ImageDraw, strip: Strip, at: tuple[int, int], room_px: int) -> None:
    """Write title and notes of `strip` below the corner `at`, cut to a width of `room_px`."""
    lines: list[tuple[str, Colour, bool]] = [(strip.title, INK, True)]
    lines += [(note, FAINT, False) for note in strip.notes]
    for n, (text, colour, bold) in enumerate(lines):
        pen.text((at[0], at[1] + n * 18), fitted(text, room_px, 14, bold), colour, font(14, bold))
