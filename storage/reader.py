"""Reading a store: the index, a video as an xarray Dataset, an array as it lies on disk."""

from __future__ import annotations

from typing import Any

import zarr

from foveal.errors import StoreError
from foveal.storage.location import Location
from foveal.storage.marks import group_name
from foveal.storage.schema import VIDEOS


def read_array(location: Location, video: str, name: str) -> zarr.Array[Any]:
    """One array of a video.

    Raises
    ------
    StoreError
        Where the video has no such complete array.
    """
    path = f"{VIDEOS}/{group_name(video)}/{name}"
    try:
        return zarr.open_array(location.zarr, path=path, mode="r")
    except FileNotFoundError:
        raise StoreError(f"{location} has no array {name!r} for video {video!r}") from None
