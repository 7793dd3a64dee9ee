"""This module tells which videos a store has, and what is complete of each of them."""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from foveal.errors import ChecksumError, DamageWarning, StoreError
from foveal.storage.contents import Contents, arrays_told, contents_of
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
from foveal.storage.marks import Damage, Journal, Mark, read_journal_with_damage
from foveal.storage.selection import check_condition, count_splits, meets

if TYPE_CHECKING:
    import pandas as pd

_SHOWN_NAMES = 5
_FEW_VIDEOS = 1000
"""Reading the marks of so many videos takes less than a second."""


class Catalogue:
    """The table of a store's videos, and what the completion marks say of each video.

    Parameters
    ----------
    location : Location
        The place of the store.
    about : dict
        The ``foveal`` attributes of the store's root.

    Attributes
    ----------
    location : Location
        The place of the store.
    dataset : str
        Name of the dataset that the store was built from.
    recipe : dict
        The resolved recipe of the store, with every default.
    software : dict of str to str
        Versions of the software that built the store, by name.
    """

    def __init__(self, location: Location, about: dict[str, Any]) -> None:
        self.location = location
        self.dataset: str = about["dataset"]
        self.recipe: dict[str, Any] = about["recipe"]
        self.software: dict[str, str] = about["software"]
        self._conditions: tuple[dict[str, Any], ...] = ()

    @cached_property
    def videos(self) -> pd.DataFrame:
        """The table of videos: one row per video, indexed by its id.

        It is read from ``index.parquet``, or from the completion marks where the index is missing,
        damaged or not up to date (a build is running, or was killed). Columns: ``split``,
        ``status`` (``complete``, ``quarantined`` with a ``reason``, ``failed``, ``partial``,
        ``pending``), ``frames``, ``fps``, ``height_px``, ``width_px``, ``duration_seconds``,
        ``fixations``, ``empty_frames``, ``stored_bytes``, ``compute_seconds``, ``completed_at``
        (datetime, UTC), ``flow_quality`` (figures by stage), ``random_weights`` (stages that an
        untrained network computed), ``stages`` (list of names) and ``fingerprints`` (hash by
        stage).
        """
        import pandas as pd

        table = self._table.drop(columns=ARRAYS)
        for column in JSON_COLUMNS:
            # As a list: pandas takes longer to return one text than the parser takes to read it.
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

    def where(self, **condition: Any) -> Self:
        """Return the same store with only some of its videos.

        Parameters
        ----------
        **condition
            By column of `videos` (and ``video``, the id), a value, several values in a list, or
            None for videos without a value. All conditions must hold.

        Raises
        ------
        StoreError
            The table has no such column, or no video is in such a split.

        Examples
        --------
        >>> store.where(split="train", status="complete")                   # doctest: +SKIP
        >>> store.where(video=["001", "002"]).select()                      # doctest: +SKIP
        ['001', '002']
        """
        check_condition(self.videos, condition)
        chosen = copy(self)
        chosen._conditions = (*self._conditions, condition)
        chosen.reload()
        return chosen

    def reload(self) -> None:
        """Read the table of videos again at its next use, to see the progress of a build."""
        for name in ("videos", "_table"):
            self.__dict__.pop(name, None)

    def select(self, split: str | None = None) -> list[str]:
        """Return the ids of the videos whose timeline is complete.

        Parameters
        ----------
        split : str, optional
            Only videos of this split.

        Raises
        ------
        StoreError
            There are none; the message counts the videos of each split.
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
            counts = count_splits(self.videos) or "no videos at all"
            wanted = "videos" if split is None else f"videos in split {split!r}"
            raise StoreError(f"{self.location} has no complete {wanted}; it has {counts}")
        return found

    def __len__(self) -> int:
        return len(self.videos)

    def __iter__(self) -> Iterator[str]:
        return iter(map(str, self.videos.index))

    def __contains__(self, video: object) -> bool:
        return video in self.videos.index

    def contents(self, videos: Sequence[str]) -> dict[str, Contents]:
        """Return what is complete of these videos, so that reading can be planned.

        Of many videos the table of videos tells it, and no mark is opened: an array that has gone
        or changed since is noticed when it is opened. Of few videos the marks tell it, and damage
        gives warnings as in `marks`.

        Parameters
        ----------
        videos : sequence of str
            Ids of the videos.

        Returns
        -------
        dict of str to Contents
            By video; videos of which nothing is complete are left out.
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
        """Return the same as `contents`, always from the marks.

        Parameters
        ----------
        videos : sequence of str
            Ids of the videos.
        """
        return {video: contents_of(of) for video, of in self.journal(videos).items()}

    def marks(self, video: str) -> dict[str, Mark]:
        """Return what is complete of a video now, by stage.

        Parameters
        ----------
        video : str
            Id of the video.

        Raises
        ------
        StoreError
            The store has no such video, or nothing of it is complete.
        ChecksumError
            Every mark of the video is damaged.

        Warns
        -----
        DamageWarning
            For each stage whose mark is damaged or lost: it is left out.
        """
        if not isinstance(video, str):
            raise StoreError(f"a video's id is a string, not {video!r}; {self._near(video)}")
        if self._conditions and video not in self:
            raise StoreError(f"video {video!r} is not one of those chosen; {self._near(video)}")
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
        """Return what is complete of these videos, by video and stage.

        Videos of which nothing is complete are left out; damage gives warnings as in `marks`.

        Parameters
        ----------
        videos : iterable of str
            Ids of the videos.
        """
        return self._journal(videos)[0].marks

    def damage(self, video: str | None = None) -> list[Damage]:
        """Return the marks that are damaged or lost; their stages are left out.

        Parameters
        ----------
        video : str, optional
            Id of the video; by default all videos.
        """
        return read_damage(self.location, None if video is None else [video])

    def check_whole(self, videos: Iterable[str], what: str) -> None:
        """Raise where a result would silently differ because a stage is left out.

        Parameters
        ----------
        videos : iterable of str
            Ids of the videos.
        what : str
            Name of what is made of all of them, in the plural, for the message.

        Raises
        ------
        ChecksumError
            A mark of one of these videos is damaged or lost.
        """
        for each in read_damage(self.location, videos):
            raise ChecksumError(
                f"{what} would leave out a damaged part of {each.video}: {each.reason}"
            )

    def arrays(self, video: str) -> list[str]:
        """Return the names of a video's complete arrays, stage by stage.

        Parameters
        ----------
        video : str
            Id of the video.

        Raises
        ------
        StoreError
            The store has no such video, or nothing of it is complete.
        """
        marks = self.marks(video)
        return [name for stage in sorted(marks) for name in marks[stage].arrays]

    def infos(self, video: str) -> dict[str, ArrayInfo]:
        """Return the description of each complete array of a video, by name, stage by stage.

        Parameters
        ----------
        video : str
            Id of the video.

        Raises
        ------
        StoreError
            The store has no such video, or nothing of it is complete.
        """
        marks = self.marks(video)
        return {name: info for stage in sorted(marks) for name, info in marks[stage].infos.items()}

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

    def _near(self, video: object) -> str:
        names = list(self)
        near = difflib.get_close_matches(str(video), names, n=3, cutoff=0.4)
        some = ", ".join(repr(name) for name in near or names[:_SHOWN_NAMES])
        return f"there are {len(names)}, {'near it' if near else 'such as'}: {some or 'none'}"
