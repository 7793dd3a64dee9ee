"""A store's root: created once, checked before every use, locked while it is built."""

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
    """Versions of everything that shapes the numbers, for provenance."""
    found = {"python": platform.python_version()}
    for name in _SOFTWARE:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found["foveal"] = __version__
    return found


_ROOT = {"format_version": int, "dataset": str, "recipe": dict, "software": dict}
"""What the root says of a store, and of which type."""


def create_store(location: Location, dataset: str, recipe: Mapping[str, Any]) -> None:
    """Create the store's root, or bring the recipe of an existing one up to date.

    Raises
    ------
    StoreError
        Where the place holds something else, another dataset, or a newer format, or cannot be
        reached.
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
    # Looked for every time: a kill may have come between the two groups.
    write_group(location, VIDEOS, {})


def sweep(location: Location, folder: str, pattern: str) -> None:
    """Remove what a kill in the middle of a write left in a local folder."""
    if location.local is not None:
        for leftover in (location.local / folder).glob(pattern):
            if not leftover.is_dir():
                leftover.unlink(missing_ok=True)


def _check_place(location: Location) -> dict[str, Any] | None:
    """As `check_format`, and where there is no store, nothing else may lie there either."""
    existing = check_format(location)
    if existing is None:
        names = [name for name in location.list_folder("") if not name.endswith(".partial")]
        if set(names) - {JOURNAL}:
            raise StoreError(
                f"{location} is no foveal store and not empty ({', '.join(names[:3])}, …); "
                "choose another place"
            )
    return existing


def check_format(location: Location) -> dict[str, Any] | None:
    """Root attributes of a store, None where there is none.

    Raises
    ------
    StoreError
        Where it was written by a newer foveal, is some other Zarr group, or is damaged and has no
        second copy.
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
        location.read("zarr.json")  # that it cannot be read at all says more
        if original and _is_foreign(original):
            raise StoreError(f"{location} is a Zarr hierarchy, but none that foveal wrote")
        raise StoreError(
            f"{location}/zarr.json is damaged ({why}), and has no second copy; write it anew by "
            "`foveal build` into an empty folder and copy its zarr.json here"
        )
    if attributes["format_version"] > FORMAT_VERSION:
        raise StoreError(
            f"{location} has format version {attributes['format_version']}, this foveal knows up "
            f"to {FORMAT_VERSION}; upgrade foveal"
        )
    return attributes


def _root_attributes(content: bytes) -> dict[str, Any]:
    values = group_attributes(content).get("foveal")
    if not isinstance(values, dict):
        raise ValueError("it says nothing of foveal")
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
    """Be at work on a store: alone, or together with others who do the same.

    Parameters
    ----------
    location : Location
    work : str, optional
        What is done; others who do the same may join. By default nobody may.

    Raises
    ------
    StoreLocked
        Where another process is at work on something else.
    StoreError
        Where something else lies there; nothing is written then.
    """
    _check_place(location)
    try:
        with Claims(location, work) as claims:
            if location.local is not None:
                # The time of this file tells readers when the latest build began.
                with location.reaching():
                    lock = location.local / JOURNAL / "lock"
                    lock.write_text(f"{os.getpid()} on {platform.node()}")
            with claims.whole_store() as whole:
                distrust_index(whole)
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
