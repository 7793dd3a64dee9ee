"""This module holds `Problem`: what `verify` finds wrong with an object of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "missing",
    "changed",
    "unreadable",
    "mark",
    "metadata",
    "stale",
    "alignment",
    "leftover",
    "unchecked",
]
"""What is wrong, see `Problem`."""

NOTES = ("leftover", "unchecked")
"""Kinds that do not mean damage."""

_SHOWN = 5


@dataclass(frozen=True)
class Problem:
    """Something in the store that is not as its marks say.

    Attributes
    ----------
    video : str
        Id of the video; empty for what concerns the whole store.
    stage : str
        Empty where the object belongs to no stage.
    key : str
        Object in the store.
    kind : str
        ``missing``, ``changed`` or ``unreadable`` object, unusable ``mark``, ``metadata`` that
        disagree with it, ``stale`` stage (computed from something that was replaced since), arrays
        out of ``alignment``; or a note: ``leftover``, an object that no mark lists (a killed build
        leaves some, and the next build removes them), and ``unchecked``, arrays, marks or metadata
        of the first edition, without a checksum or copy of their own.
    message : str
    """

    video: str
    stage: str
    key: str
    kind: Kind
    message: str

    @property
    def is_note(self) -> bool:
        """Whether the data is whole nevertheless."""
        return self.kind in NOTES


def some(names: Sequence[str]) -> str:
    """Return the first few of `names`, and how many there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, … ({len(names)} in all)"
