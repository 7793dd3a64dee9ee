"""This module turns ids into names and keys, and checks names that were read from a store.

Nothing that a store says becomes part of a path before it was checked here.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from foveal.errors import StoreError
from foveal.storage.schema import JOURNAL, VIDEOS

# Separators, characters that file systems forbid or that fsspec takes for patterns when it deletes,
# and the beginnings of names that Zarr reserves.
_UNSAFE = re.compile(r'[%/\\:*?"<>|\[\]{}\x00-\x1f]|^_(?=_)|^\.(?=\.?$)')
_TAKEN = ("zarr.json", "lock")
"""Names with another meaning in the folders of groups and of journals."""
_OBJECT = re.compile(r"zarr\.json|c(/\d{1,18})*")
_LONGEST = 200

OF_STORE = f"{JOURNAL}/%store"
"""Folder of records about the whole store; no video's journal can have this name."""


def group_name(video: str) -> str:
    """Return the name of a video's group and journal folder: the id, unsafe characters %-encoded.

    Different ids have different names, and `urllib.parse.unquote` gives the id back.

    Raises
    ------
    StoreError
        The id is empty.

    Examples
    --------
    >>> group_name("002"), group_name("clips/a b"), group_name("__MACOSX")
    ('002', 'clips%2Fa b', '%5F_MACOSX')
    """
    if not video:
        raise StoreError("a video without a name cannot be stored; give it an id")
    if video in _TAKEN:
        return f"%{ord(video[0]):02X}{video[1:]}"
    return _UNSAFE.sub(lambda match: f"%{ord(match.group()):02X}", video)


def group_path(video: str) -> str:
    """Return the key of a video's group."""
    return f"{VIDEOS}/{group_name(video)}"


def journal_key(video: str, name: str) -> str:
    """Return the key of a mark, or of the quarantine record."""
    return f"{JOURNAL}/{group_name(video)}/{name}.json"


def video_of(folder: str) -> str | None:
    """Return the id of a group's or journal's folder; None where the name is not one of these."""
    video = unquote(folder)
    return video if video and group_name(video) == folder else None


def is_name(name: object) -> bool:
    """Tell whether this may name an array or a stage: one plain part of a path.

    Examples
    --------
    >>> is_name("flow_raft"), is_name("../../victim"), is_name("._frames"), is_name(7)
    (True, False, False, False)
    """
    return (
        isinstance(name, str)
        and 0 < len(name) <= _LONGEST
        and not name.startswith(".")
        and group_name(name) == name
    )


def is_object_key(key: object) -> bool:
    """Tell whether this is the key of an object below an array: ``zarr.json``, ``c/0/1``, …."""
    return isinstance(key, str) and _OBJECT.fullmatch(key) is not None
