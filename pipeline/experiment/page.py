"""This module writes the tables of an experiment: an HTML page, a CSV of all numbers, LaTeX."""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2

from foveal.errors import writing
from foveal.pipeline.report.report import prose

PAGE, NUMBERS = "tables.html", "tables.csv"

LARGE = 20
"""Numbers from here on are not scores (parameters in millions) and are shown without decimals."""

COLUMNS = (
    "table", "row", "training", "target", "metric",
    "ours", "published", "difference", "doubtful", "state", "notes",
)  # fmt: skip


def write_tables(comparison: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``tables.html``, ``tables.csv`` and one ``<table>.tex`` per table.

    Parameters
    ----------
    comparison : mapping
        See `foveal.pipeline.experiment.comparison.compare`.
    folder : Path
        Made where it is missing; earlier files are replaced.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    Unreachable
        They cannot be written.
    """
    contents = {PAGE: html(comparison), NUMBERS: numbers(comparison)}
    for table in comparison["tables"]:
        contents[f"{table['key']}.tex"] = latex(comparison, table)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in contents]


def numbers(comparison: Mapping[str, Any]) -> str:
    """Return CSV, one line per table, row, target and metric."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for table in comparison["tables"]:
        for row in table["rows"]:
            for target, cells in row["cells"].items():
                for metric, cell in cells.items():
                    notes = "; ".join(comparison["notes"][number - 1] for number in row["notes"])
                    writer.writerow([
                        table["key"], row["name"], row["training"], target, metric, cell["ours"],
                        cell["published"], cell["difference"], cell["doubtful"], row["state"],
                        notes,
                    ])  # fmt: skip
    return text.getvalue()


def latex(comparison: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    """Return one ``tabular`` per target, without packages: ours, published, difference."""
    lines = [
        f"% {comparison['paper']}: {table['key']}, {table['title']} ({comparison['scale']} scale)",
        "% Per metric: ours, published, difference. No ours: not run, withheld, or of others.",
    ]
    heads = [f"\\multicolumn{{3}}{{c}}{{{_tex(label(metric))}}}" for metric in table["metrics"]]
    for target in table["targets"]:
        lines += [
            f"% {target['title']}",
            f"\\begin{{tabular}}{{l*{{{3 * len(heads)}}}{{r}}}}",
            "\\hline",
            " & ".join([_tex(target["title"]), *heads]) + r" \\",
            "\\hline",
        ]
        for row in table["rows"]:
            marks = ",".join(map(str, row["notes"]))
            name = _tex(row["name"]) + (f"$^{{{marks}}}$" if marks else "")
            cells = row["cells"][target["name"]].values()
            lines.append(" & ".join([name, *(part for cell in cells for part in _parts(cell))])
                         + r" \\")  # fmt: skip
        lines += ["\\hline", "\\end{tabular}", ""]
    lines += [f"% {number}: {text}" for number, text in enumerate(comparison["notes"], start=1)]
    return "\n".join(lines) + "\n"


def _parts(cell: Mapping[str, Any]) -> Iterator[str]:
    yield number(cell["ours"])
    yield printed(cell)
    yield f"${signed(cell['difference'])}$" if cell["difference"] is not None else ""


def label(metric: Mapping[str, Any]) -> str:
    """Return the head of a metric's column, with an arrow to the better side."""
    return f"{metric['label']} {'↑' if metric['higher_is_better'] else '↓'}"


def number(value: float | None) -> str:
    """Return a number with three decimals, or nothing."""
    return "" if value is None else f"{value:.3f}"


def printed(cell: Mapping[str, Any]) -> str:
    """Return the published number with all digits, at least three decimals; ``?`` if doubtful."""
    value = cell["published"]
    if value is None:
        return ""
    text = f"{value:g}" if value >= LARGE else f"{value:.5f}".rstrip("0")
    whole, _, decimals = text.partition(".")
    text = text if value >= LARGE else f"{whole}.{decimals:0<3}"
    return text + ("?" if cell["doubtful"] else "")


def signed(value: float | None) -> str:
    """Return a number with its sign and three decimals, or nothing."""
    return "" if value is None else f"{value:+.3f}"


_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "α": r"$\alpha$", "σ": r"$\sigma$",
}  # fmt: skip


def _tex(text: str) -> str:
    """Escape a text for LaTeX."""
    return re.sub("[" + re.escape("".join(_SPECIAL)) + "]", lambda one: _SPECIAL[one[0]], text)


def html(comparison: Mapping[str, Any]) -> str:
    """Return one self-contained page."""
    return _templates().get_template("tables.html").render(**comparison)


@functools.cache
def _templates() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("foveal.pipeline.experiment"),
                jinja2.PackageLoader("foveal.pipeline.report"),
            ]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    found.filters |= {
        "number": number,
        "printed": printed,
        "signed": signed,
        "label": label,
        "prose": prose,
    }
    return found
