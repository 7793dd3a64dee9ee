"""Metadata of the root and of groups, each with a second copy in the journal.

``zarr.json`` is what Zarr reads. The copy carries a digest, so where the two differ it is known
which one is damaged. A copy is removed before its original changes and written after it: a kill in
between leaves no copy, never a wrong one.
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
    """Key of a group's ``zarr.json``; the root's path is empty."""
    return f"{path}/zarr.json" if path else "zarr.json"


def copy_key(path: str) -> str:
    """Key of the second copy of a group's metadata."""
    if path in ("", VIDEOS):
        return f"{OF_STORE}/{path or 'root'}"
    # No ".json": a foveal that knows of no copies takes those for marks.
    return f"{JOURNAL}/{path.removeprefix(f'{VIDEOS}/')}/group"


def group_content(attributes: Mapping[str, Any]) -> bytes:
    """A group's ``zarr.json``, as zarr-python writes it."""
    values = {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}
    return json.dumps(values, indent=2).encode()


def group_attributes(content: bytes) -> dict[str, Any]:
    """Attributes in a group's ``zarr.json``.

    Raises
    ------
    ValueError
        Where it is no group of Zarr format 3.
    """
    try:
        values = json.loads(content)
        if (values["zarr_format"], values["node_type"]) != (3, "group"):
            raise ValueError("it is no group of Zarr format 3")
        return dict(values["attributes"])
    except (TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"it is no metadata of a group ({error!r})") from None


def write_group(location: Location, path: str, attributes: Mapping[str, Any]) -> None:
    """Write a group's metadata and their copy, both durably; nothing where all is as wanted."""
    content = group_content(attributes)
    key = metadata_key(path)
    if read_original(location, path) != content:
        location.delete(copy_key(path))
        location.write(key, content)
    if read_copy(location, path) != content:
        location.write_json(copy_key(path), sealed({"key": key, "text": content.decode()}))


def read_copy(location: Location, path: str) -> bytes | None:
    """The second copy of a group's metadata; None where there is none that can be believed."""
    content = copy_record(location, path)
    try:
        values = unsealed(json.loads(content or b"null"))
        if values["key"] != metadata_key(path):
            return None
        return str(values["text"]).encode()
    except (ValueError, TypeError, LookupError, RecursionError, AttributeError):
        return None


def copy_record(location: Location, path: str) -> bytes | None:
    """The object that holds the second copy, whatever is in it."""
    try:
        return location.read(copy_key(path))
    except StoreUnreachable as error:
        _raise_if_lost(location, error, copy_key(path))
        return b""


def read_group(location: Location, path: str) -> bytes | None:
    """A group's metadata: the copy where it can be believed, else ``zarr.json`` where it can."""
    content = read_copy(location, path)
    if content is None:
        content = read_original(location, path)
    try:
        group_attributes(content or b"")
    except ValueError:
        return None
    return content


def read_original(location: Location, path: str) -> bytes | None:
    """A group's ``zarr.json``, None where there is none; empty where it cannot be read."""
    try:
        return location.read(metadata_key(path))
    except StoreUnreachable as error:
        _raise_if_lost(location, error, metadata_key(path))
        return b""


def _raise_if_lost(location: Location, error: StoreUnreachable, key: str) -> None:
    if isinstance(error.__cause__, Exception):
        location.check_lost(error.__cause__, key)
