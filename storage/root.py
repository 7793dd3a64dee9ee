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

import zarr
from filelock import FileLock, Timeout

from foveal.errors import StoreError, StoreLocked
from foveal.storage.location import Location
from foveal.storage.schema import FORMAT_VERSION, JOURNAL, VIDEOS

_SOFTWARE = ("foveal", "numpy", "opencv-contrib-python", "torch", "ptlflow", "zarr", "prefect")


@functools.cache
def software_versions() -> dict[str, str]:
    """Versions of everything that shapes the numbers, for provenance."""
    found = {"python": platform.python_version()}
    for name in _SOFTWARE:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def create_store(location: Location, dataset: str, recipe: Mapping[str, Any]) -> None:
    """Create the store's root, or bring the recipe of an existing one up to date.

    Raises
    ------
    StoreError
        Where the place holds something else, another dataset, or a newer format, or cannot be
        reached.
    """
    existing = _check_place(location)
    for folder in ("", VIDEOS):
        sweep(location, folder, "zarr.*.partial")
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
    with location.reaching():
        if existing is None:
            zarr.create_group(location.zarr, zarr_format=3, attributes={"foveal": attributes})
        elif existing != attributes:
            group = zarr.open_group(location.zarr, mode="r+", use_consolidated=False)
            group.update_attributes({"foveal": attributes})
        # Looked for every time: a kill may have come between the two groups.
        if location.read(f"{VIDEOS}/zarr.json") is None:
            zarr.create_group(location.zarr, path=VIDEOS, zarr_format=3)


def sweep(location: Location, folder: str, pattern: str) -> None:
    """Remove what a kill in the middle of a write left in a local folder."""
    if location.local is not None:
        for leftover in (location.local / folder).glob(pattern):
            leftover.unlink()


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
        Where it was written by a newer foveal, or is some other Zarr group.
    """
    with location.reaching():
        root = location.read_json("zarr.json")
    if root is None:
        return None
    attributes = root.get("attributes", {}).get("foveal")
    if attributes is None:
        raise StoreError(f"{location} is a Zarr hierarchy, but none that foveal wrote")
    version = attributes["format_version"]
    if version > FORMAT_VERSION:
        raise StoreError(
            f"{location} has format version {version}, this foveal knows up to {FORMAT_VERSION}; "
            "upgrade foveal"
        )
    return dict(attributes)


@contextmanager
def store_lock(location: Location) -> Iterator[None]:
    """Hold a local store against a second build; the lock dies with the process.

    Object stores have no such lock: there, seeing to one build at a time is the caller's task.

    Raises
    ------
    StoreLocked
        Where another process holds it.
    StoreError
        Where something else lies there; nothing is written then.
    """
    _check_place(location)
    if location.local is None:
        yield
        return
    path = location.local / JOURNAL / "lock"
    lock = FileLock(path, blocking=False)
    with location.reaching():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise StoreLocked(
                f"{location} is being built by process {_holder(path)}; "
                "wait for it, or stop it and start again"
            ) from None
    try:
        # The time of this file tells readers when the latest build began.
        path.write_text(f"{os.getpid()} on {platform.node()}")
        yield
    finally:
        if location.read("zarr.json") is None:
            _leave_nothing(path)
        lock.release()


def _holder(path: Path) -> str:
    try:
        return path.read_text().strip() or "unknown"
    except OSError:  # some systems let nobody else read a locked file
        return "unknown"


def _leave_nothing(lock: Path) -> None:
    """Remove a lock and the empty folders above it: no store was made."""
    lock.unlink()
    with suppress(OSError):
        lock.parent.rmdir()
        lock.parent.parent.rmdir()
