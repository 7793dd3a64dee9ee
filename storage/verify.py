"""This module verifies a store: it reads every object again and compares it with its mark.

Only the marks are trusted, and they are checked against themselves: the digest is that of their
content, the fingerprint is the hash of their identity. Several threads read objects in blocks, so
memory stays small however large a shard is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

from foveal.errors import ChecksumError, StoreError
from foveal.storage.arrays import check_count, checked_array
from foveal.storage.copies import read_copy
from foveal.storage.digests import fingerprint, sha256_of_bytes, sha256_of_object
from foveal.storage.location import Location
from foveal.storage.lost import lost_mark, told_by_index
from foveal.storage.marks import Mark, read_journal_with_damage
from foveal.storage.names import group_name, group_path, is_name, journal_key, video_of
from foveal.storage.problems import Problem, some
from foveal.storage.schema import JOURNAL, VIDEOS
from foveal.storage.verify_store import check_group, check_store, problem_of

__all__ = ["Problem", "verify"]

Progress = Callable[[int, int], None]
"""Called with the number of videos checked so far and the number of all videos."""


def verify(
    location: Location,
    videos: Iterable[str] | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> list[Problem]:
    """Read every object of a store again and compare it with its SHA-256.

    1. the root, the groups' metadata, the index, statistics and scores, by their own checksums
       (only where no videos are named);
    2. each mark: it exists where the index lists its stage, it is of the video and stage that its
       key names, its digest and fingerprint are right, and what it was made from exists;
    3. each array: the mark lists every chunk that its shape needs, lengths agree with the timeline;
    4. each object: present and unchanged; ``zarr.json`` has the shape and dtype of the mark;
    5. whatever else is below the video: a leftover.

    Parameters
    ----------
    location : Location
    videos : iterable of str, optional
        Ids of the videos; by default every video that has a journal or a group.
    progress : callable, optional
        Called after each video with the number of videos so far and of all.
    threads : int, optional
        Number of threads that read; by default the number of cores, at least 8.

    Returns
    -------
    list of Problem
        Empty where all is well. First the store, then by video, then what the first edition lacks.

    Raises
    ------
    StoreError
        A wanted video is not in the store.
    StoreUnreachable
        The store as a whole does not answer.
    """
    names = [*location.list_folder(VIDEOS), *location.list_folder(JOURNAL)]
    told = told_by_index(location)
    known = sorted({video for video in map(video_of, names) if video is not None} | told.keys())
    wanted = known if videos is None else list(videos)
    if missing := [video for video in wanted if video not in set(known)]:
        raise StoreError(f"{location} has no video {', '.join(map(repr, missing))}")
    found = list(check_store(location)) if videos is None else []
    lacks = _Lacks()
    with ThreadPoolExecutor(threads or max(8, os.cpu_count() or 1)) as pool:
        for done, video in enumerate(wanted, start=1):
            found += _verify_video(location, video, pool, lacks, told.get(video, set()))
            if progress is not None:
                progress(done, len(wanted))
    return found + list(lacks.notes())


@dataclass
class _Lacks:
    """What stores of the first edition lack, gathered so that one note covers many objects."""

    checksums: dict[str, list[str]] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)

    def notes(self) -> Iterator[Problem]:
        for array, videos in sorted(self.checksums.items()):
            why = (
                f"chunks of {array} carry no checksum in {some(videos)}: verify sees damage to "
                "them, reading does not; chunks computed again get one"
            )
            yield Problem("", "", array, "unchecked", why)
        for keys, what in (
            (self.digests, "marks carry no digest"),
            (self.copies, "metadata have no second copy"),
        ):
            if keys:
                why = (
                    f"{what} ({some(keys)}): written by an earlier foveal; "
                    "`foveal build --repair` adds it"
                )
                yield Problem("", "", keys[0], "unchecked", why)


def _verify_video(
    location: Location, video: str, pool: ThreadPoolExecutor, lacks: _Lacks, told: set[str]
) -> list[Problem]:
    journal = read_journal_with_damage(location, [video])
    marks = journal.marks.get(video, {})
    group = group_path(video)
    found = [Problem(video, each.stage, each.key, "mark", each.reason) for each in journal.damaged]
    for stage in sorted(told - marks.keys() - {each.stage for each in journal.damaged}):
        lost = lost_mark(location, video, stage)
        found.append(Problem(video, stage, lost.key, "missing", lost.reason))
    found += _foreign_records(location, video)
    lacks.digests += journal.unsealed
    present = set(location.list_all(group))
    if marks or f"{group}/zarr.json" in present or read_copy(location, group) is not None:
        for problem in check_group(location, group, video):
            if problem.kind == "unchecked":
                lacks.copies.append(problem.key)
            else:
                found.append(problem)
    objects: list[tuple[Mark, str, str]] = []
    for mark in marks.values():
        found += _check_mark(mark, marks)
        for array, about in mark.arrays.items():
            found += _check_metadata(location, mark, array, f"{group}/{array}/zarr.json", lacks)
            objects += [
                (mark, f"{group}/{array}/{key}", sha256) for key, sha256 in about["sha256"].items()
            ]
    found += filter(None, pool.map(lambda item: _check_object(location, *item), objects))
    claimed = {key for _, key, _ in objects} | {f"{group}/zarr.json"}
    found += [
        Problem(video, "", key, "leftover", f"{key} belongs to no complete stage")
        for key in sorted(present - claimed)
    ]
    return found


def _foreign_records(location: Location, video: str) -> Iterator[Problem]:
    """Files in a video's journal that foveal did not write, such as a Mac's ``._frames.json``."""
    folder = f"{JOURNAL}/{group_name(video)}"
    try:
        names = location.list_folder(folder)
    except StoreError:  # the reader of the journal reports it
        return
    for name in names:
        stage = name.removesuffix(".json")
        if name not in ("group", "checkpoint") and (stage == name or not is_name(stage)):
            key = f"{folder}/{name}"
            yield Problem(video, "", key, "leftover", f"{key} was not written by foveal")


def _check_mark(mark: Mark, marks: dict[str, Mark]) -> Iterator[Problem]:
    key = journal_key(mark.video, mark.stage)
    problem = partial(Problem, mark.video, mark.stage, key)
    if fingerprint(mark.identity) != mark.fingerprint:
        yield problem(
            "mark", f"{key}: the fingerprint {mark.fingerprint[:12]} is not that of its identity"
        )
    for name, wanted in mark.identity.get("upstream", {}).items():
        source = marks.get(name)
        if source is not None and source.fingerprint != wanted:
            yield problem(
                "stale",
                f"{mark.stage} of {mark.video} was made from a {name} other than the stored one",
            )
    timeline = marks["time"].arrays.get("time") if "time" in marks else None
    frames = None if timeline is None else timeline["shape"][0]
    for array, info in mark.infos.items():
        expected = None if frames is None else info.items_expected(frames)
        if expected is not None and info.items != expected:
            yield problem(
                "alignment",
                f"{array} of {mark.video} has {info.items} items along {info.dims[0]}, "
                f"its timeline {frames} frames",
            )
        numbers = mark.infos.get(info.starts or info.source_frames or "")
        if numbers is not None and numbers.items != info.items:
            yield problem(
                "alignment",
                f"{array} of {mark.video} has {info.items} items, but {numbers.name}, which gives "
                f"their frames, has {numbers.items}",
            )


def _check_metadata(
    location: Location, mark: Mark, array: str, key: str, lacks: _Lacks
) -> Iterator[Problem]:
    """Compare ``zarr.json`` with the mark; that it exists and is whole is left to its checksum."""
    about = mark.arrays[array]
    problem = partial(Problem, mark.video, mark.stage, key)
    try:
        content = location.read(key)
        if content is None:
            return
        stored = json.loads(content)
        layout = {
            "shape": stored["shape"],
            "dtype": stored["data_type"],
            "dims": stored["dimension_names"],
        }
        grid = stored["chunk_grid"]["configuration"]["chunk_shape"]
        checked = _carry_checksums(stored["codecs"])
        if stored["attributes"]["foveal"]["stage"] != mark.stage:
            raise ValueError("it names another stage")
    except StoreError as error:
        yield problem_of(location, error, key, mark.video, mark.stage)
        return
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        yield problem("metadata", f"{key} is not readable array metadata")
        return
    if not checked:
        lacks.checksums.setdefault(array, []).append(mark.video)
    for what, value in layout.items():
        if value != about[what]:
            yield problem("metadata", f"{key}: {what} is {value}, its mark says {about[what]}")
    try:
        check_count(layout["shape"], grid, about["sha256"])
        counts = [-(-length // side) for length, side in zip(layout["shape"], grid, strict=True)]
        needed = {"/".join(["c", *map(str, index)]) for index in product(*map(range, counts))}
        for name in sorted(needed - about["sha256"].keys()):
            raise ValueError(f"its shape needs {name}, which its mark does not list")
    except (ValueError, TypeError, ZeroDivisionError) as error:
        yield problem("mark", f"{key}: {error}")
        return
    if sha256_of_bytes(content) == about["sha256"].get("zarr.json"):
        try:
            checked_array(location, mark, array, content)
        except ChecksumError as error:
            yield problem("metadata", str(error))


def _carry_checksums(codecs: list[dict[str, Any]]) -> bool:
    """Tell whether each chunk carries a checksum, in a shard or by itself."""
    last = codecs[-1]
    if last["name"] == "sharding_indexed":
        last = last["configuration"]["codecs"][-1]
    return bool(last["name"] == "crc32c")


def _check_object(location: Location, mark: Mark, key: str, sha256: str) -> Problem | None:
    try:
        found = sha256_of_object(location, key)
    except StoreError as error:
        return problem_of(location, error, key, mark.video, mark.stage)
    if found == sha256:
        return None
    if found is None:
        return Problem(mark.video, mark.stage, key, "missing", f"{key} is missing")
    why = f"{key} has changed: its SHA-256 is {found[:12]}…, its mark says {sha256[:12]}…"
    return Problem(mark.video, mark.stage, key, "changed", why)
