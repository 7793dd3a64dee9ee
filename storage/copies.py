"""This module writes the metadata of the root and of groups twice: as ``zarr.json``, and as a copy.

Zarr reads ``zarr.json``. The copy, in the journal, carries a digest, so where the two differ it is
known which one is damaged. The copy is removed before its original changes and written after it: a
kill in between leaves no copy, never a wrong one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from foveal.errors import StoreUnreachable
from foveal.storage.digests import sealed, unsealed
from foveal.storage.location import Location
from foveal.storage.names import OF_STORE
from foveal.storage.schema import JOURNAL, VIDEOS


def metadata_key(path: str) -> str:
    """Return the key of a group's ``zarr.json``; the root's path is empty."""
    return f"{path}/zarr.json" if path else "zarr.json"


def copy_key(path: str) -> str:
    """Return the key of the copy of a group's metadata."""
    if path in ("", VIDEOS):
        return f"{OF_STORE}/{path or 'root'}"
    # Without ".json", since a foveal from before the copies would take it for a mark.
    return f"{JOURNAL}/{path.removeprefix(f'{VIDEOS}/')}/group"


def group_content(attributes: Mapping[str, Any]) -> bytes:
    """Return a group's ``zarr.json``, as zarr-python writes it."""
    values = {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}
    return json.dumps(values, indent=2).encode()


def group_attributes(content: bytes) -> dict[str, Any]:
    """Return the attributes in a group's ``zarr.json``.

    Raises
    ------
    ValueError
        It is not the metadata of a group in Zarr format 3.
    """
    try:
        values = json.loads(content)
        if (values["zarr_format"], values["node_type"]) != (3, "group"):
            raise ValueError("it is not a group of Zarr format 3")
        return dict(values["attributes"])
    except (TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"it is not the metadata of a group ({error!r})") from None


def write_group(location: Location, path: str, attributes: Mapping[str, Any]) -> None:
    """Write a group's metadata and their copy durably; write nothing where both are as wanted."""
    content = group_content(attributes)
    key = metadata_key(path)
    if read_original(location, path) != content:
        location.delete(copy_key(path))
        location.write(key, content)
    if read_copy(location, path) != content:
        location.write_json(copy_key(path), sealed({"key": key, "text": content.decode()}))


def read_copy(location: Location, path: str) -> bytes | None:
    """Read the copy of a group's metadata; None where there is none or it is damaged."""
    content = copy_record(location, path)
    try:
        values = unsealed(json.loads(content or b"null"))
        if values["key"] != metadata_key(path):
            return None
        return str(values["text"]).encode()
    except (ValueError, TypeError, LookupError, RecursionError, AttributeError):
        return None


def copy_record(location: Location, path: str) -> bytes | None:
    """Read the object that holds the copy, whatever its content; empty where that fails."""
    return _read(location, copy_key(path))


def read_group(location: Location, path: str) -> bytes | None:
    """Read a group's metadata: the copy where it is whole, else a whole ``zarr.json``, or None."""
    content = read_copy(location, path)
    if content is None:
        content = read_original(location, path)
    try:
        group_attributes(content or b"")
    except ValueError:
        return None
    return content


def read_original(location: Location, path: str) -> bytes | None:
    """Read a group's ``zarr.json``: None where there is none, empty where it cannot be read."""
    return _read(location, metadata_key(path))


def _read(location: Location, key: str) -> bytes | None:
    try:
        return location.read(key)
    except StoreUnreachable as error:
        if isinstance(error.__cause__, Exception):
            location.check_lost(error.__cause__, key)
        return b""
