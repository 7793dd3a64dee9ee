"""Names and keys: how ids become them, and which of those read from a store are believed.

Nothing that a store says is joined to a path before it was checked here.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from foveal.errors import StoreError
from foveal.storage.schema import JOURNAL, VIDEOS

# Separators, what file systems forbid, what fsspec takes for a pattern when it deletes; and the
# beginnings that Zarr reserves.
_UNSAFE = re.compile(r'[%/\\:*?"<>|\[\]{}\x00-\x1f]|^_(?=_)|^\.(?=\.?$)')
_TAKEN = ("zarr.json", "lock")
"""Names that stand for something else in the folders of groups and of journals."""
_OBJECT = re.compile(r"zarr\.json|c(/\d{1,18})*")
_LONGEST = 200

OF_STORE = f"{JOURNAL}/%store"
"""Folder of what concerns the whole store; no video's journal can have this name."""


def group_name(video: str) -> str:
    """Name of a video's group and journal folder: the id, unsafe characters percent-encoded.

    Different ids have different names, and `urllib.parse.unquote` gives the id back.

    Raises
    ------
    StoreError
        Where the id is empty.

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
    """Key of a video's group."""
    return f"{VIDEOS}/{group_name(video)}"


def journal_key(video: str, name: str) -> str:
    """Key of a mark or of the quarantine record."""
    return f"{JOURNAL}/{group_name(video)}/{name}.json"


def video_of(folder: str) -> str | None:
    """The id behind the name of a group or journal folder; None where it is no such name."""
    video = unquote(folder)
    return video if video and group_name(video) == folder else None


def is_name(name: object) -> bool:
    """Whether this may name an array or a stage: one plain part of a path.

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
    """Whether this is the key of an object below an array: ``zarr.json``, ``c/0/1``, …."""
    return isinstance(key, str) and _OBJECT.fullmatch(key) is not None
