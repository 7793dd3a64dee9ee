"""Draw a contact sheet: one row per layer, one column per moment, strips over time, a legend."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from foveal.errors import FovealError
from foveal.pipeline.preview.panels import Layer, observer_colours
from foveal.pipeline.preview.strips import Strip, draw_strip, label_strip
from foveal.pipeline.preview.text import FAINT, INK, PAPER, WARNING, fitted, font, wrapped
from foveal.pipeline.preview.view import Points, VideoView

_MARGIN = 28
_GAP = 8
_GUTTER = 190
_STRIP_PX = 64
_TITLE_PX, _TEXT_PX, _SMALL_PX = 26, 17, 15
_LINE = 1.45
_LEGEND_OBSERVERS = 60
_MOST_PIXELS = 150_000_000


def contact_sheet(
    view: VideoView,
    layers: Sequence[Layer],
    strips: Sequence[Strip],
    frames: Sequence[int],
    size: tuple[int, int],
    title: str,
    remarks: Sequence[str],
) -> Image.Image:
    """Draw the sheet.

    Parameters
    ----------
    view : VideoView
    layers : sequence of Layer
        Rows, from top to bottom.
    strips : sequence of Strip
        Curves below the rows, as wide as all columns, with a mark at the moment of each column.
    frames : sequence of int
        Columns, from left to right.
    size : (height, width)
        Size of a panel in pixels.
    title : str
        Line at the top.
    remarks : sequence of str
        Sentences at the foot.

    Raises
    ------
    FovealError
        The sheet would have more than 150 million pixels.
    """
    height, width = size
    left = _MARGIN + _GUTTER
    full = left + len(frames) * (width + _GAP) - _GAP + _MARGIN
    inner = full - 2 * _MARGIN
    foot = [line for remark in remarks for line in wrapped(remark, inner, _TEXT_PX)]
    legends = [_Legend(layer.points, inner) for layer in layers if layer.points]
    top = _MARGIN + int(_TITLE_PX * _LINE + _TEXT_PX * _LINE) + 14
    first_row = top + int(_TEXT_PX * _LINE) + 2
    first_strip = first_row + len(layers) * (height + _GAP)
    legend_top = first_strip + len(strips) * (_STRIP_PX + _GAP) + 10
    foot_top = legend_top + sum(legend.height + 12 for legend in legends)
    if full * foot_top > _MOST_PIXELS:
        raise FovealError(
            f"a sheet of {full}×{foot_top} pixels is too large; "
            "ask for fewer frames or narrower panels"
        )
    sheet = Image.new("RGB", (full, foot_top + int(len(foot) * _TEXT_PX * _LINE) + _MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)

    pen.text(
        (_MARGIN, _MARGIN - 6), fitted(title, inner, _TITLE_PX, True), INK, font(_TITLE_PX, True)
    )
    below = _MARGIN - 6 + int(_TITLE_PX * _LINE)
    pen.text((_MARGIN, below), fitted(view.length, inner, _TEXT_PX), FAINT, font(_TEXT_PX))
    for column, frame in enumerate(frames):
        where = (left + column * (width + _GAP), top)
        pen.text(where, f"{view.seconds[frame]:.2f} s", INK, font(_TEXT_PX, True))
        edge = where[0] + width
        pen.text((edge, top + 1), f"frame {frame}", FAINT, font(_SMALL_PX), anchor="ra")
    for row, layer in enumerate(layers):
        _label(sheet, layer, first_row + row * (height + _GAP), height)
    names = sorted({name for layer in layers for name in layer.arrays})
    for column, moment in enumerate(view.moments(names, frames)):
        for row, layer in enumerate(layers):
            at = (left + column * (width + _GAP), first_row + row * (height + _GAP))
            panel = layer.draw(moment)
            if panel is None:
                _nothing(pen, at, size)
            else:
                sheet.paste(Image.fromarray(panel), at)
    for n, strip in enumerate(strips):
        y = first_strip + n * (_STRIP_PX + _GAP)
        label_strip(pen, strip, (_MARGIN, y), _GUTTER - 14)
        drawn = draw_strip(view, strip, (_STRIP_PX, full - left - _MARGIN), frames)
        sheet.paste(drawn, (left, y))
    for legend in legends:
        legend.draw(pen, legend_top)
        legend_top += legend.height + 12
    for n, line in enumerate(foot):
        pen.text((_MARGIN, foot_top + n * _TEXT_PX * _LINE), line, WARNING, font(_TEXT_PX))
    return sheet


def _label(sheet: Image.Image, layer: Layer, top: int, height: int) -> None:
    pen = ImageDraw.Draw(sheet)
    room = _GUTTER - 14
    title_px = 20 if font(20, True).getlength(layer.title) <= room else _SMALL_PX
    lines = wrapped(layer.title, room, title_px, bold=True)[:2]
    for n, line in enumerate(lines):
        pen.text((_MARGIN, top + 2 + n * title_px * 1.25), line, INK, font(title_px, True))
    y = top + 32.0 + (len(lines) - 1) * title_px * 0.6
    for note in layer.notes:
        pen.text((_MARGIN, y), fitted(note, room, _SMALL_PX), FAINT, font(_SMALL_PX))
        y += _SMALL_PX * _LINE
    if layer.key is not None and y + layer.key.shape[0] <= top + height:
        sheet.paste(Image.fromarray(layer.key), (_MARGIN, int(y + 6)))


def _nothing(pen: ImageDraw.ImageDraw, at: tuple[int, int], size: tuple[int, int]) -> None:
    height, width = size
    pen.rectangle((*at, at[0] + width - 1, at[1] + height - 1), outline=(56, 58, 66))
    middle = (at[0] + width / 2, at[1] + height / 2)
    pen.text(middle, "no next frame", FAINT, font(_SMALL_PX), anchor="mm")


class _Legend:
    """Observers and their colours, in one or more lines."""

    def __init__(self, points: Points, width_px: int) -> None:
        subjects = points.subjects
        colours = [tuple(map(int, colour)) for colour in observer_colours(len(subjects))]
        shown = list(zip(subjects, colours, strict=True))[:_LEGEND_OBSERVERS]
        if len(subjects) > len(shown):
            shown.append((f"and {len(subjects) - len(shown)} more", PAPER))
        self._placed = []
        x, line = 0.0, 0
        for name, colour in shown:
            wide = 20 + font(_SMALL_PX).getlength(name) + 18
            if x and x + wide > width_px:
                x, line = 0.0, line + 1
            self._placed.append((x, line, name, colour))
            x += wide
        self.height = int((line + 1) * _SMALL_PX * 1.6)

    def draw(self, pen: ImageDraw.ImageDraw, top: int) -> None:
        for x, line, name, colour in self._placed:
            left, y = _MARGIN + x, top + line * _SMALL_PX * 1.6
            pen.text((left, y), "●", colour, font(_SMALL_PX))
            pen.text((left + 18, y), name, FAINT, font(_SMALL_PX))
