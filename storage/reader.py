"""This module opens a store for reading, and its arrays as xarray, dask or zarr objects.

Everything is read lazily, and only what the completion marks list, so a store may be opened while
it is being built.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from zarr.abc.store import Store as ZarrStore

from foveal.errors import ChecksumError, MissingDependency, StoreError
from foveal.extras import needing
from foveal.storage.arrays import read_array
from foveal.storage.catalogue import Catalogue
from foveal.storage.describe import describe, describe_html
from foveal.storage.location import Location
from foveal.storage.names import group_name
from foveal.storage.root import check_format

if TYPE_CHECKING:
    import xarray as xr


def open_store(url: str | Path | ZarrStore) -> Store:
    """Open a store for reading.

    Parameters
    ----------
    url : str, Path or zarr Store
        A folder, or a URL such as ``s3://bucket/dhf1k.zarr`` or ``memory://dhf1k``.

    Returns
    -------
    Store

    Raises
    ------
    StoreError
        There is no store, something else, or a store of a newer format version.

    Examples
    --------
    >>> store = foveal.open_store("dhf1k.zarr")                                 # doctest: +SKIP
    >>> store["002"].density.sel(time=slice(2.0, 3.5)).mean("time").compute()   # doctest: +SKIP
    """
    location = Location(url, read_only=True)
    about = check_format(location)
    if about is None and location.list_folder(""):
        raise StoreError(f"{location} is not a foveal store: it has no zarr.json at its root")
    if about is None:
        raise StoreError(f"there is no store at {location}; `foveal build` makes one")
    return Store(location, about)


class Store(Catalogue):
    """A store open for reading: a table of videos, and a Dataset per video.

    `open_store` makes one. Its base `Catalogue` describes its attributes.
    """

    def __getitem__(self, video: str) -> xr.Dataset:
        """Return one video's complete arrays, lazily: a dask chunk is a shard.

        Parameters
        ----------
        video : str
            Id of the video.

        Returns
        -------
        xarray.Dataset
            ``time`` (seconds) is the coordinate of frames and density. Arrays that are still being
            built are left out. Pictures, maps and flow have y and x coordinates: the centres of
            their pixels, in pixels of the source. Attributes give units and say how each array was
            made. ``video.foveal.plot(130)`` and ``.plot_timeline()`` draw it.

        Raises
        ------
        StoreError
            The store has no such video, or nothing of it is complete.
        """
        from foveal.storage.datasets import open_dataset

        return open_dataset(self.location, self.marks(video))

    def tree(self, split: str | None = None, videos: Sequence[str] | None = None) -> xr.DataTree:
        """Return many videos as one tree, one node per video.

        Parameters
        ----------
        split : str, optional
            Only the videos of this split.
        videos : sequence of str, optional
            Only these videos.

        Returns
        -------
        xarray.DataTree

        Raises
        ------
        StoreError
            The split has no complete video, or the store has no such video.
        """
        import xarray as xr

        names = self.select(split) if videos is None else videos
        return xr.DataTree.from_dict({group_name(video): self[video] for video in names})

    def array(self, video: str, name: str) -> zarr.Array[Any]:
        """Return one complete array as a zarr array: the fastest way to its values.

        Parameters
        ----------
        video : str
            Id of the video.
        name : str
            Name of the array.

        Returns
        -------
        zarr.Array

        Raises
        ------
        StoreError
            The video has no such complete array; the message lists those that it has.
        """
        names = self.arrays(video)
        if name not in names:
            damaged = self.damage(video)
            if damaged:
                raise ChecksumError(
                    f"{self.location}: video {video!r} has no undamaged array {name!r}: "
                    + "; ".join(each.reason for each in damaged)
                )
            raise StoreError(
                f"{self.location}: video {video!r} has no complete array {name!r}; "
                f"it has {', '.join(names)}"
            )
        return read_array(self.location, video, name)

    def lazy(
        self,
        array: str,
        split: str | None = None,
        videos: Sequence[str] | None = None,
        *,
        clips: Sequence[tuple[str, int]] | None = None,
        items: int = 1,
        batch: int = 64,
    ) -> xr.DataArray:
        """Return one array of many videos, lazily: end to end, or as clips drawn from them.

        End to end, a dask chunk is a shard: for means, counts, and whatever reads all of it. Of
        clips, a dask chunk is a batch, which is one task and one read: for training. Both ways read
        and decode chunks as `foveal.torch.Clips` does.

        Parameters
        ----------
        array : str
            Name of an array whose items have one size in all of these videos.
        split : str, optional
            Only the videos of this split.
        videos : sequence of str, optional
            Only these videos.
        clips : sequence of (str, int), optional
            Video and first item of each clip, in the order wanted, instead of everything.
        items : int
            Items per clip.
        batch : int
            Clips per dask chunk: ``.data.blocks[n]`` is batch n.

        Returns
        -------
        xarray.DataArray
            End to end, it has along its first dimension the coordinates ``video`` (id) and
            ``index_in_video``. Videos without the array are left out; ``attrs["left_out"]``
            names them. Clips are [clip, items, …], with the coordinates ``video`` and ``start``.

        Raises
        ------
        StoreError
            No video has the array, sizes or dtypes differ, or a clip is not inside its video.

        Examples
        --------
        >>> store.lazy("density", split="train").mean("time").compute()     # doctest: +SKIP
        """
        from foveal.storage.concatenated import clips_of, concatenated

        if clips is not None:
            if split is not None or videos is not None:
                raise StoreError("clips name their videos; leave split and videos out")
            return clips_of(self, array, clips, items, batch)
        return concatenated(self, array, self.select(split) if videos is None else videos)

    def statistics(self, split: str | None = "train") -> xr.Dataset:
        """Return the stored statistics of a split, see `foveal.storage.statistics`.

        Parameters
        ----------
        split : str, optional
            Name of the split; None for the statistics of all videos.

        Raises
        ------
        StoreError
            None are stored.
        """
        from foveal.storage.statistics_group import read_statistics

        return read_statistics(self, split)

    def view(
        self,
        video: str | None = None,
        *,
        frame: int | None = None,
        height_px: int = 760,
        port: int = 0,
    ) -> Any:
        """Show the videos as moving pictures in a notebook, as ``foveal view`` does in a browser.

        A thread of this process serves the page on 127.0.0.1: the notebook's browser must run on
        this machine, or `port` must be forwarded to it under the same number.

        Parameters
        ----------
        video : str, optional
            Id of the first video shown.
        frame : int, optional
            Number of the first frame shown, from 0.
        height_px : int
            Height of the page in the notebook, in pixels.
        port : int
            TCP port; 0 takes a free one.

        Returns
        -------
        IPython.display.IFrame

        Raises
        ------
        StoreError
            The store has no such video.
        MissingDependency
            IPython is missing, or the installed foveal has no viewer.
        """
        found = tuple(entry_points(group="foveal.viewers", name="notebook"))
        if not found:
            raise MissingDependency(
                "the installed foveal has no viewer; install it again, "
                f"or use `foveal view {self.location}`"
            )
        with needing("view"):
            show = found[0].load()
            return show(self, video, frame=frame, height_px=height_px, port=port)

    def __repr__(self) -> str:
        return describe(self)

    def _repr_html_(self) -> str:
        return describe_html(self)
