"""The report's pictures: statistics as maps and histograms, videos with thumbnails and curves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from foveal.pipeline.preview.panels import heat_colours, resized
from foveal.pipeline.report.charts import histogram, round_steps, sparkline
from foveal.pipeline.report.page import image, section, text
from foveal.pipeline.report.survey import CARDS, COVERED, MOMENTS, Card, Figures
from foveal.storage.statistics import MAGNITUDE_EDGES_PX

_MOST_BARS = 40


def statistics_section(figures: Figures) -> str:
    """Centre bias, motion, fixated points a frame; what there is of them."""
    boxes = []
    if figures.bias is not None:
        boxes.append(_bias(figures.bias))
    boxes += [_motion(name, counts) for name, counts in figures.magnitudes.items() if counts.any()]
    if figures.points.any():
        boxes.append(_points(figures.points))
    if not boxes:
        return ""
    content = "".join(
        f'<div class="box"><h3>{text(title)}</h3>{drawn}<p class="faint">{text(about)}</p></div>'
        for title, drawn, about in boxes
    )
    return section("Statistics", f'<div class="plots">{content}</div>', f"Of {figures.scope}.")


def _bias(bias: NDArray[np.float64]) -> tuple[str, str, str]:
    level = bias / max(bias.max(), 1e-12)
    picture = resized(heat_colours(0.0)[(level * 255).astype(np.uint8)], (225, 400))
    y, x = (
        np.average((np.arange(length) + 0.5) / length, weights=level.sum(axis))
        for length, axis in zip(level.shape, (1, 0), strict=True)
    )
    about = (
        "Mean density, stretched to one shape; brighter is more. "
        f"Its centre lies at {x:.0%} of the width and {y:.0%} of the height."
    )
    return "Centre bias", image(picture, "mean density map", lossless=True), about


def _motion(name: str, counts: NDArray[np.int64]) -> tuple[str, str, str]:
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
    label = f"pixels by magnitude of {name}"
    unit = "pixels of its grid a frame"
    drawn = histogram(counts[first:stop], bins[first:stop], ticks, label, unit)
    return f"{name}: magnitude", drawn, about


def _points(frames: NDArray[np.int64]) -> tuple[str, str, str]:
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
    drawn = histogram(counts, bins, ticks, "frames by fixated points", "points a frame")
    return "Fixated points a frame", drawn, about


def cards_section(cards: Sequence[Card], videos: int) -> str:
    """Videos with a picture and curves, of `videos` in all."""
    if not cards:
        return ""
    boxes = "".join(_card(card) for card in cards)
    some = f"{len(cards)} of {videos:,}, evenly spread (at most {CARDS})"
    about = (
        f"{'All of them' if len(cards) == videos else some}: the middle frame, alone and under its "
        f"density. Curves are sampled at up to {MOMENTS} frames: the share of the picture where "
        f"density exceeds {COVERED:.0%} of its peak, and mean motion."
    )
    return section("Videos to look at", f'<div class="cards">{boxes}</div>', about)


def _card(card: Card) -> str:
    if card.problem:
        return (
            f'<div class="box trouble bad"><h3>{text(card.video)}</h3>'
            f"<p>{text(card.problem)}</p></div>"
        )
    parts = [f"<h3>{text(card.video)}</h3>"]
    if card.picture is not None:
        parts.append(image(card.picture, f"middle frame of {card.video}"))
    parts.append(f'<p class="faint">{text(card.caption)}</p>')
    for name, values in card.curves.items():
        what = "density covers" if name == "density" else f"{name} moves"
        shown = (
            f"{min(values):.1%} to {max(values):.1%}"
            if name == "density"
            else f"{min(values):.2f} to {max(values):.2f} px"
        )
        parts.append(
            f'<div class="curve faint"><span>{text(what)}</span><span>{shown}</span></div>'
            + sparkline(card.seconds, values, f"{what} over time, {shown}")
        )
    return f'<div class="box">{"".join(parts)}</div>'
