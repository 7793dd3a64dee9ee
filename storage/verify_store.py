"""This module verifies what belongs to no stage: metadata, index, statistics, scores, records."""

from __future__ import annotations

import re
from collections.abc import Iterator

from foveal.errors import StoreError
from foveal.storage.copies import (
    copy_key,
    copy_record,
    group_attributes,
    metadata_key,
    read_copy,
    read_original,
)
from foveal.storage.evaluation import stored_scores
from foveal.storage.index import VOUCHER, index_lacks_digest, index_problem
from foveal.storage.location import Location
from foveal.storage.names import OF_STORE, video_of
from foveal.storage.problems import Problem
from foveal.storage.root import check_format
from foveal.storage.schema import EVALUATION, INDEX, JOURNAL, VIDEOS
from foveal.storage.statistics_group import STATISTICS, statistics_problem
from foveal.storage.wanted import WANTED, read_wanted

_EXPECTED = re.compile(r"zarr\.json|lock")


def check_store(location: Location) -> Iterator[Problem]:
    """Yield what is wrong with the store as a whole, apart from its videos."""
    yield from check_group(location, "")
    # A store whose build has just begun, or was stopped at once, has no videos yet.
    if location.list_folder(VIDEOS):
        yield from check_group(location, VIDEOS)
    try:
        check_format(location)
    except StoreError as error:
        yield Problem("", "", metadata_key(""), "metadata", str(error))
    if wrong := index_problem(location):
        about = f"{wrong[1]}; every build writes it anew from the marks"
        yield Problem("", "", wrong[0], "changed", about)
    elif index_lacks_digest(location):
        about = f"{INDEX} has no digest: the next build, or `foveal build --repair`, adds it"
        yield Problem("", "", VOUCHER, "unchecked", about)
    for key, read in ((WANTED, read_wanted), (EVALUATION, stored_scores)):
        try:
            read(location)
        except StoreError as error:
            yield problem_of(location, error, key)
    splits = [name for name in location.list_folder(STATISTICS) if name != "zarr.json"]
    if splits and (why := group_problem(location, STATISTICS)):
        yield Problem("", "", metadata_key(STATISTICS), "metadata", why)
    for name in splits:
        if why := statistics_problem(location, name):
            yield Problem("", "", f"{STATISTICS}/{name}", "changed", why)
    for folder in (VIDEOS, JOURNAL):
        for name in location.list_folder(folder):
            key = f"{folder}/{name}"
            if key != OF_STORE and video_of(name) is None and not _EXPECTED.fullmatch(name):
                yield Problem("", "", key, "leftover", f"{key} was not written by foveal")


def check_group(location: Location, path: str, video: str = "") -> Iterator[Problem]:
    """Compare a group's ``zarr.json`` with its copy; yield a note where it has none."""
    key, copy = metadata_key(path), read_copy(location, path)
    original = read_original(location, path)
    if original is None:
        yield Problem(video, "", key, "missing", f"{key} is missing")
    elif copy is not None and original != copy:
        yield Problem(video, "", key, "changed", f"{key} differs from its copy {copy_key(path)}")
    elif copy is None and (why := group_problem(location, path)):
        yield Problem(video, "", key, "metadata", why)
    if copy is not None:
        return
    if copy_record(location, path) is None:
        yield Problem(video, "", copy_key(path), "unchecked", f"{key} has no second copy")
    else:
        yield Problem(video, "", copy_key(path), "changed", f"{copy_key(path)} is damaged")


def group_problem(location: Location, path: str) -> str | None:
    """Return what is wrong with a group's ``zarr.json`` by itself, None where nothing is."""
    try:
        group_attributes(read_original(location, path) or b"")
    except ValueError as error:
        return f"{metadata_key(path)} is missing or damaged: {error}"
    return None


def problem_of(
    location: Location, error: StoreError, key: str, video: str = "", stage: str = ""
) -> Problem:
    """Return an error met while reading one object as a problem of that object.

    Raises
    ------
    StoreUnreachable
        The store as a whole does not answer.
    """
    if isinstance(error.__cause__, Exception):
        location.check_lost(error.__cause__, key)
        return Problem(video, stage, key, "unreadable", str(error))
    return Problem(video, stage, key, "changed", str(error))
