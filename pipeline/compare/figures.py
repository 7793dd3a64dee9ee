"""This module draws the figures of a comparison with matplotlib, for PNG and PDF files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from foveal.pipeline.compare.moments import FRAME, TRUTH, Shown

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
"""Okabe and Ito 2008: colours that colour-blind people can distinguish."""

_INK, _FAINT, _LINE = "#1d1e24", "#646773", "#d5d6dc"
_CELL_INCHES, _GAP_INCHES, _LABEL_INCHES = 1.75, 0.07, 0.95
_NAMED_BARS = 40
_STYLE: dict[str, Any] = {"fontsize": 8, "color": _INK}

Scores = Mapping[str, NDArray[np.float64]]
"""Scores of the frames of one video, by model; NaN where a frame has none."""


@dataclass(frozen=True)
class Row:
    """A row of pictures: the moment, the text to the left, and the text below each picture."""

    shown: Shown
    label: str
    below: Mapping[str, str]


def title_of(column: str) -> str:
    """Return the name of a model as figures show it."""
    return column.removeprefix("saliency_").replace("_", " ")


def colour_of(models: Sequence[str], model: str) -> str:
    """Return a model's colour, the same in all figures."""
    return COLOURS[list(models).index(model) % len(COLOURS)]


def sheet(rows: Sequence[Row], columns: Sequence[str], title: str) -> Figure:
    """Draw frame x ground truth x models: one row per moment, one column per model."""
    heights = [_cell_height(row.shown) for row in rows]
    top, below = 0.62, 0.22
    height = top + sum(heights) + below * len(rows)
    figure = Figure((_width(len(columns)), height))
    figure.text(
        0.08 / _width(len(columns)),
        1 - 0.2 / height,
        title,
        fontsize=10,
        weight="bold",
        va="center",
        color=_INK,
    )
    y = height - top
    for number, (row, cell) in enumerate(zip(rows, heights, strict=True)):
        y -= cell
        _draw_row(figure, row, columns, y, cell, titles=number == 0)
        y -= below
    return figure


def difference(
    means: Mapping[str, tuple[float, float]],
    between: tuple[str, str],
    metric: str,
    ends: Sequence[Row],
    models: Sequence[str],
    *,
    higher_is_better: bool = True,
) -> Figure:
    """Draw the difference of two models by video as sorted bars, and moments of both ends.

    Parameters
    ----------
    means : mapping of str to (float, float)
        By video, the mean score of both models.
    between : (str, str)
        The bars show the first model minus the second.
    metric : str
        Label of the metric.
    ends : sequence of Row
        Moments of the videos at both ends.
    models : sequence of str
        All models of the comparison, for colours: a bar has the colour of the better model.
    higher_is_better : bool
    """
    columns = [FRAME, TRUTH, *between]
    sign = 1 if higher_is_better else -1
    gaps = sorted(((a - b, video) for video, (a, b) in means.items()), reverse=True)
    values = np.array([gap for gap, _ in gaps])
    heights = [_cell_height(row.shown) for row in ends]
    width, chart, below = _width(len(columns)), 2.1, 0.22
    foot = 0.75 if len(gaps) <= _NAMED_BARS else 0.3
    height = 0.75 + chart + foot + 0.35 + sum(heights) + below * len(ends)
    figure = Figure((width, height))
    first, second = map(title_of, between)
    counted = f"{len(gaps)} videos, sorted" if len(gaps) > 1 else "1 video"
    _heading(
        figure,
        f"{metric}: {first} minus {second}",
        f"{counted}; mean {values.mean():+.3f} (dashed); {first} is better in "
        f"{int((sign * values > 0).sum())}, {second} in {int((sign * values < 0).sum())}",
    )
    axes = figure.add_axes(
        (0.75 / width, (height - 0.75 - chart) / height, (width - 0.9) / width, chart / height)
    )
    colours = [
        colour_of(models, between[0] if sign * value >= 0 else between[1]) for value in values
    ]
    axes.bar(np.arange(len(values)), values, width=0.86, color=colours)
    axes.axhline(values.mean(), color=_FAINT, linewidth=0.8, linestyle="--")
    axes.axhline(0, color=_INK, linewidth=0.8)
    axes.set_xlim(-0.6, len(values) - 0.4)
    _plain(axes, f"{metric}, difference")
    if len(gaps) <= _NAMED_BARS:
        axes.set_xticks(range(len(gaps)), [video for _, video in gaps], rotation=60, ha="right")
        axes.tick_params(axis="x", labelsize=7, length=0)
    else:
        axes.set_xticks([])
        axes.set_xlabel("videos, sorted", fontsize=8, color=_FAINT)
    y = height - 0.75 - chart - foot - 0.35
    for number, (row, cell) in enumerate(zip(ends, heights, strict=True)):
        y -= cell
        _draw_row(figure, row, columns, y, cell, titles=number == 0)
        y -= below
    return figure


def over_time(
    video: str,
    seconds: NDArray[np.float64],
    scores: Scores,
    metric: str,
    peaks: Sequence[Row],
) -> Figure:
    """Draw a metric over the time of a video, and below it the moments at its peaks, lettered."""
    models = list(scores)
    columns = [FRAME, TRUTH, *models]
    cell = _cell_height(peaks[0].shown) if peaks else 0.0
    inner = max(len(peaks), 3) * (_CELL_INCHES + _GAP_INCHES)
    width, chart, below = _LABEL_INCHES + inner + 0.1, 2.1, 0.2
    head = 0.75 + 0.16 * (-(-len(models) // 3))
    height = head + chart + 0.75 + (cell + below) * len(columns) * bool(peaks)
    figure = Figure((width, height))
    _heading(figure, f"{metric} over time: {video}", f"{len(seconds)} frames; gaps have no score")
    axes = figure.add_axes(
        (0.75 / width, (height - head - chart) / height, (width - 0.9) / width, chart / height)
    )
    for model in models:
        axes.plot(
            seconds,
            scores[model],
            color=colour_of(models, model),
            linewidth=1.1,
            label=f"{title_of(model)}, mean {np.nanmean(scores[model]):.3f}"
            if np.isfinite(scores[model]).any()
            else title_of(model),
        )
    axes.legend(fontsize=7, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.07))
    axes.set_xlim(float(seconds[0]), float(seconds[-1]) if len(seconds) > 1 else 1.0)
    _plain(axes, metric)
    axes.set_xlabel("seconds", fontsize=8, color=_FAINT)
    for row in peaks:
        axes.axvline(row.shown.seconds, color=_FAINT, linewidth=0.7, linestyle=":")
        axes.text(
            row.shown.seconds, 1.0, row.label[0], transform=axes.get_xaxis_transform(),
            weight="bold", ha="center", va="bottom", **_STYLE,
        )  # fmt: skip
    top = height - head - chart - 0.75
    for place, row in enumerate(peaks):
        x = _LABEL_INCHES + place * (_CELL_INCHES + _GAP_INCHES)
        figure.text(x / width, (top + 0.05) / height, row.label, va="bottom", **_STYLE)
        for line, column in enumerate(columns):
            y = top - (line + 1) * cell - line * below
            _draw_cell(figure, row, column, (x, y, cell))
            if place == 0:
                figure.text(
                    (_LABEL_INCHES - 0.08) / width,
                    (y + cell / 2) / height,
                    _wrapped(title_of(column)),
                    ha="right", va="center", weight="bold", **_STYLE,
                )  # fmt: skip
    return figure


def _width(columns: int) -> float:
    return _LABEL_INCHES + columns * (_CELL_INCHES + _GAP_INCHES) + 0.1


def _cell_height(shown: Shown) -> float:
    sides = next(panel.shape for panel in shown.panels.values() if panel is not None)
    return float(_CELL_INCHES * sides[0] / sides[1])


def _heading(figure: Figure, title: str, about: str = "") -> None:
    height = figure.get_figheight()
    x = 0.08 / figure.get_figwidth()
    figure.text(x, 1 - 0.17 / height, title, fontsize=10, weight="bold", va="center", color=_INK)
    figure.text(x, 1 - 0.36 / height, about, fontsize=7.5, va="center", color=_FAINT)


def _plain(axes: Axes, label: str) -> None:
    axes.set_ylabel(label, fontsize=8, color=_FAINT)
    axes.tick_params(labelsize=7, colors=_FAINT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_LINE)
    axes.grid(axis="y", color=_LINE, linewidth=0.5)
    axes.set_axisbelow(True)


def _draw_row(
    figure: Figure, row: Row, columns: Sequence[str], y: float, cell: float, *, titles: bool
) -> None:
    width, height = figure.get_size_inches()
    figure.text(0.08 / width, (y + cell) / height, row.label, va="top", linespacing=1.35, **_STYLE)
    for place, column in enumerate(columns):
        x = _LABEL_INCHES + place * (_CELL_INCHES + _GAP_INCHES)
        _draw_cell(figure, row, column, (x, y, cell))
        if titles:
            figure.text(
                (x + _CELL_INCHES / 2) / width, (y + cell + 0.05) / height, title_of(column),
                ha="center", va="bottom", weight="bold", **_STYLE,
            )  # fmt: skip


def _draw_cell(figure: Figure, row: Row, column: str, at: tuple[float, float, float]) -> None:
    x, y, cell = at
    width, height = figure.get_size_inches()
    axes = figure.add_axes((x / width, y / height, _CELL_INCHES / width, cell / height))
    axes.set_axis_off()
    panel = row.shown.panels.get(column)
    if panel is None:
        axes.set_axis_on()
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not stored", ha="center", va="center", fontsize=8, color=_FAINT)
    else:
        axes.imshow(panel, aspect="auto", interpolation="antialiased")
    if column in row.below:
        figure.text(
            (x + _CELL_INCHES / 2) / width, (y - 0.03) / height, row.below[column],
            ha="center", va="top", fontsize=7.5, color=_FAINT,
        )  # fmt: skip


def _wrapped(text: str) -> str:
    return text.replace(" ", "\n")
