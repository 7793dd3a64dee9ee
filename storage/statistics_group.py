"""This module writes and reads a store's statistics: one group per split, checked when read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from zarr.codecs import Crc32cCodec

from foveal.errors import ChecksumError, FovealError, StoreError, StoreUnreachable
from foveal.storage.copies import group_attributes, group_content
from foveal.storage.digests import sealed, sha256_of_bytes, sha256_of_object, unsealed
from foveal.storage.location import Location
from foveal.storage.marks import read_journal
from foveal.storage.names import group_name

if TYPE_CHECKING:
    import xarray as xr

    from foveal.storage.reader import Store

STATISTICS = "statistics"
"""Group that holds one group per split."""

_OBJECTS = "objects"
"""Attribute that holds the SHA-256 of every object below the group."""

_AGAIN = "`foveal statistics` computes them again"


def inputs_sha256(store: Store, videos: list[str]) -> str:
    """Hash the fingerprints of the stages that statistics of these videos are computed from."""
    from foveal.storage.statistics import summing

    marks, _ = read_journal(store.location, videos)
    stages = {
        video: {
            name: mark.fingerprint
            for name, mark in marks.get(video, {}).items()
            if any(map(summing, mark.infos.values()))
        }
        for video in videos
    }
    return sha256_of_bytes(json.dumps(stages, sort_keys=True).encode())


def write_statistics(location: Location, statistics: xr.Dataset) -> None:
    """Write statistics to the store, in place of earlier ones of the same split.

    Parameters
    ----------
    location : Location
    statistics : xarray.Dataset
        As `foveal.storage.statistics.compute_statistics` returns them.
    """
    path = f"{STATISTICS}/{group_name(statistics.attrs['split'])}"
    location.delete_folder(path)
    encoding = {name: {"compressors": [Crc32cCodec()]} for name in statistics.variables}
    with location.reaching(path):
        statistics.drop_attrs(deep=False).to_zarr(
            location.zarr,
            group=path,
            mode="w",
            zarr_format=3,
            consolidated=False,
            encoding=encoding,
        )
    objects = _objects(location, path)
    location.flush(f"{path}/{key}" for key in objects)
    # The attributes are written last: without them the statistics do not exist.
    about = sealed({**statistics.attrs, _OBJECTS: objects})
    location.write(f"{path}/zarr.json", group_content(about))


def read_statistics(store: Store, split: str | None = "train") -> xr.Dataset:
    """Read the statistics of a split from the store.

    Parameters
    ----------
    store : Store
    split : str, optional
        Name of the split; None for the statistics of all videos.

    Returns
    -------
    xarray.Dataset
        In memory; ``attrs["up_to_date"]`` says whether the split is still what the statistics were
        computed from.

    Raises
    ------
    StoreError
        The store has no statistics of this split.
    ChecksumError
        They are damaged.
    """
    import xarray as xr

    name = group_name(split or "all")
    path = f"{STATISTICS}/{name}"
    about = _about(store.location, path)
    if about is None or "inputs_sha256" not in about:
        raise StoreError(
            f"{store.location} holds no statistics of split {split!r}; "
            "`foveal statistics` computes them"
        )
    if why := statistics_problem(store.location, name):
        raise ChecksumError(f"{store.location}: {why}")
    try:
        stored: xr.Dataset = xr.open_zarr(
            store.location.zarr, group=path, consolidated=False, chunks=None
        ).load()
    except FovealError:
        raise
    except Exception as error:
        raise ChecksumError(f"{store.location}/{path} is damaged ({error}); {_AGAIN}") from error
    current = inputs_sha256(store, store.select(split))
    stored = stored.drop_attrs(deep=False).assign_attrs(about)
    return stored.assign_attrs(up_to_date=about["inputs_sha256"] == current)


def statistics_problem(location: Location, name: str) -> str | None:
    """Return what is wrong with the statistics in a split's group, None where nothing is."""
    path = f"{STATISTICS}/{name}"
    try:
        about = _about(location, path, keep_objects=True)
        if about is None and location.list_all(path):
            return f"{path}/zarr.json is missing; {_AGAIN}"
        if about is None or _OBJECTS not in about:
            return None
        for key, sha256 in about[_OBJECTS].items():
            if sha256_of_object(location, f"{path}/{key}") != sha256:
                return f"{path}/{key} has changed or is missing; {_AGAIN}"
    except StoreUnreachable as error:
        if isinstance(error.__cause__, Exception):
            location.check_lost(error.__cause__, path)
        return str(error)
    except (StoreError, AttributeError) as error:
        return str(error)
    return None


def _about(location: Location, path: str, keep_objects: bool = False) -> dict[str, Any] | None:
    content = location.read(f"{path}/zarr.json")
    if content is None:
        return None
    try:
        about = unsealed(group_attributes(content))
    except (ValueError, RecursionError) as error:
        raise ChecksumError(f"{location}/{path}/zarr.json is damaged ({error}); {_AGAIN}") from None
    return {key: value for key, value in about.items() if keep_objects or key != _OBJECTS}


def _objects(location: Location, path: str) -> dict[str, str]:
    found = {}
    for key in location.list_all(path):
        name = key.removeprefix(f"{path}/")
        sha256 = sha256_of_object(location, key)
        if name != "zarr.json" and sha256 is not None:
            found[name] = sha256
    return found
