"""Read the code blocks of a page, and the comments that say what is done with them.

A page is Markdown that GitHub shows as it is. ``python`` and ``sh`` blocks are run by ``make docs``
(`tools.docs.run`). Comments on the line before a block change that:

``<!-- not run: needs DHF1K -->``
    The block is not run; the reason is printed with the page. Its commands are still parsed
    (``tests/test_docs.py``).
``<!-- output -->``
    The ``text`` block that follows is what the block before it printed; ``make docs`` writes it.
    ``<!-- output: 12 lines -->`` shows the first lines alone.
``<!-- prepare: mkdir maps -->``
    Shell commands that make what the next blocks need. They are run and never shown.
``<!-- picture: sheet.png -->``
    The picture on the next line is a copy of this file, which a block before it wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUN = ("python", "sh")
SHOWN = ("text", "yaml", "toml", "json", "")
COMMAND = re.compile(r"^\$? ?(foveal|make|pip|python3?|prefect|git|nohup|torchrun) ", re.MULTILINE)
_PART = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)\n(?P<code>.*?)^ *```$"
    r"|^<!-- (?P<mark>not run|output|prepare|picture)(?:: (?P<words>.*?))? -->$"
    r"|^!\[[^\]]*\]\((?P<picture>[^)]+)\)",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Block:
    """A fenced block, a picture or a ``prepare`` comment of a page.

    Attributes
    ----------
    kind : str
        Language of the block; ``prepare``, ``picture`` or ``output`` for what these comments mark.
    text : str
        Code, output, commands, or the link of a picture.
    line : int
        Line of the page, from 1, on which the text begins.
    span : tuple of int
        Where the text begins and ends in the page, in characters.
    not_run : str or None
        Why the block is not run.
    source : str
        File that a picture is a copy of.
    lines : int or None
        How many lines of an output are shown; None for all.
    """

    kind: str
    text: str
    line: int
    span: tuple[int, int]
    not_run: str | None = None
    source: str = ""
    lines: int | None = None


class PageError(Exception):
    """A page breaks the conventions; the message names file, line and what to write."""


def read_blocks(page: Path, text: str) -> Iterator[Block]:
    """Give the blocks of a page in order.

    Parameters
    ----------
    page : Path
        The page's file, for messages.
    text : str
        Its content.

    Raises
    ------
    PageError
        A comment has no block, a reason is missing, or commands stand in a block that is not run.
    """
    pending: re.Match[str] | None = None
    for found in _PART.finditer(text):
        place = f"{page}:{text.count(chr(10), 0, found.start()) + 1}"
        mark = found["mark"]
        if mark == "prepare":
            yield _block("prepare", found, "words", text)
        elif mark:
            if pending is not None:
                raise PageError(f"{place}: the comment before it ({pending[0]}) has no block")
            if mark in ("not run", "picture") and not found["words"]:
                raise PageError(f"{place}: write <!-- {mark}: … -->")
            pending = found
        elif found["picture"]:
            if pending is not None and pending["mark"] == "picture":
                block = _block("picture", found, "picture", text)
                block.source = pending["words"]
                pending = None
                yield block
        else:
            yield _fence(place, found, pending, text)
            pending = None
    if pending is not None:
        raise PageError(f"{page}: {pending[0]} has no block")


def _fence(place: str, found: re.Match[str], pending: re.Match[str] | None, text: str) -> Block:
    language, mark = found["language"], pending["mark"] if pending is not None else None
    if language not in RUN and language not in SHOWN:
        raise PageError(f"{place}: ```{language} is neither run ({RUN}) nor shown ({SHOWN})")
    if language not in RUN and mark == "not run":
        raise PageError(f"{place}: only blocks of {' and '.join(RUN)} are run")
    if language in ("", "text") and mark != "output" and COMMAND.search(found["code"]):
        raise PageError(f"{place}: commands belong into a ```sh block, which is run")
    if mark == "output" and language != "text":
        raise PageError(f"{place}: the output of a block is a ```text block")
    block = _block("output" if mark == "output" else language, found, "code", text)
    words = pending["words"] if pending is not None else None
    if mark == "not run":
        block.not_run = words
    elif mark == "output" and words:
        block.lines = int(words.removesuffix(" lines"))
    return block


def _block(kind: str, found: re.Match[str], group: str, text: str) -> Block:
    line = text.count("\n", 0, found.start(group)) + 1
    return Block(kind, found[group], line, found.span(group))
