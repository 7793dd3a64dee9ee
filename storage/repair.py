"""This module repairs a store: metadata from their copies, the index from the journal.

Of what can only be computed again, it removes the marks, so that the next build computes just that.
"""

from __future__ import annotations

from collections.abc import Iterable

from foveal.errors import StoreError
from foveal.storage.copies import (
    copy_key,
    group_attributes,
    group_content,
    metadata_key,
    read_copy,
    read_original,
    write_group,
)
from foveal.storage.evaluation import stored_scores
from foveal.storage.index import (
    VOUCHER,
    distrust_index,
    index_lacks_digest,
    index_problem,
    update_index,
)
from foveal.storage.location import Location
from foveal.storage.marks import (
    Mark,
    journal_key,
    read_journal,
    read_journal_with_damage,
    write_mark,
)
from foveal.storage.names import group_path, video_of
from foveal.storage.problems import Problem
from foveal.storage.root import check_format
from foveal.storage.schema import EVALUATION, JOURNAL, VIDEOS
from foveal.storage.statistics_group import STATISTICS, statistics_problem
from foveal.storage.verify import verify
from foveal.storage.verify_store import group_problem
from foveal.storage.wanted import WANTED, read_wanted


def repair_metadata(location: Location) -> list[str]:
    """Repair everything that needs no computing. The caller holds the lock.

    1. torn ``*.partial`` files are removed;
    2. ``zarr.json`` of the root, of ``videos/`` and of every video are restored from their copies,
       and copies that are missing or damaged are made from them;
    3. marks of the first edition get their digest;
    4. damaged statistics, scores and records of wanted stages are removed;
    5. an index that is damaged or missing is written anew from the journal.

    Parameters
    ----------
    location : Location

    Returns
    -------
    list of str
        One line per repair; empty where nothing was damaged.

    Raises
    ------
    StoreError
        There is no store, or its root is damaged and has no usable copy.
    StoreUnreachable
        The place cannot be written to.
    """
    if check_format(location) is None:
        raise StoreError(f"there is no store at {location}; `foveal build` makes one")
    done = _sweep(location)
    marks, _ = read_journal(location)
    folders = {*location.list_folder(VIDEOS), *map(_folder, marks)}
    done += _mend_group(location, "", None)
    done += _mend_group(location, VIDEOS, {})
    for folder in sorted(folders):
        video = video_of(folder)
        if video is None:
            continue
        if video in marks or location.list_folder(f"{VIDEOS}/{folder}"):
            about = _said_by_timeline(marks.get(video, {}))
            done += _mend_group(location, group_path(video), about)
    for key in (journal := read_journal_with_damage(location)).unsealed:
        folder, name = key.removeprefix(f"{JOURNAL}/").split("/")
        write_mark(location, journal.marks[str(video_of(folder))][name.removesuffix(".json")])
        done.append(f"{key}: a digest was added")
    done += _drop_damaged(location)
    if wrong := index_problem(location):
        update_index(location)
        done.append(f"{wrong[1]}: written anew from the marks")
    elif index_lacks_digest(location):
        update_index(location)
        done.append(f"{VOUCHER}: written with the index, anew from the marks")
    return done


def forget_damaged(location: Location, videos: Iterable[str] | None = None) -> list[Problem]:
    """Verify, and remove the marks of damaged stages. The caller holds the lock.

    Parameters
    ----------
    location : Location
    videos : iterable of str, optional
        Ids of the videos; by default all. Videos that the store does not have are skipped.

    Returns
    -------
    list of Problem
        What was found, without the notes. The next build computes anew what has a stage; what has
        none is for `repair_metadata`.
    """
    if videos is not None:
        known = {*location.list_folder(VIDEOS), *location.list_folder(JOURNAL)}
        videos = [video for video in videos if _folder(video) in known]
    found = [problem for problem in verify(location, videos) if not problem.is_note]
    forgotten = {(each.video, each.stage) for each in found if each.stage}
    keys = [journal_key(video, stage) for video, stage in sorted(forgotten)]
    if keys:
        distrust_index(location)
    for key in keys:
        location.delete(key)
    location.flush(keys)
    return found


def _mend_group(location: Location, path: str, otherwise: dict[str, object] | None) -> list[str]:
    """Make a group's ``zarr.json`` and its copy equal."""
    key = metadata_key(path)
    original, copy = read_original(location, path), read_copy(location, path)
    if original is not None and original == copy:
        return []
    done = [] if original == copy else [f"{copy_key(path)}: written from {key}"]
    attributes = otherwise
    if copy is not None:
        attributes = group_attributes(copy)
        done = [f"{key}: restored from {copy_key(path)}"]
    else:
        try:
            attributes = group_attributes(original or b"")
        except ValueError:
            done = [f"{key}: written anew"]
    if attributes is None:
        return []
    write_group(location, path, attributes)
    return done


def _said_by_timeline(marks: dict[str, Mark]) -> dict[str, object] | None:
    about = marks["time"].provenance.get("video") if "time" in marks else None
    return about if isinstance(about, dict) else None


def _drop_damaged(location: Location) -> list[str]:
    done = []
    for key, read in ((WANTED, read_wanted), (EVALUATION, stored_scores)):
        try:
            read(location)
        except StoreError as error:
            location.delete(key)
            done.append(f"removed: {error}")
    splits = [name for name in location.list_folder(STATISTICS) if name != "zarr.json"]
    if splits and (why := group_problem(location, STATISTICS)):
        location.write(metadata_key(STATISTICS), group_content({}))
        done.append(f"{why}: written anew")
    for name in splits:
        if why := statistics_problem(location, name):
            location.delete_folder(f"{STATISTICS}/{name}")
            done.append(f"removed: {why}")
    return done


def _sweep(location: Location) -> list[str]:
    if location.local is None:
        return []
    torn = [key for key in location.list_all("") if key.endswith(".partial")]
    for key in torn:
        location.delete(key)
    return [f"{key}: a torn write was removed" for key in torn]


def _folder(video: str) -> str:
    return group_path(video).removeprefix(f"{VIDEOS}/")
