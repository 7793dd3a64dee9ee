"""HTML by hand: escaping, tables, pictures as data URIs, and the page around them."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence

from PIL import Image

from foveal.pipeline.preview.panels import Picture

MAX_ROWS = 2000
"""Rows of a table of videos, at most."""

STYLE = """
:root { color-scheme: light dark;
  --bg: #f6f6f4; --card: #fff; --ink: #1d1e24; --faint: #646773;
  --line: #e2e3e8; --shade: #0000002a;
  --accent: #2f62c9; --fill: #2f62c92e; --good: #1f7a4d; --bad: #b3261e; --badfill: #b3261e14; }
@media (prefers-color-scheme: dark) { :root {
  --bg: #14151a; --card: #1d1f26; --ink: #e9eaee; --faint: #9a9dab;
  --line: #30323b; --shade: #000000b0;
  --accent: #83aaff; --fill: #83aaff30; --good: #6fcf9d; --bad: #ff9a8f; --badfill: #ff9a8f1a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.7rem; margin: 0; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 36px 0 10px; }
h3 { font-size: .95rem; margin: 0 0 6px; overflow-wrap: anywhere; }
section > h3 { margin-top: 22px; } section > .box + * { margin-top: 12px; }
section > .box + h3 { margin-top: 22px; } .trouble p { margin: 0; }
p { margin: 4px 0 12px; } .faint { color: var(--faint); font-size: .87rem; }
code, pre { font: .85rem/1.5 ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; }
pre { overflow-x: auto; margin: 0; padding: 12px; }
.tiles, .cards, .plots { display: grid; gap: 12px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); margin-top: 18px; }
.cards { grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
.plots { grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); }
.box, details { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.box { padding: 14px; min-width: 0; }
.tile b { display: block; font-size: 1.45rem; line-height: 1.25; overflow-wrap: anywhere; }
.tile span { color: var(--faint); font-size: .85rem; }
.bad b, .bad h3, p.bad, td.bad { color: var(--bad); } td.good { color: var(--good); }
.trouble { border-color: var(--bad); background: var(--badfill); }
.wide { overflow-x: auto; padding: 0;
  background: linear-gradient(90deg, var(--card) 24px, transparent) 0 0 / 40px 100% no-repeat local,
    linear-gradient(270deg, var(--card) 24px, transparent) 100% 0 / 40px 100% no-repeat local,
    linear-gradient(90deg, var(--shade), transparent) 0 0 / 12px 100% no-repeat scroll,
    linear-gradient(270deg, var(--shade), transparent) 100% 0 / 12px 100% no-repeat scroll,
    var(--card); }
dl { margin: 0; display: grid; gap: 10px 24px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 210px), 1fr)); }
dt { color: var(--faint); font-size: .82rem; } dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: 7px 12px; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
th { color: var(--faint); font-weight: 500; font-size: .82rem; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td .under { display: block; color: var(--faint); font-size: .82rem; }
td .under.bad { color: var(--bad); }
td.long { white-space: normal; min-width: 11rem; overflow-wrap: anywhere; }
img { display: block; width: 100%; height: auto; border-radius: 6px; }
.spark { display: block; width: 100%; height: 34px; }
.area { fill: var(--fill); } .line { fill: none; stroke: var(--accent); stroke-width: 1.5;
  vector-effect: non-scaling-stroke; }
.curve { display: flex; justify-content: space-between; gap: 8px; margin: 8px 0 2px; }
.chart { display: block; width: 100%; height: auto; } .chart text { fill: var(--faint);
  font-size: 11px; } .bar { fill: var(--accent); } .axis { stroke: var(--line); }
.meter { display: block; height: 7px; min-width: 70px; margin: 3px 0 4px; border-radius: 4px;
  background: var(--fill); overflow: hidden; }
.meter i { display: block; height: 100%; background: var(--accent); }
details { margin-top: 10px; } summary { cursor: pointer; padding: 11px 14px; font-weight: 500; }
footer { margin-top: 40px; }
@media (max-width: 560px) { main { padding: 16px 12px 32px; } h1 { font-size: 1.35rem; }
  .tiles { grid-template-columns: repeat(2, 1fr); } th, td { padding: 6px 9px; } }
"""


def text(value: object) -> str:
    """A value, safe inside HTML."""
    return html.escape(str(value))


def prose(value: object) -> str:
    """Text in which what stands between backquotes is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", text(value))


def page(title: str, body: str) -> str:
    """The whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{text(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def section(title: str, content: str, about: str = "") -> str:
    """A heading, a line on what follows, and what follows."""
    remark = f'<p class="faint">{prose(about)}</p>' if about else ""
    return f"<section>\n<h2>{text(title)}</h2>{remark}\n{content}\n</section>"


def tiles(values: Iterable[tuple[str, str, bool]]) -> str:
    """Big figures with what they count; the third item says that it is bad news."""
    boxes = "".join(
        f'<div class="box tile{" bad" if bad else ""}"><b>{text(value)}</b>'
        f"<span>{text(label)}</span></div>"
        for value, label, bad in values
    )
    return f'<div class="tiles">{boxes}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """A table that scrolls sideways where it must; cells are HTML already.

    A cell that begins with ``<td`` is taken as it is.
    """
    kinds = ['class="n"' if n in numeric else "" for n in range(len(head))]
    top = "".join(f"<th {kind}>{text(name)}</th>" for name, kind in zip(head, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            cell if cell.startswith("<td") else f"<td {kind}>{cell}</td>"
            for cell, kind in zip(row, kinds, strict=True)
        )
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="box wide"><table><thead><tr>{top}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def first_rows(count: int) -> str:
    """A remark where a table of `MAX_ROWS` cannot show so many; empty otherwise."""
    return f" The first {MAX_ROWS:,} of {count:,}." if count > MAX_ROWS else ""


def folded(title: str, content: str) -> str:
    """Content that opens by a tap."""
    return f"<details><summary>{text(title)}</summary>{content}</details>"


def meter(share: float) -> str:
    """A bar for a share in [0, 1]."""
    return f'<span class="meter"><i style="width:{100 * min(max(share, 0), 1):.1f}%"></i></span>'


def image(picture: Picture, alt: str, *, lossless: bool = False) -> str:
    """A picture inside the page: JPEG, or PNG where colours must be exact."""
    height, width = picture.shape[:2]
    content = io.BytesIO()
    kind = "png" if lossless else "jpeg"
    Image.fromarray(picture).save(content, kind, quality=78, optimize=True)
    data = base64.b64encode(content.getvalue()).decode()
    return (
        f'<img src="data:image/{kind};base64,{data}" width="{width}" height="{height}" '
        f'alt="{text(alt)}">'
    )


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
