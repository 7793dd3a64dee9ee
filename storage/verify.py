"""Verifying a store: every object is read again and compared with what its mark says.

Nothing is trusted but the marks, and those are checked against themselves: a mark's fingerprint is
the hash of its identity. Objects are streamed in blocks by several threads, so memory stays small
however large a shard is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Literal
from urllib.parse import unquote

from zarr.abc.store import RangeByteRequest

from foveal.errors import StoreError
from foveal.storage.location import Location
from foveal.storage.marks import Mark, fingerprint, group_name, read_marks
from foveal.storage.schema import JOURNAL, VIDEOS
from foveal.storage.zarr_internals import default_buffer_prototype, sync

Kind = Literal["missing", "changed", "mark", "metadata", "stale", "alignment", "leftover"]
Progress = Callable[[int, int], None]
"""Called with videos checked so far and videos in all."""

_BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Problem:
    """Something in the store that is not as its marks say.

    Attributes
    ----------
    video : str
    stage : str
        Empty where no stage claims the object.
    key : str
        Object in the store.
    kind : str
        ``missing`` or ``changed`` object, unusable ``mark``, ``metadata`` that disagree with it,
        ``stale`` stage (made from something since replaced), arrays out of ``alignment``, or
        ``leftover``: an object that no mark knows. Those do no harm: a killed build leaves some,
        and the next one removes them.
    message : str
        For people.
    """

    video: str
    stage: str
    key: str
    kind: Kind
    message: str

    @property
    def is_note(self) -> bool:
        """Whether the data is whole nevertheless."""
        return self.kind == "leftover"


def verify(
    location: Location,
    videos: Iterable[str] | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> list[Problem]:
    """Read every object of a store again and compare it with its SHA-256.

    1. each mark: its fingerprint is the hash of its identity, and what it was made from is there;
    2. each array: every chunk that its shape needs is listed, lengths agree with the timeline;
    3. each object: present and unchanged, ``zarr.json`` too, whose shape and dtype are the mark's;
    4. whatever else lies below the video: a leftover.

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
        Empty where all is well; ordered by video.

    Raises
    ------
    StoreError
        Where a wanted video is not in the store.
    """
    known = sorted(
        {unquote(name) for name in location.list_folder(VIDEOS) if name != "zarr.json"}
        | {unquote(name) for name in location.list_folder(JOURNAL) if name != "lock"}
    )
    wanted = known if videos is None else list(videos)
    if missing := [video for video in wanted if video not in set(known)]:
        raise StoreError(f"{location} has no video {', '.join(map(repr, missing))}")
    found: list[Problem] = []
    with ThreadPoolExecutor(threads or max(8, os.cpu_count() or 1)) as pool:
        for done, video in enumerate(wanted, start=1):
            found += _verify_video(location, video, pool)
            if progress is not None:
                progress(done, len(wanted))
    return found


def _verify_video(location: Location, video: str, pool: ThreadPoolExecutor) -> list[Problem]:
    try:
        marks = read_marks(location, video)
    except StoreError as error:
        return [Problem(video, "", f"{JOURNAL}/{group_name(video)}", "mark", str(error))]
    group = f"{VIDEOS}/{group_name(video)}"
    present = set(location.list_all(group))
    found: list[Problem] = []
    objects: list[tuple[Mark, str, str]] = []
    for mark in marks.values():
        found += _check_mark(mark, marks)
        for array, about in mark.arrays.items():
            found += _check_metadata(location, mark, array, f"{group}/{array}/zarr.json")
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


def _check_mark(mark: Mark, marks: dict[str, Mark]) -> Iterator[Problem]:
    key = f"{JOURNAL}/{group_name(mark.video)}/{mark.stage}.json"
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
    frames = marks["time"].arrays["time"]["shape"][0] if "time" in marks else None
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


def _check_metadata(location: Location, mark: Mark, array: str, key: str) -> Iterator[Problem]:
    """Compare ``zarr.json`` with the mark; that it is there and whole is seen by its checksum."""
    about = mark.arrays[array]
    try:
        stored = json.loads(location.read(key) or b"null")
        if stored is None:
            return
        layout = {
            "shape": stored["shape"],
            "dtype": stored["data_type"],
            "dims": stored["dimension_names"],
        }
        grid = stored["chunk_grid"]["configuration"]["chunk_shape"]
    except (ValueError, KeyError, TypeError):
        yield Problem(
            mark.video, mark.stage, key, "metadata", f"{key} is no readable array metadata"
        )
        return
    for what, value in layout.items():
        if value != about[what]:
            yield Problem(
                mark.video,
                mark.stage,
                key,
                "metadata",
                f"{key}: {what} is {value}, its mark says {about[what]}",
            )
    counts = [-(-length // side) for length, side in zip(layout["shape"], grid, strict=True)]
    needed = {"/".join(["c", *map(str, index)]) for index in product(*map(range, counts))}
    for name in sorted(needed - about["sha256"].keys()):
        yield Problem(
            mark.video,
            mark.stage,
            key,
            "mark",
            f"{key}: its shape needs {name}, which the mark does not list",
        )


def _check_object(location: Location, mark: Mark, key: str, sha256: str) -> Problem | None:
    found = _sha256(location, key)
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


def _sha256(location: Location, key: str) -> str | None:
    """Checksum of an object, None where there is none."""
    try:
        size = sync(location.zarr.getsize(key))
    except FileNotFoundError:
        return None
    digest = hashlib.sha256()
    for start in range(0, size, _BLOCK_BYTES):
        block = RangeByteRequest(start, min(size, start + _BLOCK_BYTES))
        buffer = sync(location.zarr.get(key, default_buffer_prototype(), block))
        if buffer is None:
            return None
        digest.update(buffer.as_buffer_like())
    return digest.hexdigest()
