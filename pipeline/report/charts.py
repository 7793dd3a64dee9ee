"""Pictures and charts of the page as numbers; the templates draw them."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from PIL import Image

from foveal.pipeline.preview.panels import heat_colours, resized
from foveal.pipeline.report.survey import Shot
from foveal.storage.statistics import MAGNITUDE_EDGES_PX

_MOST_BARS = 40
_WIDTH, _FLOOR, _HIGHEST = 320.0, 122.0, 110.0


def data_uri(shot: Shot) -> str:
    """A picture inside the page: JPEG, or PNG where colours must be exact."""
    content = io.BytesIO()
    kind = "png" if shot.lossless else "jpeg"
    Image.fromarray(shot.picture).save(content, kind, quality=78, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def histogram(
    counts: NDArray[np.int64],
    bins: Sequence[str],
    ticks: Sequence[tuple[float, str]],
    label: str,
    unit: str,
) -> dict[str, Any]:
    """Bars over an axis; heights are shares of all.

    Parameters
    ----------
    counts : ndarray, int [bars]
    bins : sequence of str
        Text of each bar, shown under the pointer.
    ticks : sequence of (float, str)
        Labels below the axis; 0 is the left edge of the first bar, 1 the right edge of it.
    label, unit : str
        What is counted, for readers that do not see; what the axis is in.

    Returns
    -------
    dict
        ``label``, ``unit``, ``bars`` and ``ticks``, in units of a 320 x 158 drawing.
    """
    shares = counts / max(1, counts.sum())
    top = max(float(shares.max(initial=0.0)), 1e-12)
    step = _WIDTH / max(1, len(counts))
    bars = [
        {
            "bin": bins[n],
            "share": share,
            "x": f"{n * step + 0.5:.1f}",
            "y": f"{_FLOOR - _HIGHEST * share / top:.1f}",
            "width": f"{max(step - 1, 0.5):.1f}",
            "height": f"{_HIGHEST * share / top:.1f}",
        }
        for n, share in enumerate(shares)
        if share > 0
    ]
    shown = [
        {"x": f"{place * step:.1f}", "anchor": _anchor(place / max(1, len(counts))), "name": name}
        for place, name in ticks
    ]
    return {"label": label, "unit": unit, "bars": bars, "ticks": shown}


def _anchor(place: float) -> str:
    return "start" if place < 0.05 else "end" if place > 0.95 else "middle"


def statistics_boxes(statistics: xr.Dataset) -> list[dict[str, Any]]:
    """Centre bias, motion, fixated points by frame; what there is of them.

    Parameters
    ----------
    statistics : xarray.Dataset
        See `foveal.storage.statistics`.

    Returns
    -------
    list of dict
        ``title``, ``about``, and ``shot`` or ``chart``.
    """
    boxes = [_bias(statistics.centre_bias.values)] if "centre_bias" in statistics else []
    for name, counts in statistics.items():
        if str(name).endswith("_magnitude") and counts.values.any():
            boxes.append(_motion(str(name).removesuffix("_magnitude"), counts.values))
    if "fixations_per_frame" in statistics and statistics.fixations_per_frame.values.any():
        boxes.append(_points(statistics.fixations_per_frame.values))
    return boxes


def _bias(bias: NDArray[np.float64]) -> dict[str, Any]:
    level = bias / max(bias.max(), 1e-12)
    picture = resized(heat_colours(0.0)[(level * 255).astype(np.uint8)], (225, 400))
    y, x = (
        np.average((np.arange(length) + 0.5) / length, weights=level.sum(axis))
        for length, axis in zip(level.shape, (1, 0), strict=True)
    )
    about = (
        "Mean density, stretched to one shape; brighter is more. "
        f"Its centre is at {x:.0%} of the width and {y:.0%} of the height."
    )
    shot = Shot(picture, "", "mean density map", lossless=True)
    return {"title": "Centre bias", "about": about, "shot": shot, "chart": None}


def _motion(name: str, counts: NDArray[np.int64]) -> dict[str, Any]:
    edges = MAGNITUDE_EDGES_PX
    bins = [f"{low:.2g} to {high:.2g}" for low, high in itertools.pairwise(edges)]
    used = np.flatnonzero(counts)
    first, stop = int(used[0]), int(used[-1]) + 1
    # Edges are two an octave: those at whole powers of two, fewer where there are many.
    whole = [n for n in range(max(first, 1), min(stop, len(edges) - 2) + 1) if n % 2]
    every = 1 + len(whole) // 8
    ticks = [(n - first, f"{edges[n]:.2g}") for n in whole[::every]]
    half = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    still = counts[0] / counts.sum()
    about = (
        f"Half of the pixels move less than {edges[half + 1]:.2g} px a frame, "
        f"{still:.0%} less than {edges[1]:.2g} px. Bars are half an octave wide."
    )
    label, unit = f"pixels by magnitude of {name}", "pixels of its grid a frame"
    chart = histogram(counts[first:stop], bins[first:stop], ticks, label, unit)
    return {"title": f"{name}: magnitude", "about": about, "chart": chart}


def _points(frames: NDArray[np.int64]) -> dict[str, Any]:
    most = len(frames) - 1
    width = -(-len(frames) // _MOST_BARS)
    counts = np.add.reduceat(frames, np.arange(0, len(frames), width))
    bins = [
        str(low) if width == 1 else f"{low} to {low + width - 1}"
        for low in range(0, len(frames), width)
    ]
    ticks = [((tick + 0.5) / width, str(tick)) for tick in round_steps(most)]
    mean = np.average(np.arange(len(frames)), weights=frames)
    about = f"Mean {mean:.1f}, most {most}; {frames[0]:,} of {frames.sum():,} frames have none."
    chart = histogram(counts, bins, ticks, "frames by fixated points", "points a frame")
    return {"title": "Fixated points a frame", "about": about, "chart": chart}


def round_steps(high: float) -> list[int]:
    """Whole round numbers from 0 to `high`, four to nine of them where there are as many."""
    power = 10 ** int(np.floor(np.log10(max(high / 5, 1))))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - high / 5))
    return list(range(0, int(high) + 1, step))
