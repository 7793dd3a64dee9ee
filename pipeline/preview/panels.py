"""What one frame of a video looks like: the picture, its motion, where people looked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
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

SAMPLED_FRAMES = 24
"""Frames that a colour scale is chosen by, at most."""
_LEAST_SCALE_PX = 0.25
_DIMMED = 0.55
_GREY = 52
_SHIFT = 4
_HEAT_FLOOR = 0.04
_NO_PICTURES = ("features", "points", "waveform", "scalar")
"""Kinds whose items are no pictures, whatever their shape."""


@dataclass(frozen=True)
class Layer:
    """One way to see a moment.

    Attributes
    ----------
    title : str
    notes : tuple of str
        Short lines of explanation: grid, scale.
    arrays : tuple of str
        What must be read to draw it.
    draw : callable
        Gives the picture of a moment; None where there is nothing to show.
    key : Picture or None
        A small colour key.
    points : Points or None
        What is drawn as dots, for a legend of observers.
    """

    title: str
    notes: tuple[str, ...]
    arrays: tuple[str, ...]
    draw: Callable[[Moment], Picture | None]
    key: Picture | None = None
    points: Points | None = None


def layers(view: VideoView, frames: Sequence[int], size: tuple[int, int]) -> list[Layer]:
    """Every layer that the arrays of a video allow.

    Pictures, motion in colours, maps over the dimmed picture (of where people looked, predictions,
    and items of any unknown kind that have two sides or three), and points.

    Parameters
    ----------
    view : VideoView
    frames : sequence of int
        The frames that will be shown; colour scales are chosen by them and hold for all.
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
    found += [_flow_layer(view, name, frames, size) for name in by_shape.get("flow", [])]
    found += [_heat_layer(view, name, frames, size) for name in maps if name in truth]
    found += [_points_layer(view, stage, points, size) for stage, points in view.points.items()]
    rest = sorted(set(maps) - set(truth), key=lambda name: (name not in predictions, name))
    return found + [_heat_layer(view, name, frames, size) for name in rest]


def drawn_as(view: VideoView, name: str, *, by_frame: bool = True) -> str | None:
    """How an array is drawn: ``picture``, ``flow``, ``heat``, or not at all.

    `by_frame` leaves out those that have no item for each frame.
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
    """An image at another size: by area when shrinking, bilinear when enlarging."""
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


def _flow_layer(view: VideoView, name: str, frames: Sequence[int], size: tuple[int, int]) -> Layer:
    max_px = flow_scale(view, name, frames)

    def draw(moment: Moment) -> Picture | None:
        flow = moment.items.get(name)
        if flow is None:
            return None
        return resized(flow_to_color(flow.astype(np.float32), max_px), size)

    notes = (f"grid {_grid(view.infos[name])}", f"full colour: {max_px:.2g} px")
    return Layer(_title(name), notes, (name,), draw, flow_key())


def flow_scale(view: VideoView, name: str, frames: Sequence[int]) -> float:
    """Motion in pixels that only 1 % of the pixels shown exceed."""
    pairs = [frame for frame in frames if frame < view.array(name).shape[0]]
    speeds = []
    for moment in view.moments((name,), sample(pairs, SAMPLED_FRAMES)):
        flow = moment.items[name].astype(np.float32)
        speed = np.hypot(flow[..., 0], flow[..., 1])
        speeds.append(speed[np.isfinite(speed)])
    fast = np.percentile(np.concatenate(speeds), 99) if speeds else 0.0
    return max(float(fast), _LEAST_SCALE_PX)


@functools.cache
def flow_key(side_px: int = 72) -> Picture:
    """The colour wheel on paper: the colour of a motion stands in its direction from the centre."""
    axis = np.linspace(-1, 1, side_px, dtype=np.float32)
    flow = np.stack(np.meshgrid(axis, axis), axis=-1)
    inside = np.clip((1 - np.hypot(flow[..., 0], flow[..., 1])) * side_px / 2, 0, 1)[..., None]
    return (flow_to_color(flow, 1.0) * inside + PAPER * (1 - inside)).astype(np.uint8)


def _heat_layer(view: VideoView, name: str, frames: Sequence[int], size: tuple[int, int]) -> Layer:
    low, high = heat_scale(view, name, frames)

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


def heat_scale(view: VideoView, name: str, frames: Sequence[int]) -> tuple[float, float]:
    """Values that the ends of a map's colours stand for, where these frames are shown."""
    info, peak = view.infos[name], view.array(name).attrs.get("peak")
    if info.role == "ground_truth" and isinstance(peak, int | float):
        return 0.0, float(peak)
    low, high = _range(view, name, frames)
    return 0.0 if info.role == "ground_truth" else low, high


def _range(view: VideoView, name: str, frames: Sequence[int]) -> tuple[float, float]:
    """Least and greatest finite value of some frames."""
    there = [frame for frame in frames if frame < view.infos[name].items]
    values = [as_map(m.items[name]) for m in view.moments((name,), sample(there, SAMPLED_FRAMES))]
    known = [part[np.isfinite(part)] for part in values]
    low = min((float(part.min()) for part in known if part.size), default=0.0)
    return low, max((float(part.max()) for part in known if part.size), default=low)


def as_map(item: NDArray[Any]) -> NDArray[np.float32]:
    """One number per pixel: of an item with a third, shortest side, the mean along it."""
    values = item.astype(np.float32)
    return values if values.ndim == 2 else values.mean(axis=int(np.argmin(values.shape)))


def heat(ground: Picture, density: NDArray[np.float32]) -> Picture:
    """Lay density in [0, 1] over a picture: more of it is brighter and hides more.

    The colours (matplotlib's ``inferno``) rise evenly in perceived lightness, so equal steps of
    density look equal; below a few per cent the picture is left alone.
    """
    level = np.nan_to_num(np.clip(density, 0, 1))
    colour = heat_colours()[(level * 255).astype(np.uint8)]
    alpha = heat_opacity(level)[..., None]
    return np.asarray(ground * (1 - alpha) + colour * alpha, np.uint8)


def heat_opacity(level: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of the picture below is hidden by density in [0, 1]."""
    opacity: NDArray[np.float32] = 0.9 * np.clip((level - _HEAT_FLOOR) / 0.5, 0, 1) ** 0.7
    return opacity


@functools.cache
def heat_colours(start: float = 0.3) -> Picture:
    """The 256 colours of density, [256, 3]; 0 starts at black, more where they lie on pictures."""
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
    """Dots with a dark rim into `image`, at pixel coordinates of a source of another size."""
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
    """A colour for each observer, uint8 [observers, 3].

    Hues evenly apart in CIELAB, where equal steps look about equal; neighbours of unlike lightness.
    """
    hue = 2 * np.pi * np.arange(observers) / max(observers, 1) + 0.4
    lightness = np.where(np.arange(observers) % 2, 64.0, 80.0)
    lab = np.stack([lightness, 52 * np.cos(hue), 52 * np.sin(hue)], axis=-1)
    shown = cv2.cvtColor(lab[None].astype(np.float32), cv2.COLOR_LAB2RGB)[0]
    return np.asarray(np.rint(shown.clip(0, 1) * 255), np.uint8)


def backdrop(picture: NDArray[Any] | None, size: tuple[int, int]) -> Picture:
    """A picture in dimmed grey, for something to lie upon; flat grey where there is none."""
    if picture is None:
        return np.full((*size, 3), _GREY, np.uint8)
    grey = cv2.cvtColor(resized(picture, size), cv2.COLOR_RGB2GRAY)
    return np.repeat((grey * _DIMMED).astype(np.uint8)[..., None], 3, axis=2)
