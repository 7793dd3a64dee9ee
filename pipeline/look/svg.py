"""Small charts as inline SVG; colours come from the page's own variables."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def sparkline(x: Sequence[float], y: Sequence[float], label: str) -> str:
    """A curve without axes, from 0 to its own maximum, an area shaded beneath."""
    top = max(max(y, default=0.0), 1e-12)
    first, last = (x[0], x[-1]) if len(x) > 1 and x[-1] > x[0] else (0.0, 1.0)
    points = [
        f"{100 * (at - first) / (last - first):.1f},{24 - 22 * value / top:.1f}"
        for at, value in zip(x, y, strict=False)
    ]
    line = " ".join(points)
    area = f"0,24 {line} {points[-1].split(',')[0] if points else 0},24"
    return (
        f'<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" '
        f'aria-label="{html.escape(label)}"><polygon class="area" points="{area}"></polygon>'
        f'<polyline class="line" points="{line}"></polyline></svg>'
    )


def histogram(counts: NDArray[np.int64], edges: NDArray[np.float64], label: str, unit: str) -> str:
    """Bars over an axis with a handful of ticks; heights are shares of all."""
    width, height, floor = 320.0, 158.0, 122.0
    shares = counts / max(1, counts.sum())
    top = max(float(shares.max(initial=0.0)), 1e-12)
    low, high = float(edges[0]), float(edges[-1])
    step = width / len(counts)
    bars = "".join(
        f'<rect class="bar" x="{n * step + 0.5:.1f}" y="{floor - 110 * share / top:.1f}" '
        f'width="{step - 1:.1f}" height="{110 * share / top:.1f}">'
        f"<title>{edges[n]:.3g} to {edges[n + 1]:.3g} {html.escape(unit)}: {share:.1%}</title>"
        "</rect>"
        for n, share in enumerate(shares)
        if share > 0
    )
    ticks = "".join(
        f'<text x="{(tick - low) / (high - low) * width:.1f}" y="{floor + 16:.0f}" '
        f'text-anchor="{_anchor(tick, low, high)}">{tick:g}</text>'
        for tick in _ticks(low, high)
    )
    return (
        f'<svg class="chart" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{html.escape(label)}">{bars}'
        f'<line class="axis" x1="0" x2="{width:.0f}" y1="{floor}" y2="{floor}"></line>{ticks}'
        f'<text class="unit" x="{width:.0f}" y="{height - 5:.0f}" text-anchor="end">'
        f"{html.escape(unit)}</text></svg>"
    )


def _anchor(tick: float, low: float, high: float) -> str:
    place = (tick - low) / (high - low)
    return "start" if place < 0.05 else "end" if place > 0.95 else "middle"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers inside a range, four to nine of them."""
    rough = (high - low) / 5
    power = 10 ** np.floor(np.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - rough))
    return [float(n * step) for n in range(int(np.ceil(low / step)), int(high / step + 1e-9) + 1)]
