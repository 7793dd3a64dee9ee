"""Reading a store: the index, a video as an xarray Dataset, an array as it lies on disk.

Everything here gives library types (pandas, xarray, dask, zarr) and reads lazily. What is read is
what the completion marks vouch for, so a store may be opened while it is being built.
"""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from zarr.abc.store import Store as ZarrStore

from foveal.errors import ChecksumError, DamageWarning, MissingDependency, StoreError
from foveal.extras import needing
from foveal.storage.arrays import read_array
from foveal.storage.contents import Contents, arrays_told, contents_of
from foveal.storage.describe import count_splits, describe, describe_html
from foveal.storage.index import (
    ARRAYS,
    JSON_COLUMNS,
    index_from_journal,
    index_is_current,
    read_index,
)
from foveal.storage.kinds import ArrayInfo
from foveal.storage.location import Location
from foveal.storage.lost import read_damage
from foveal.storage.marks import Damage, Journal, Mark, group_name, read_journal_with_damage
from foveal.storage.root import check_format
from foveal.storage.selection import check_condition, meets

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_SHOWN_NAMES = 5
_FEW_VIDEOS = 1000
"""Reading the marks of so many takes less than a second."""


def open_store(url: str | Path | ZarrStore) -> Store:
    """Open a store for reading.

    Parameters
    ----------
    url : str, Path or zarr Store
        A folder, or a URL such as ``s3://bucket/dhf1k.zarr`` or ``memory://dhf1k``.

    Raises
    ------
    StoreError
        Where there is no store, something else, or one of a newer format version.

    Examples
    --------
    >>> store = foveal.open_store("dhf1k.zarr")                                 # doctest: +SKIP
    >>> store["002"].density.sel(time=slice(2.0, 3.5)).mean("time").compute()   # doctest: +SKIP
    """
    location = Location(url, read_only=True)
    about = check_format(location)
    if about is None and location.list_folder(""):
        raise StoreError(f"{location} is no foveal store: it has no zarr.json at its root")
    if about is None:
        raise StoreError(f"there is no store at {location}; `foveal build` makes one")
    return Store(location, about)


class Store:
    """A store open for reading: a table of videos, and a Dataset for each.

    Parameters
    ----------
    location : Location
    about : dict
        The ``foveal`` attributes of the store's root.

    Attributes
    ----------
    location : Location
    dataset : str
        Name of the dataset it was built from.
    recipe : dict
        The resolved recipe it was built by, every default visible.
    software : dict of str to str
        Versions that built it.
    """

    def __init__(self, location: Location, about: dict[str, Any]) -> None:
        self.location = location
        self.dataset: str = about["dataset"]
        self.recipe: dict[str, Any] = about["recipe"]
        self.software: dict[str, str] = about["software"]
        self._conditions: tuple[dict[str, Any], ...] = ()

    @cached_property
    def videos(self) -> pd.DataFrame:
        """One row a video, indexed by its id.

        Read from ``index.parquet``; from the completion marks where that is missing, damaged or
        not up to date (a build is under way, or was killed). Columns: ``split``,
        ``status`` (``complete``, ``quarantined`` with a ``reason``, ``failed``, ``pending``),
        ``frames``, ``fps``, ``height_px``, ``width_px``, ``duration_seconds``, ``fixations``,
        ``empty_frames``, ``stored_bytes``, ``compute_seconds``, ``completed_at``
        (datetime, UTC), ``flow_quality`` (figures by stage), ``random_weights`` (stages that an
        untrained network computed), ``stages`` (list of names) and ``fingerprints`` (hash by
        stage).
        """
        import pandas as pd

        table = self._table.drop(columns=ARRAYS)
        for column in JSON_COLUMNS:
            # Not one by one: pandas takes longer to hand a text out than it takes to be parsed.
            table[column] = [json.loads(text) for text in table[column].to_numpy(object).tolist()]
        table["completed_at"] = pd.to_datetime(table["completed_at"], utc=True, errors="coerce")
        for condition in self._conditions:
            table = table[meets(table.reset_index(), condition).to_numpy()]
        return table

    @cached_property
    def _table(self) -> pd.DataFrame:
        table = read_index(self.location) if index_is_current(self.location) else None
        if table is None:
            table = index_from_journal(self.location)
        return table.set_index("video")

    def where(self, **condition: Any) -> Store:
        """The same store with some of its videos alone, for whatever takes a store.

        Parameters
        ----------
        **condition
            By column of `videos` (and ``video``, the id), a value, several values in a list, or
            None for those that have none. All of them must hold.

        Raises
        ------
        StoreError
            Where the table has no such column, or no video is of such a split.

        Examples
        --------
        >>> store.where(split="train", status="complete")                   # doctest: +SKIP
        >>> store.where(video=["001", "002"]).select()                      # doctest: +SKIP
        ['001', '002']
        """
        check_condition(self, condition)
        chosen = copy(self)
        chosen._conditions = (*self._conditions, condition)
        chosen.reload()
        return chosen

    def reload(self) -> None:
        """Forget the table of videos, so that a build's progress shows."""
        for name in ("videos", "_table"):
            self.__dict__.pop(name, None)

    def contents(self, videos: Sequence[str]) -> dict[str, Contents]:
        """What is complete of these videos, so that reading can be planned.

        Of many videos it is told as the table of videos has it, and no mark is opened: an array
        that is gone, or another, meanwhile is noticed when it is opened. Of few the marks tell it;
        damage warns, as in `marks`. Videos of which nothing is complete are left out.

        Raises
        ------
        StoreError
        """
        if len(videos) <= _FEW_VIDEOS:
            return self.contents_now(videos)
        found: dict[str, Contents] = {}
        unknown: list[str] = []
        table = self._table
        names = table.index.to_numpy(object).tolist()
        columns: list[dict[Any, Any]] = [
            dict(zip(names, table[name].to_numpy(object).tolist(), strict=True))
            for name in (ARRAYS, "height_px", "width_px")
        ]
        for video in videos:
            told, height, width = (column.get(video, "") for column in columns)
            try:
                infos = arrays_told(told)
                size = (int(height), int(width)) if "time" in infos else None
            except (ValueError, TypeError, LookupError, AttributeError):
                unknown.append(video)
                continue
            if infos:
                found[video] = Contents(infos, size)
        return found | (self.contents_now(unknown) if unknown else {})

    def contents_now(self, videos: Sequence[str]) -> dict[str, Contents]:
        """As `contents`, by the marks at this very moment, however many videos there are."""
        return {video: contents_of(of) for video, of in self.journal(videos).items()}

    def __len__(self) -> int:
        return len(self.videos)

    def __iter__(self) -> Iterator[str]:
        return iter(map(str, self.videos.index))

    def __contains__(self, video: object) -> bool:
        return video in self.videos.index

    def __getitem__(self, video: str) -> xr.Dataset:
        """One video's complete arrays, lazily: a dask chunk is a shard.

        Parameters
        ----------
        video : str

        Returns
        -------
        xarray.Dataset
            ``time`` (seconds) is the coordinate of frames and density; arrays still being built
            are left out. Pictures, maps and flow have y and x coordinates: centres of their
            pixels, in those of the source. Attributes say units and how each array came to be.
            ``video.foveal.plot(130)`` and ``.plot_timeline()`` draw it.

        Raises
        ------
        StoreError
            Where the store has no such video, or nothing of it is complete.
        """
        from foveal.storage.datasets import open_dataset

        return open_dataset(self.location, self.marks(video))

    def marks(self, video: str) -> dict[str, Mark]:
        """What is complete of a video, by stage, as the store says this very moment.

        Raises
        ------
        StoreError
            Where the store has no such video, or nothing of it is complete.

        Warns
        -----
        DamageWarning
            Of each stage whose mark is damaged or lost: it is left out.
        """
        if not isinstance(video, str):
            raise StoreError(f"videos are named by strings, not {video!r}; {self._near(video)}")
        if self._conditions and video not in self:
            raise StoreError(f"video {video!r} is none of those chosen; {self._near(video)}")
        (marks, quarantined, *_), damaged = self._journal([video])
        if video in marks:
            return marks[video]
        if damaged:
            raise ChecksumError("; ".join(each.reason for each in damaged))
        if video in quarantined:
            raise StoreError(
                f"{self.location}: video {video!r} was quarantined: {quarantined[video].reason}"
            )
        if video in self:
            raise StoreError(f"{self.location}: nothing of video {video!r} is complete yet")
        raise StoreError(f"{self.location} has no video {video!r}; {self._near(video)}")

    def journal(self, videos: Iterable[str]) -> dict[str, dict[str, Mark]]:
        """What is complete of these videos, by video and stage, as `marks` has it of one.

        Videos of which nothing is are left out; damage warns, as there.
        """
        return self._journal(videos)[0].marks

    def damage(self, video: str | None = None) -> list[Damage]:
        """Marks that are damaged or lost, of one video or of all: their stages are left out."""
        return read_damage(self.location, None if video is None else [video])

    def check_whole(self, videos: Iterable[str], what: str) -> None:
        """Refuse what would come out otherwise because a stage is left out.

        Parameters
        ----------
        videos : iterable of str
        what : str
            What is made of all of them, in the plural.

        Raises
        ------
        ChecksumError
            Where a mark of theirs is damaged or lost.
        """
        for each in read_damage(self.location, videos):
            raise ChecksumError(
                f"{what} would leave out what is damaged of {each.video}: {each.reason}"
            )

    def _journal(self, videos: Iterable[str]) -> tuple[Journal, list[Damage]]:
        names = list(videos)
        journal = read_journal_with_damage(self.location, names)
        damaged = journal.damaged
        if damaged or self._lacks_what_the_table_lists(journal, names):
            damaged = read_damage(self.location, names, journal)
        for each in damaged:
            warnings.warn(each.reason, DamageWarning, stacklevel=4)
        return journal, damaged

    def _lacks_what_the_table_lists(self, journal: Journal, videos: Sequence[str]) -> bool:
        listed = self.videos["stages"]
        return any(
            video in listed.index and set(listed[video]) - journal.marks.get(video, {}).keys()
            for video in videos
        )

    def arrays(self, video: str) -> list[str]:
        """Names of a video's complete arrays, stage by stage.

        Raises
        ------
        StoreError
            Where the store has no such video, or nothing of it is complete.
        """
        marks = self.marks(video)
        return [name for stage in sorted(marks) for name in marks[stage].arrays]

    def infos(self, video: str) -> dict[str, ArrayInfo]:
        """What each complete array of a video is (axis, kind, …), by name, stage by stage.

        Raises
        ------
        StoreError
            Where the store has no such video, or nothing of it is complete.
        """
        marks = self.marks(video)
        return {name: info for stage in sorted(marks) for name, info in marks[stage].infos.items()}

    def select(self, split: str | None = None) -> list[str]:
        """Ids of the videos of a split (of all, for None) whose timeline is complete.

        Raises
        ------
        StoreError
            Where the split has none; the message counts the videos of each split.
        """
        table = self._table
        if self._conditions:
            table = table.loc[self.videos.index]
        if split is not None:
            table = table[table.split == split]
        texts = table.stages.to_numpy(object).tolist()
        complete = {text for text in set(texts) if "time" in json.loads(text)}
        names = table.index.to_numpy(object).tolist()
        found = [str(name) for name, text in zip(names, texts, strict=True) if text in complete]
        if not found:
            counts = count_splits(self) or "no videos at all"
            wanted = "videos" if split is None else f"videos in split {split!r}"
            raise StoreError(f"{self.location} has no complete {wanted}; it has {counts}")
        return found

    def tree(self, split: str | None = None, videos: Sequence[str] | None = None) -> xr.DataTree:
        """Many videos as one tree, a node for each.

        Parameters
        ----------
        split : str, optional
            Only the videos of this split.
        videos : sequence of str, optional
            Only these.

        Raises
        ------
        StoreError
            Where the split has no complete video, or the store no such video.
        """
        import xarray as xr

        names = self.select(split) if videos is None else videos
        return xr.DataTree.from_dict({group_name(video): self[video] for video in names})

    def array(self, video: str, name: str) -> zarr.Array[Any]:
        """One complete array as zarr gives it: the fastest way to its values.

        Raises
        ------
        StoreError
            Where the video has no such complete array; the message lists those it has.
        """
        names = self.arrays(video)
        if name not in names:
            damaged = self.damage(video)
            if damaged:
                raise ChecksumError(
                    f"{self.location}: video {video!r} has no array {name!r} that can be believed: "
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
        """One array of many videos, lazily: end to end, or as clips drawn from them.

        End to end a dask chunk is a shard: for means, counts, and whatever goes through all of it.
        Clips have a dask chunk for each batch, which is one task and one reading of all of it: for
        training. Either way chunks are read and decoded as `foveal.torch.Clips` does it.

        Parameters
        ----------
        array : str
            An array whose items are equally large in all of these videos.
        split : str, optional
            Only the videos of this split.
        videos : sequence of str, optional
            Only these.
        clips : sequence of (str, int), optional
            Video and first item of each clip, in the order wanted, instead of everything.
        items : int
            Of each clip.
        batch : int
            Clips in a dask chunk: ``.data.blocks[n]`` is batch n.

        Returns
        -------
        xarray.DataArray
            End to end, it has along its first dimension the coordinates ``video`` (id) and
            ``index_in_video``. Videos that lack the array are left out; ``attrs["left_out"]``
            names them. Clips come as [clip, items, …], with the coordinates ``video`` and
            ``start`` of each.

        Raises
        ------
        StoreError
            Where no video has the array, sizes or dtypes differ, or a clip does not lie inside
            its video.

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
        """Stored statistics of a split, see `foveal.storage.statistics`.

        Raises
        ------
        StoreError
            Where none are stored.
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
        """Show the videos in motion inside a notebook, as ``foveal view`` does in a browser.

        The page comes from a server in a thread of this process, on 127.0.0.1: the notebook's
        browser must run on this machine, or `port` be forwarded to it under the same number.

        Parameters
        ----------
        video : str, optional
            The one to begin with.
        frame : int, optional
            The frame to begin with, from 0.
        height_px : int
        port : int
            0 takes a free one.

        Returns
        -------
        IPython.display.IFrame

        Raises
        ------
        StoreError
            Where the store has no such video.
        MissingDependency
            Where there is no IPython, or foveal was not installed since it has a viewer.
        """
        found = tuple(entry_points(group="foveal.viewers", name="notebook"))
        if not found:
            raise MissingDependency(
                "the installed foveal is older than its viewer; install it again, "
                f"or look with `foveal view {self.location}`"
            )
        with needing("view"):
            show = found[0].load()
            return show(self, video, frame=frame, height_px=height_px, port=port)

    def __repr__(self) -> str:
        return describe(self)

    def _repr_html_(self) -> str:
        return describe_html(self)

    def _near(self, video: object) -> str:
        names = list(self)
        near = difflib.get_close_matches(str(video), names, n=3, cutoff=0.4)
        some = ", ".join(repr(name) for name in near or names[:_SHOWN_NAMES])
        return f"there are {len(names)}, {'near it' if near else 'such as'}: {some or 'none'}"
