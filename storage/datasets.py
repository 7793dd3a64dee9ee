"""This module opens one video as an xarray Dataset that holds exactly what its marks list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from numpy.typing import NDArray

from foveal.errors import ChecksumError
from foveal.storage.arrays import MEND, WholeStore, decoding, read_metadata
from foveal.storage.copies import read_group
from foveal.storage.location import Location
from foveal.storage.marks import infos_of
from foveal.storage.names import group_path
from foveal.storage.plots import with_pixel_centres
from foveal.storage.records import Mark
from foveal.storage.zarr_internals import sync


def open_dataset(location: Location, marks: Mapping[str, Mark]) -> xr.Dataset:
    """Open the complete arrays of one video lazily: a dask chunk is a shard.

    Pictures, maps and flow have y and x coordinates, see `foveal.storage.plots`.

    Parameters
    ----------
    location : Location
    marks : mapping of str to Mark
        All marks of one video, by stage.

    Raises
    ------
    ChecksumError
        Metadata, or the frame times, are damaged or missing.
    """
    video = next(iter(marks.values())).video
    group = group_path(video)
    names = [name for stage in sorted(marks) for name in marks[stage].arrays]
    with location.reaching():
        metadata = sync(read_metadata(location, marks.values()))
    about = read_group(location, group)
    if about is None:
        raise ChecksumError(f"{location}/{group}/zarr.json is missing or damaged; {MEND}")
    metadata[f"{group}/zarr.json"] = about
    store = WholeStore(location, metadata, {group: ["zarr.json", *names]})
    where = f"{location}/{group}"
    with decoding(where):
        lazy = xr.open_zarr(
            store, group=group, consolidated=False, chunks=None, decode_timedelta=False
        )
        dataset: xr.Dataset = lazy[names]
    # With the fingerprints, so that dask never answers a stage computed again from its cache.
    token = tokenize(str(location), video, [mark.fingerprint for mark in marks.values()])
    for name, variable in dataset.variables.items():
        if name not in dataset.indexes:
            chunks = variable.encoding["shards"] or variable.encoding["chunks"]
            values: Any = da.from_array(  # type: ignore[no-untyped-call]
                _Checked(variable, f"{where}/{name}"), chunks=chunks, name=f"{name}-{token}"
            )
            dataset[name] = variable.copy(deep=False, data=values)
    infos = infos_of(marks)
    starts = {told_by for i in infos.values() if (told_by := i.starts or i.source_frames)}
    return with_pixel_centres(dataset.set_coords(sorted(starts & set(dataset.variables))))


class _Checked:
    """A variable for dask to read, which raises a ChecksumError where bytes cannot be decoded."""

    def __init__(self, variable: xr.Variable, where: str) -> None:
        self._variable, self._where = variable, where
        self.shape, self.dtype, self.ndim = variable.shape, variable.dtype, variable.ndim

    def __getitem__(self, key: Any) -> NDArray[Any]:
        with decoding(self._where):
            return np.asarray(self._variable[key].values)
