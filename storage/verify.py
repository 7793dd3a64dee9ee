"""Verifying a store: every object is read again and compared with what its mark says.

Nothing is trusted but the marks, and those are checked against themselves: their digest is that of
their content, their fingerprint the hash of their identity. Objects are streamed in blocks by
several threads, so memory stays small however large a shard is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
"""Called with videos checked so far and videos in all."""


def verify(
    location: Location,
    videos: Iterable[str] | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> list[Problem]:
    """Read every object of a store again and compare it with its SHA-256.

    1. the root, the groups' metadata, the index, statistics and scores, by their own checksums
       (only where no videos are named);
    2. each mark: it is there where the index tells of its stage, it is where it belongs, its digest
       and fingerprint are right, and what it was made from is there;
    3. each array: every chunk that its shape needs is listed, lengths agree with the timeline;
    4. each object: present and unchanged, ``zarr.json`` too, whose shape and dtype are the mark's;
    5. whatever else lies below the video: a leftover.

    Parameters
    ----------
    location : Location
    videos : iterable of str, optional
        Only these; by default every video that has a journal or a group.
    progress : callable, optional
    threads : int, optional
        Readers at work at once; by default as many as the machine has cores, at least 8.

    Returns
    -------
    list of Problem
        Empty where all is well; the store first, then by video, then what the first edition lacks.

    Raises
    ------
    StoreError
        Where a wanted video is not in the store.
    StoreUnreachable
        Where the store as a whole does not answer.
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
    """What stores of the first edition go without, gathered so that one note tells of many."""

    checksums: dict[str, list[str]] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)

    def notes(self) -> Iterator[Problem]:
        for array, videos in sorted(self.checksums.items()):
            yield Problem(
                "",
                "",
                array,
                "unchecked",
                f"chunks of {array} carry no checksum in {some(videos)}: verify sees damage to "
                "them, reading does not; computed again they get one",
            )
        for keys, what in (
            (self.digests, "marks carry no digest"),
            (self.copies, "metadata have no second copy"),
        ):
            if keys:
                yield Problem(
                    "",
                    "",
                    keys[0],
                    "unchecked",
                    f"{what} ({some(keys)}): written by an earlier foveal; "
                    "`foveal build --repair` adds it",
                )


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
    except StoreError:  # the journal's reader says so
        return
    for name in names:
        stage = name.removesuffix(".json")
        if name not in ("group", "checkpoint") and (stage == name or not is_name(stage)):
            key = f"{folder}/{name}"
            yield Problem(video, "", key, "leftover", f"{key} is nothing that foveal wrote")


def _check_mark(mark: Mark, marks: dict[str, Mark]) -> Iterator[Problem]:
    key = journal_key(mark.video, mark.stage)
    if fingerprint(mark.identity) != mark.fingerprint:
        yield Problem(
            mark.video,
            mark.stage,
            key,
            "mark",
            f"{key}: the fingerprint {mark.fingerprint[:12]} is not that of the identity beside it",
        )
    for name, wanted in mark.identity.get("upstream", {}).items():
        source = marks.get(name)
        if source is not None and source.fingerprint != wanted:
            yield Problem(
                mark.video,
                mark.stage,
                key,
                "stale",
                f"{mark.stage} of {mark.video} was made from another {name} than is stored",
            )
    timeline = marks["time"].arrays.get("time") if "time" in marks else None
    frames = None if timeline is None else timeline["shape"][0]
    for array, info in mark.infos.items():
        expected = None if frames is None else info.items_expected(frames)
        if expected is not None and info.items != expected:
            yield Problem(
                mark.video,
                mark.stage,
                key,
                "alignment",
                f"{array} of {mark.video} has {info.items} items along {info.dims[0]}, "
                f"its timeline {frames} frames",
            )
        numbers = mark.infos.get(info.starts or info.source_frames or "")
        if numbers is not None and numbers.items != info.items:
            yield Problem(
                mark.video,
                mark.stage,
                key,
                "alignment",
                f"{array} of {mark.video} has {info.items} items, {numbers.name}, which says of "
                f"which frames they are, {numbers.items}",
            )


def _check_metadata(
    location: Location, mark: Mark, array: str, key: str, lacks: _Lacks
) -> Iterator[Problem]:
    """Compare ``zarr.json`` with the mark; that it is there and whole is seen by its checksum."""
    about = mark.arrays[array]
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
        yield Problem(
            mark.video, mark.stage, key, "metadata", f"{key} is no readable array metadata"
        )
        return
    if not checked:
        lacks.checksums.setdefault(array, []).append(mark.video)
    for what, value in layout.items():
        if value != about[what]:
            yield Problem(
                mark.video,
                mark.stage,
                key,
                "metadata",
                f"{key}: {what} is {value}, its mark says {about[what]}",
            )
    try:
        check_count(layout["shape"], grid, about["sha256"])
        counts = [-(-length // side) for length, side in zip(layout["shape"], grid, strict=True)]
        needed = {"/".join(["c", *map(str, index)]) for index in product(*map(range, counts))}
        for name in sorted(needed - about["sha256"].keys()):
            raise ValueError(f"its shape needs {name}, which its mark does not list")
    except (ValueError, TypeError, ZeroDivisionError) as error:
        yield Problem(mark.video, mark.stage, key, "mark", f"{key}: {error}")
        return
    if sha256_of_bytes(content) == about["sha256"].get("zarr.json"):
        try:
            checked_array(location, mark, array, content)
        except ChecksumError as error:
            yield Problem(mark.video, mark.stage, key, "metadata", str(error))


def _carry_checksums(codecs: list[dict[str, Any]]) -> bool:
    """Whether each chunk that is read carries a checksum, in a shard or by itself."""
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
    return Problem(
        mark.video,
        mark.stage,
        key,
        "changed",
        f"{key} has changed: its SHA-256 is {found[:12]}…, its mark says {sha256[:12]}…",
    )
