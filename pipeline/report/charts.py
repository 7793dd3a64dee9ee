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


def histogram(
    counts: NDArray[np.int64],
    bins: Sequence[str],
    ticks: Sequence[tuple[float, str]],
    label: str,
    unit: str,
) -> str:
    """Bars over an axis; heights are shares of all.

    Parameters
    ----------
    counts : ndarray, int [bars]
    bins : sequence of str
        What each bar stands for; shown where a pointer rests on it.
    ticks : sequence of (float, str)
        Labels below the axis; 0 is the left edge of the first bar, 1 the right edge of it.
    label, unit : str
        What is counted, for readers that do not see; what the axis is in.
    """
    width, height, floor = 320.0, 158.0, 122.0
    shares = counts / max(1, counts.sum())
    top = max(float(shares.max(initial=0.0)), 1e-12)
    step = width / max(1, len(counts))
    bars = "".join(
        f'<rect class="bar" x="{n * step + 0.5:.1f}" y="{floor - 110 * share / top:.1f}" '
        f'width="{max(step - 1, 0.5):.1f}" height="{110 * share / top:.1f}">'
        f"<title>{html.escape(bins[n])} {html.escape(unit)}: {share:.1%}</title></rect>"
        for n, share in enumerate(shares)
        if share > 0
    )
    marks = "".join(
        f'<text x="{place * step:.1f}" y="{floor + 16:.0f}" '
        f'text-anchor="{_anchor(place / max(1, len(counts)))}">{html.escape(name)}</text>'
        for place, name in ticks
    )
    return (
        f'<svg class="chart" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{html.escape(label)}">{bars}'
        f'<line class="axis" x1="0" x2="{width:.0f}" y1="{floor}" y2="{floor}"></line>{marks}'
        f'<text class="unit" x="{width:.0f}" y="{height - 5:.0f}" text-anchor="end">'
        f"{html.escape(unit)}</text></svg>"
    )


def _anchor(place: float) -> str:
    return "start" if place < 0.05 else "end" if place > 0.95 else "middle"


def round_steps(high: float) -> list[int]:
    """Whole round numbers from 0 to `high`, four to nine of them where there are as many."""
    power = 10 ** int(np.floor(np.log10(max(high / 5, 1))))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - high / 5))
    return list(range(0, int(high) + 1, step))
