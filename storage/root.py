"""This module creates a store's root, checks it before every use, and locks it for writing."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from foveal import __version__
from foveal.errors import StoreError
from foveal.storage.claims import Claims
from foveal.storage.copies import group_attributes, read_copy, read_original, write_group
from foveal.storage.digests import sealed, unsealed
from foveal.storage.index import distrust_index
from foveal.storage.location import Location
from foveal.storage.names import OF_STORE
from foveal.storage.schema import FORMAT_VERSION, JOURNAL, VIDEOS

_SOFTWARE = ("numpy", "opencv-contrib-python", "torch", "ptlflow", "zarr", "prefect")


@functools.cache
def software_versions() -> dict[str, str]:
    """Return the versions of everything that shapes the numbers, by name, for provenance."""
    found = {"python": platform.python_version()}
    for name in _SOFTWARE:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found["foveal"] = __version__
    return found


_ROOT = {"format_version": int, "dataset": str, "recipe": dict, "software": dict}
"""Attributes of the root and their types."""


def create_store(location: Location, dataset: str, recipe: Mapping[str, Any]) -> None:
    """Create the store's root, or update the recipe of an existing store.

    Parameters
    ----------
    location : Location
    dataset : str
        Name of the dataset.
    recipe : mapping
        The resolved recipe.

    Raises
    ------
    StoreError
        The place holds something else, another dataset, or a newer format, or cannot be reached.
    """
    existing = _check_place(location)
    for folder in ("", VIDEOS, OF_STORE):
        sweep(location, folder, "*.partial")
    if existing is not None and existing["dataset"] != dataset:
        raise StoreError(
            f"{location} holds {existing['dataset']!r}, the recipe says {dataset!r}; "
            "one store holds one dataset: choose another place"
        )
    attributes = {
        "format_version": FORMAT_VERSION,
        "dataset": dataset,
        "recipe": recipe,
        "software": software_versions(),
    }
    write_group(location, "", {"foveal": sealed(attributes)})
    # Every time, since a kill may have come between the two groups.
    write_group(location, VIDEOS, {})


def sweep(location: Location, folder: str, pattern: str) -> None:
    """Remove what a kill in the middle of a write left in a local folder."""
    if location.local is not None:
        for leftover in (location.local / folder).glob(pattern):
            if not leftover.is_dir():
                leftover.unlink(missing_ok=True)


def _check_place(location: Location) -> dict[str, Any] | None:
    """Do what `check_format` does; where there is no store, nothing else may be there either."""
    existing = check_format(location)
    if existing is None:
        names = [name for name in location.list_folder("") if not name.endswith(".partial")]
        if set(names) - {JOURNAL}:
            # Another build may have made the store between the two looks.
            existing = check_format(location)
            if existing is None:
                raise StoreError(
                    f"{location} is not a foveal store and not empty ({', '.join(names[:3])}, …); "
                    "choose another place"
                )
    return existing


def check_format(location: Location) -> dict[str, Any] | None:
    """Return the root attributes of a store, None where there is no store.

    Raises
    ------
    StoreError
        The store was written by a newer foveal, is another Zarr hierarchy, or its root is damaged
        and has no usable copy.
    """
    original = read_original(location, "")
    copy = read_copy(location, "")
    if original is None and copy is None:
        return None
    attributes: dict[str, Any] | None = None
    why = "it is missing"
    for content in (original, copy):
        try:
            if content is not None:
                attributes = _root_attributes(content)
                break
        except ValueError as error:
            why = why if content is copy else str(error)
    if attributes is None:
        location.read("zarr.json")  # where it cannot be read at all, that error says more
        if original and _is_foreign(original):
            raise StoreError(f"{location} is a Zarr hierarchy that foveal did not write")
        raise StoreError(
            f"{location}/zarr.json is damaged ({why}), and has no second copy; write it anew by "
            "`foveal build` into an empty folder and copy its zarr.json here"
        )
    if attributes["format_version"] > FORMAT_VERSION:
        raise StoreError(
            f"{location} has format version {attributes['format_version']}, this foveal reads "
            f"versions up to {FORMAT_VERSION}; upgrade foveal"
        )
    return attributes


def _root_attributes(content: bytes) -> dict[str, Any]:
    values = group_attributes(content).get("foveal")
    if not isinstance(values, dict):
        raise ValueError("it has no foveal attributes")
    values = unsealed(values)
    for key, kind in _ROOT.items():
        if type(values.get(key)) is not kind:
            raise ValueError(f"its {key} is {values.get(key)!r}")
    return values


def _is_foreign(content: bytes) -> bool:
    try:
        return "foveal" not in group_attributes(content)
    except ValueError:
        return False


@contextmanager
def store_lock(location: Location, work: str | None = None) -> Iterator[Claims]:
    """Hold a store while writing: alone, or together with processes whose work may share it.

    Parameters
    ----------
    location : Location
    work : str, optional
        What is done; others may join whose work may share the store
        (`foveal.storage.claims.may_share`). By default no other process may.

    Yields
    ------
    Claims
        For claiming single videos.

    Raises
    ------
    StoreLocked
        Another process does work that cannot share the store.
    StoreError
        Something that is not a store is there; then nothing is written.
    """
    _check_place(location)
    try:
        with Claims(location, work) as claims:
            if location.local is not None:
                # Readers see by the time of this file when the latest build began.
                with location.reaching():
                    lock = location.local / JOURNAL / "lock"
                    lock.write_text(f"{os.getpid()} on {platform.node()}")
            with claims.whole_store() as whole:
                distrust_index(whole, claims.id)
            yield claims
    finally:
        if location.local is not None and _is_empty(location):
            _leave_nothing(location.local / JOURNAL)


def _is_empty(location: Location) -> bool:
    """Whether no store was made."""
    try:
        return location.read("zarr.json") is None and read_copy(location, "") is None
    except StoreError:
        return False


def _leave_nothing(journal: Path) -> None:
    """Remove the empty folders of a store that was not made."""
    (journal / "lock").unlink(missing_ok=True)
    folders = [path for path in journal.rglob("*") if path.is_dir()]
    for folder in [*sorted(folders, reverse=True), journal, journal.parent]:
        with suppress(OSError):
            folder.rmdir()
