"""The report's pictures: statistics as maps and histograms, videos with thumbnails and curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveal.pipeline.look.page import image, section, text
from foveal.pipeline.look.panels import heat_colours, resized
from foveal.pipeline.look.survey import CARDS, COVERED, MOMENTS, Card, Sampled
from foveal.pipeline.look.svg import histogram, sparkline

_BINS = 40


def statistics_section(sampled: Sampled) -> str:
    boxes = []
    if sampled.bias is not None:
        level = sampled.bias / max(sampled.bias.max(), 1e-12)
        picture = resized(heat_colours(0.0)[(level * 255).astype(np.uint8)], (225, 400))
        drawn = image(picture, "mean density map", lossless=True)
        y, x = (
            np.average(range(n), weights=level.sum(axis)) / (n - 1)
            for n, axis in zip(level.shape, (1, 0), strict=True)
        )
        about = (
            "Mean density; brighter is more. "
            f"Its centre lies at {x:.0%} of the width and {y:.0%} of the height."
        )
        boxes.append(("Centre bias", drawn, about))
    for name, speeds in sampled.speeds.items():
        top = max(float(np.percentile(speeds, 99.5)), 1e-3)
        counts, edges = np.histogram(speeds.clip(0, top), _BINS, (0.0, top))
        unit = "pixels of its grid a frame"
        mean, half = speeds.mean(), np.median(speeds)
        about = f"Mean {mean:.2f}, median {half:.2f}; the fastest 0.5 % stand in the last bar."
        label = f"histogram of the magnitude of {name}"
        boxes.append((f"{name}: magnitude", histogram(counts, edges, label, unit), about))
    if sampled.points:
        points = np.asarray(sampled.points)
        top_count = max(int(points.max()), 1)
        width = -(-(top_count + 1) // _BINS)
        edges = np.arange(0, top_count + width + 1, width) - 0.5
        counts, edges = np.histogram(points, edges)
        empty = int((points == 0).sum())
        about = (
            f"Mean {points.mean():.1f}, most {points.max()}; "
            f"{empty:,} of {len(points):,} frames have none."
        )
        drawn = histogram(counts, edges, "histogram of fixated points a frame", "points a frame")
        boxes.append(("Fixated points a frame", drawn, about))
    content = "".join(
        f'<div class="box"><h3>{text(title)}</h3>{drawn}<p class="faint">{text(about)}</p></div>'
        for title, drawn, about in boxes
    )
    if not boxes:
        return ""
    return section("Statistics", f'<div class="plots">{content}</div>', f"Of {sampled.scope}.")


def cards_section(cards: Sequence[Card], videos: int) -> str:
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
