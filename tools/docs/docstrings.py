"""Turn docstrings with a little reStructuredText into the Markdown that mkdocstrings reads."""

from __future__ import annotations

import re
from typing import Any

import griffe

_LITERAL = re.compile(r"^[ \t]*::[ \t]*\n", re.MULTILINE)
_LITERAL_AT_THE_END = re.compile(r"(?<=\S)::$", re.MULTILINE)
_TABLE = re.compile(r"^(?P<rule>=+(?: +=+)+)\n(?P<rows>.*?)\n(?P=rule)$", re.MULTILINE | re.DOTALL)


class MarkdownDocstrings(griffe.Extension):
    """Turn literal blocks, simple tables and dotted names of docstrings into Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            if "\nArgs:" in obj.docstring.value:
                obj.docstring.value = _numpy_style(obj.docstring)
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return a docstring as Markdown.

    Parameters
    ----------
    text : str
        A docstring with ``::`` literal blocks or tables between lines of ``=``.
    """
    text = _TABLE.sub(lambda table: _table(table["rule"], table["rows"]), text)
    return _LITERAL_AT_THE_END.sub(":", _LITERAL.sub("", text))


def _table(rule: str, rows: str) -> str:
    """A simple table of reStructuredText as one of Markdown, without a head."""
    starts = [column.start() for column in re.finditer("=+", rule)]
    lines = ["|" + " |" * len(starts), "|" + "---|" * len(starts)]
    for row in rows.splitlines():
        ends = [*starts[1:], len(row)]
        cells = [row[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _numpy_style(docstring: griffe.Docstring) -> str:
    """A docstring in Google's style, which Prefect reads in flows, in that of NumPy."""
    parts = []
    for section in docstring.parse("google", returns_multiple_items=False):
        if section.kind is griffe.DocstringSectionKind.text:
            parts.append(section.value)
            continue
        heading = section.kind.value.capitalize()
        parts.append(f"\n{heading}\n{'-' * len(heading)}")
        for entry in section.value:
            described = "\n".join(f"    {line}" for line in entry.description.splitlines())
            name = f"{entry.name} : " if entry.name else ""
            parts.append(f"{name}{entry.annotation}\n{described}")
    return "\n".join(parts)
