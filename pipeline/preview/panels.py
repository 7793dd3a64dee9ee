"""Draw the panels of one frame: pictures, motion, maps, and fixated points."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from foveal.models.flow.color import flow_to_color
from foveal.pipeline.preview.text import PAPER
from foveal.pipeline.preview.view import Moment, Points, VideoView, sample
from foveal.storage.kinds import ArrayInfo

Picture = NDArray[np.uint8]
"""uint8 [height, width, 3], RGB."""

_SAMPLED_ITEMS = 24
"""Items that determine a colour scale, at most."""
_LEAST_SCALE_PX = 0.25
_DIMMED = 0.55
_GREY = 52
_SHIFT = 4
_HEAT_FLOOR = 0.04
_NO_PICTURES = ("features", "points", "waveform", "scalar")
"""Kinds whose items are not pictures, whatever their shape."""


@dataclass(frozen=True)
class Layer:
    """One panel of every moment.

    Attributes
    ----------
    title : str
        Name for people.
    notes : tuple of str
        Short lines of explanation: grid, scale.
    arrays : tuple of str
        Arrays that it is drawn from.
    draw : callable
        Draws the picture of a `Moment`; gives None where there is nothing to show.
    key : Picture or None
        A small colour key.
    points : Points or None
        Points that are drawn as dots, for a legend of observers.
    """

    title: str
    notes: tuple[str, ...]
    arrays: tuple[str, ...]
    draw: Callable[[Moment], Picture | None]
    key: Picture | None = None
    points: Points | None = None


def layers(view: VideoView, size: tuple[int, int]) -> list[Layer]:
    """Make every layer that the arrays of a video allow.

    These are pictures, motion in colours, maps over the dimmed picture (ground truth, predictions,
    and items of any unknown kind with two or three sides), and points. Colour scales are those of
    the whole video, so that its sheets and films agree.

    Parameters
    ----------
    view : VideoView
    size : (height, width)
        Size of the panels in pixels.
    """
    by_shape: dict[str | None, list[str]] = {}
    for name in sorted(view.infos):
        by_shape.setdefault(drawn_as(view, name), []).append(name)
    maps = by_shape.get("heat", [])
    truth = view.select(role="ground_truth")
    predictions = view.select(role="prediction")
    found = [_picture_layer(view, name, size) for name in by_shape.get("picture", [])]
    found += [_flow_layer(view, name, size) for name in by_shape.get("flow", [])]
    found += [_heat_layer(view, name, size) for name in maps if name in truth]
    found += [_points_layer(view, stage, points, size) for stage, points in view.points.items()]
    rest = sorted(set(maps) - set(truth), key=lambda name: (name not in predictions, name))
    return found + [_heat_layer(view, name, size) for name in rest]


def drawn_as(view: VideoView, name: str, *, by_frame: bool = True) -> str | None:
    """Decide how the array `name` of `view` is drawn: ``picture``, ``flow``, ``heat``, or None.

    `by_frame` allows only arrays with items of frames.
    """
    info, sides = view.infos[name], len(view.infos[name].item_shape)
    if by_frame and not (view.is_by_frame(name) or view.is_of_kept_frames(name)):
        return None
    if info.kind in _NO_PICTURES or 0 in info.item_shape:
        return None
    if info.kind == "picture" and info.dtype == "uint8" and info.item_shape[2:] == (3,):
        return "picture"
    if info.kind == "flow" and info.item_shape[2:] == (2,):
        return "flow"
    return "heat" if sides in (2, 3) and np.dtype(info.dtype).kind in "biuf" else None


def resized(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize `image` to `size` (height, width): by area where it shrinks, else bilinearly."""
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=how))


def _title(name: str) -> str:
    return name.replace("_", " ")


def _rate(view: VideoView, name: str) -> tuple[str, ...]:
    info = view.infos[name]
    return (f"{info.items} of {view.frames} frames",) if info.source_frames else ()


def _grid(info: ArrayInfo) -> str:
    return f"{info.item_shape[1]}×{info.item_shape[0]}"


def _picture_layer(view: VideoView, name: str, size: tuple[int, int]) -> Layer:
    notes = (f"stored {_grid(view.infos[name])}", *_rate(view, name))
    return Layer(_title(name), notes, (name,), lambda moment: resized(moment.items[name], size))


def _flow_layer(view: VideoView, name: str, size: tuple[int, int]) -> Layer:
    max_px = flow_scale(view, name)

    def draw(moment: Moment) -> Picture | None:
        flow = moment.items.get(name)
        if flow is None:
            return None
        return resized(flow_to_color(flow.astype(np.float32), max_px), size)

    notes = (f"grid {_grid(view.infos[name])}", f"full colour: {max_px:.2g} px")
    return Layer(_title(name), notes, (name,), draw, _flow_key())


def flow_scale(view: VideoView, name: str) -> float:
    """Find the motion in pixels that 1 % of the flow `name` exceeds, from a sample of pairs."""
    speeds = []
    for item in sample(range(view.infos[name].items), _SAMPLED_ITEMS):
        flow = view.read(name, item, item + 1)[0].astype(np.float32)
        speed = np.hypot(flow[..., 0], flow[..., 1])
        speeds.append(speed[np.isfinite(speed)])
    fast = np.percentile(np.concatenate(speeds), 99) if speeds else 0.0
    return max(float(fast), _LEAST_SCALE_PX)


@functools.cache
def _flow_key(side_px: int = 72) -> Picture:
    """The colour wheel: each colour is in the direction of its motion, seen from the centre."""
    axis = np.linspace(-1, 1, side_px, dtype=np.float32)
    flow = np.stack(np.meshgrid(axis, axis), axis=-1)
    inside = np.clip((1 - np.hypot(flow[..., 0], flow[..., 1])) * side_px / 2, 0, 1)[..., None]
    return (flow_to_color(flow, 1.0) * inside + PAPER * (1 - inside)).astype(np.uint8)


def _heat_layer(view: VideoView, name: str, size: tuple[int, int]) -> Layer:
    low, high = heat_scale(view, name)

    def draw(moment: Moment) -> Picture | None:
        if name not in moment.items:
            return None
        level = (as_map(moment.items[name]) - low) / np.float32((high - low) or 1)
        return heat(backdrop(moment.items.get(view.ground or ""), size), resized(level, size))

    notes = (f"map {_grid(view.infos[name])}", f"{low:.3g} to {high:.3g}")
    ramp = np.tile(resized(heat_colours()[None], (1, 140)), (12, 1, 1))
    return Layer(_title(name), notes, (name, *_ground(view)), draw, ramp)


def _ground(view: VideoView) -> tuple[str, ...]:
    return (view.ground,) if view.ground else ()


def heat_scale(view: VideoView, name: str) -> tuple[float, float]:
    """Find the values at the two ends of the colours of the map `name`, for all frames."""
    info, peak = view.infos[name], view.array(name).attrs.get("peak")
    if info.role == "ground_truth" and isinstance(peak, int | float):
        return 0.0, float(peak)
    low, high = _range(view, name)
    return 0.0 if info.role == "ground_truth" else low, high


def _range(view: VideoView, name: str) -> tuple[float, float]:
    """Smallest and largest finite value in a sample of items."""
    spread = sample(range(view.infos[name].items), _SAMPLED_ITEMS)
    values = [as_map(view.read(name, item, item + 1)[0]) for item in spread]
    known = [part[np.isfinite(part)] for part in values]
    low = min((float(part.min()) for part in known if part.size), default=0.0)
    return low, max((float(part.max()) for part in known if part.size), default=low)


def as_map(item: NDArray[Any]) -> NDArray[np.float32]:
    """Reduce `item` to one number per pixel: the mean along the shortest of three sides."""
    values = item.astype(np.float32)
    return values if values.ndim == 2 else values.mean(axis=int(np.argmin(values.shape)))


def level_of(item: NDArray[Any], scale: tuple[float, float]) -> NDArray[np.float32]:
    """Bring `item` to one number per pixel in [0, 1] on `scale` (low, high); NaN becomes 0."""
    low, high = scale
    level = np.nan_to_num((as_map(item) - low) / np.float32((high - low) or 1))
    return np.asarray(level.clip(0, 1))


def heat(ground: Picture, density: NDArray[np.float32]) -> Picture:
    """Draw `density` in [0, 1] over the picture `ground`: more density is brighter and hides more.

    The colours (matplotlib's ``inferno``) rise evenly in perceived lightness, so equal steps of
    density look equal. Below a few per cent the picture does not change.
    """
    level = np.nan_to_num(np.clip(density, 0, 1))
    colour = heat_colours()[(level * 255).astype(np.uint8)]
    alpha = heat_opacity(level)[..., None]
    return np.asarray(ground * (1 - alpha) + colour * alpha, np.uint8)


def heat_opacity(level: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the opacity of density `level` in [0, 1] over a picture."""
    opacity: NDArray[np.float32] = 0.9 * np.clip((level - _HEAT_FLOOR) / 0.5, 0, 1) ** 0.7
    return opacity


@functools.cache
def heat_colours(start: float = 0.3) -> Picture:
    """Give the 256 colours of density, [256, 3]; `start` 0 begins at black, more is brighter."""
    from matplotlib import colormaps

    ramp = colormaps["inferno"](np.linspace(start, 1.0, 256))[:, :3]
    return np.asarray(ramp * 255, np.uint8)


def _points_layer(view: VideoView, stage: str, points: Points, size: tuple[int, int]) -> Layer:
    colours = observer_colours(len(points.subjects))
    source = view.source_size

    def draw(moment: Moment) -> Picture:
        rows = points.rows(moment.frame, moment.frame + 1)
        image = backdrop(moment.items.get(view.ground or ""), size)
        draw_points(image, points.x[rows], points.y[rows], colours[points.subject[rows]], source)
        return image

    counts = np.diff(points.offset)
    notes = (f"{len(points.subjects)} observers", f"{counts.mean():.1f} points per frame")
    return Layer(_title(stage), notes, _ground(view), draw, points=points)


def draw_points(
    image: Picture,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    colours: Picture,
    source_size: tuple[int, int],
) -> None:
    """Draw dots with a dark rim into `image`, with one of `colours` each.

    `x` and `y` are pixels (from 0) of a source of another size, `source_size` (height, width).
    """
    height, width = image.shape[:2]
    radius = max(2.5, width / 90)
    centres_x = ((x + 0.5) * width / source_size[1] - 0.5) * 2**_SHIFT
    centres_y = ((y + 0.5) * height / source_size[0] - 0.5) * 2**_SHIFT
    centres = np.rint(np.stack([centres_x, centres_y], axis=1)).astype(int).tolist()
    for grown, rim in ((1.2, True), (0.0, False)):
        for centre, colour in zip(centres, colours.tolist(), strict=True):
            cv2.circle(
                image,
                centre,
                round((radius + grown) * 2**_SHIFT),
                (12, 12, 16) if rim else colour,
                cv2.FILLED,
                cv2.LINE_AA,
                _SHIFT,
            )


def observer_colours(observers: int) -> Picture:
    """Choose a colour for each of some `observers`, uint8 [observers, 3].

    Hues are evenly spaced in CIELAB, where equal steps look equal; neighbours differ in lightness.
    """
    hue = 2 * np.pi * np.arange(observers) / max(observers, 1) + 0.4
    lightness = np.where(np.arange(observers) % 2, 64.0, 80.0)
    lab = np.stack([lightness, 52 * np.cos(hue), 52 * np.sin(hue)], axis=-1)
    shown = cv2.cvtColor(lab[None].astype(np.float32), cv2.COLOR_LAB2RGB)[0]
    return np.asarray(np.rint(shown.clip(0, 1) * 255), np.uint8)


def backdrop(picture: NDArray[Any] | None, size: tuple[int, int]) -> Picture:
    """Draw `picture` at `size` in dimmed grey, as a background; plain grey where it is None."""
    if picture is None:
        return np.full((*size, 3), _GREY, np.uint8)
    grey = cv2.cvtColor(resized(picture, size), cv2.COLOR_RGB2GRAY)
    return np.repeat((grey * _DIMMED).astype(np.uint8)[..., None], 3, axis=2)
