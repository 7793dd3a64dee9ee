"""Text in pictures, in the typeface that is part of matplotlib."""

from __future__ import annotations

import functools
from pathlib import Path

from PIL import ImageFont

Colour = tuple[int, int, int]

INK = (236, 236, 240)
FAINT = (154, 157, 168)
WARNING = (246, 196, 90)
PAPER = (20, 21, 26)


@functools.cache
def font(size_px: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans at `size_px`, `bold` or regular."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / name), size_px)


def fitted(text: str, width_px: int, size_px: int, bold: bool = False) -> str:
    """Cut `text` with an ellipsis where it is wider than `width_px` at `size_px`."""
    face = font(size_px, bold)
    if face.getlength(text) <= width_px:
        return text
    while text and face.getlength(text + "…") > width_px:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, width_px: int, size_px: int, bold: bool = False) -> list[str]:
    """Break `text` at spaces into lines that are no wider than `width_px` at `size_px`."""
    face = font(size_px, bold)
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(fitted(word, width_px, size_px, bold))
    return lines
