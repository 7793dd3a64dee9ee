"""Turn docstrings with a little reStructuredText into the Markdown that mkdocstrings reads."""

from __future__ import annotations

import re
from typing import Any

import griffe

_LITERAL = re.compile(r"^\s*::\s*$\n", re.MULTILINE)
_LITERAL_AT_THE_END = re.compile(r"(?<=\S)::$", re.MULTILINE)
_TABLE = re.compile(r"^(?P<rule>=+(?: +=+)+)\n(?P<rows>.*?)\n(?P=rule)$", re.MULTILINE | re.DOTALL)
_REFERENCE = re.compile(r"(?<![`\[])`(foveal(?:\.\w+)+)`(?!`)")


class MarkdownDocstrings(griffe.Extension):
    """Turn literal blocks, simple tables and dotted names of docstrings into Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return a docstring as Markdown.

    Parameters
    ----------
    text : str
        A docstring with ``::`` literal blocks or tables between lines of ``=``.
    """
    text = _TABLE.sub(lambda table: f"```text\n{table['rows']}\n```", text)
    return _LITERAL_AT_THE_END.sub(":", _LITERAL.sub("", text))
