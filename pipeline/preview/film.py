"""Draw a film: each picture shows all layers of one moment, and the pictures follow in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from foveal.pipeline.preview.panels import Layer, Picture
from foveal.pipeline.preview.strips import Strip, draw_strip, label_strip, place_of
from foveal.pipeline.preview.text import FAINT, INK, PAPER, WARNING, fitted, font, wrapped
from foveal.pipeline.preview.view import VideoView
from foveal.pipeline.video.encode import encode_video

_GAP = 6
_STRIP_PX, _STRIP_LABEL_PX = 58, 150


def film_pictures(
    view: VideoView,
    layers: Sequence[Layer],
    strips: Sequence[Strip],
    frames: Sequence[int],
    size: tuple[int, int],
    title: str,
    remarks: Sequence[str],
) -> Iterator[Picture]:
    """Draw the film's pictures, one per frame; for the parameters see `sheet.contact_sheet`.

    The `layers` are panels from left to right and top to bottom; below are the `strips` and the
    `remarks`.

    Yields
    ------
    ndarray, uint8 [even height, even width, 3]
    """
    height, width = size
    text_px = max(11, width // 28)
    line = int(text_px * 1.6)
    columns = 1 if len(layers) <= 1 else 2 if len(layers) <= 4 else 3
    rows = -(-len(layers) // columns)
    full = _GAP + columns * (width + _GAP)
    foot = [text for remark in remarks for text in wrapped(remark, full - 2 * _GAP, text_px)]
    panel_top = line + _GAP
    strip_top = panel_top + rows * (line + height + _GAP)
    foot_top = strip_top + len(strips) * (_STRIP_PX + _GAP) + 2 * _GAP
    canvas = (full + full % 2, foot_top + len(foot) * line)
    page = Image.new("RGB", (canvas[0], canvas[1] + canvas[1] % 2), PAPER)
    pen = ImageDraw.Draw(page)
    face = font(text_px)
    places = [
        (_GAP + n % columns * (width + _GAP), panel_top + n // columns * (line + height + _GAP))
        for n in range(len(layers))
    ]
    for layer, (x, y) in zip(layers, places, strict=True):
        pen.text((x, y + line // 6), layer.title, INK, font(text_px, True))
        beside = x + font(text_px, True).getlength(layer.title + "  ")
        notes = fitted(" · ".join(layer.notes), int(x + width - beside), text_px)
        pen.text((beside, y + line // 6), notes, FAINT, face)
    strip_left = min(_STRIP_LABEL_PX, full // 3)
    beside_strips = full - _GAP - strip_left
    for n, strip in enumerate(strips):
        y = strip_top + n * (_STRIP_PX + _GAP)
        label_strip(pen, strip, (_GAP, y), strip_left - 2 * _GAP)
        drawn = draw_strip(view, strip, (_STRIP_PX, beside_strips), ())
        page.paste(drawn, (strip_left, y))
    curves = page.crop((strip_left, strip_top, full - _GAP, foot_top - 2 * _GAP))
    for n, text in enumerate(foot):
        pen.text((_GAP, foot_top + n * line), text, WARNING, face)
    pen.text((_GAP, _GAP // 2), fitted(title, full // 2, text_px, True), INK, font(text_px, True))

    names = sorted({name for layer in layers for name in layer.arrays})
    bar_top = foot_top - 2 * _GAP
    for n, moment in enumerate(view.moments(names, frames)):
        pen.rectangle((full // 2 + 2 * _GAP, 0, full, line), PAPER)
        clock = f"{view.seconds[moment.frame]:.2f} s · frame {moment.frame}"
        pen.text((full - _GAP, _GAP // 2), clock, INK, face, anchor="ra")
        for layer, (x, y) in zip(layers, places, strict=True):
            panel = layer.draw(moment)
            if panel is None:
                panel = np.full((height, width, 3), PAPER, np.uint8)
            page.paste(Image.fromarray(panel), (x, y + line))
        if strips:
            page.paste(curves, (strip_left, strip_top))
            seconds = view.seconds[moment.frame]
            place = strip_left + place_of(view, seconds, beside_strips)
            pen.line([(place, strip_top), (place, foot_top - 3 * _GAP)], INK)
        done = _GAP + (full - 2 * _GAP) * (n + 1) // len(frames)
        pen.rectangle((_GAP, bar_top, full - _GAP, bar_top + 3), (52, 54, 62))
        pen.rectangle((_GAP, bar_top, done, bar_top + 3), FAINT)
        yield np.asarray(page)


def write_film(
    pictures: Iterable[Picture],
    path: Path,
    fps: float,
    sound: tuple[NDArray[np.float32], int] | None = None,
) -> None:
    """Write pictures as H.264 (``.mp4``) or as an animated GIF with one palette per picture.

    Parameters
    ----------
    pictures : iterable of ndarray, uint8 [even height, even width, 3]
        RGB.
    path : Path
        File to write; its suffix selects the format.
    fps : float
        Pictures per second.
    sound : (ndarray, float32 [n], int), optional
        Samples and their rate in Hz, for ``.mp4``.

    Raises
    ------
    MissingDependency
        H.264 is wanted and there is no ffmpeg.
    FovealError
        ffmpeg fails; the message ends with its own.
    """
    if path.suffix.lower() == ".gif":
        drawn = (Image.fromarray(picture).quantize(256) for picture in pictures)
        first = next(drawn)
        first.save(path, save_all=True, append_images=drawn, duration=1000 / fps, loop=0)
    else:
        rate = Fraction(fps).limit_denominator(1001)
        encode_video(pictures, path, rate, "libx264", sound=sound)
