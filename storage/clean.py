"""Find and remove what a store no longer needs: abandoned work, unnamed arrays, old logs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from foveal.errors import StoreError
from foveal.storage.location import Location
from foveal.storage.log import LOGS, log_names
from foveal.storage.marks import Mark, read_journal_with_damage
from foveal.storage.names import group_path, journal_key, video_of
from foveal.storage.schema import VIDEOS
from foveal.storage.wanted import read_wanted
from foveal.storage.zarr_internals import sync

KEPT_LOGS = 20
"""Logs of so many processes are kept, the newest."""

_ADDED = ("prediction", "mask")
"""Roles of arrays that were put beside those of the recipe on purpose."""

Kind = Literal["abandoned", "unnamed", "log"]


@dataclass(frozen=True)
class Removable:
    """Something that may be removed.

    Attributes
    ----------
    kind : str
        ``abandoned``: objects of no complete stage, left by a build that was broken off;
        ``unnamed``: a complete stage that the latest build's recipe does not name; ``log``.
    video : str
        Empty for logs.
    stage : str
        Of what is unnamed.
    keys : tuple of str
        Objects, in the order in which they are removed: marks first.
    size_bytes : int
    """

    kind: Kind
    video: str
    stage: str
    keys: tuple[str, ...]
    size_bytes: int

    @property
    def about(self) -> str:
        """What it is, for people."""
        if self.kind == "unnamed":
            return f"{self.stage}: complete, but the recipe does not name it"
        if self.kind == "log":
            return f"{self.keys[0].rpartition('/')[2]}: an old log"
        return f"{self.keys[0].split('/')[2]}: {len(self.keys)} objects of no complete stage"


def removable(location: Location, kept_logs: int = KEPT_LOGS) -> list[Removable]:
    """Find what may be removed; nothing is changed.

    Videos with a damaged mark are left to ``foveal build --repair``. Predictions and masks are
    never unnamed.

    Parameters
    ----------
    location : Location
    kept_logs : int
        Number of logs to keep, the newest.

    Returns
    -------
    list of Removable
    """
    journal = read_journal_with_damage(location)
    damaged = {damage.video for damage in journal.damaged}
    try:
        wanted: Mapping[str, Iterable[str]] = read_wanted(location)
    except StoreError:
        wanted = {}
    found: list[Removable] = []
    for name in location.list_folder(VIDEOS):
        video = video_of(name)
        if video is None or video in damaged:
            continue
        marks = journal.marks.get(video, {})
        found += _abandoned(location, video, marks)
        if video in wanted:
            found += _unnamed(video, marks, set(wanted[video]))
    for log in log_names(location)[: -kept_logs or None]:
        key = f"{LOGS}/{log}"
        found.append(Removable("log", "", "", (key,), _size(location, key)))
    return found


def remove(location: Location, found: Iterable[Removable]) -> None:
    """Remove what was found; no other process may be at work on the store."""
    for one in found:
        marks = [key for key in one.keys if key.endswith(".json") and not key.startswith(VIDEOS)]
        for key in marks:
            location.delete(key)
        location.flush(marks)
        for key in one.keys[len(marks) :]:
            location.delete(key)


def _abandoned(location: Location, video: str, marks: Mapping[str, Mark]) -> Iterator[Removable]:
    group = group_path(video)
    claimed = {f"{group}/zarr.json"}
    for mark in marks.values():
        claimed.update(_objects(mark))
    folders: dict[str, list[str]] = defaultdict(list)
    for key in location.list_all(group):
        if key not in claimed:
            folders[key.removeprefix(f"{group}/").split("/")[0]].append(key)
    for keys in folders.values():
        # Metadata, which makes an array visible, are removed first.
        keys.sort(key=lambda key: (not key.endswith("zarr.json"), key))
        size = sum(_size(location, key) for key in keys)
        yield Removable("abandoned", video, "", tuple(keys), size)


def _unnamed(video: str, marks: Mapping[str, Mark], wanted: set[str]) -> Iterator[Removable]:
    for stage, mark in sorted(marks.items()):
        roles = {info.role for info in mark.infos.values()}
        if stage in wanted or roles.intersection(_ADDED) or "timeline" in roles:
            continue
        keys = sorted(_objects(mark), key=lambda key: (not key.endswith("zarr.json"), key))
        whole = (journal_key(video, stage), *keys)
        yield Removable("unnamed", video, stage, whole, mark.stored_bytes)


def _objects(mark: Mark) -> list[str]:
    group = group_path(mark.video)
    return [
        f"{group}/{array}/{key}" for array, about in mark.arrays.items() for key in about["sha256"]
    ]


def _size(location: Location, key: str) -> int:
    try:
        with location.reaching(key):
            return int(sync(location.zarr.getsize(key)))
    except (FileNotFoundError, StoreError):
        return 0
