"""Many videos as one lazy array, for dask on one machine or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from dask.base import tokenize

from foveal.errors import StoreError
from foveal.storage.arrays import read_array
from foveal.storage.cf import Scale

if TYPE_CHECKING:
    from foveal.storage.reader import Store


def concatenated(store: Store, name: str, videos: Sequence[str]) -> xr.DataArray:
    """One array of these videos end to end; see `Store.lazy`."""
    marks = store.journal(videos)
    stages = {
        video: mark
        for video in videos
        for mark in marks.get(video, {}).values()
        if name in mark.arrays
    }
    if not stages:
        there = sorted(
            {array for group in marks.values() for mark in group.values() for array in mark.arrays}
        )
        raise StoreError(
            f"{store.location}: none of these {len(videos)} videos has a complete array {name!r}; "
            f"there are {', '.join(there) or 'none at all'}"
        )
    kinds: dict[tuple[Any, ...], str] = {}
    for video, mark in stages.items():
        about = mark.arrays[name]
        kinds.setdefault((*about["shape"][1:], about["dtype"]), video)
    if len(kinds) > 1:
        sizes = "; ".join(f"{video}: {kind}" for kind, video in list(kinds.items())[:4])
        raise StoreError(
            f"{store.location}: {name} differs in size or dtype between videos ({sizes}); "
            "name videos of one size, or go through them one by one"
        )
    parts = []
    for video, mark in stages.items():
        array = read_array(store.location, video, name)
        token = tokenize(str(store.location), video, name, mark.fingerprint)
        parts.append(_part(array, f"{name}-{token}"))
    lengths = [part.shape[0] for part in parts]
    first = next(iter(stages.values())).arrays[name]
    along = first["dims"][0]
    attributes = {key: value for key, value in array.attrs.items() if key in ("long_name", "units")}
    return xr.DataArray(
        da.concatenate(parts),  # type: ignore[no-untyped-call]
        dims=first["dims"],
        coords={
            "video": (along, np.repeat(np.array(list(stages), dtype=str), lengths)),
            "index_in_video": (along, np.concatenate([np.arange(length) for length in lengths])),
        },
        name=name,
        attrs={**attributes, "left_out": [video for video in videos if video not in stages]},
    )


def _part(array: zarr.Array[Any], name: str) -> da.Array:
    part: da.Array = da.from_array(  # type: ignore[no-untyped-call]
        array, chunks=array.shards or array.chunks, name=name
    )
    scale = Scale.of(array.attrs)
    if scale is None:
        return part
    decoded: da.Array = da.map_blocks(  # type: ignore[no-untyped-call]
        scale.decode, part, dtype=np.float32
    )
    return decoded
