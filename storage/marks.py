"""Completion marks: the only proof that a stage of a video is done.

One JSON object a stage, ``_foveal/<video>/<stage>.json``, written after everything it speaks of.
It holds the fingerprint and the identity that was hashed into it, the arrays with the SHA-256 of
each of their objects, and the provenance. ``_foveal/<video>/quarantine.json`` says instead why a
video could not be processed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from foveal.errors import StoreError
from foveal.storage.kinds import ArrayInfo, array_info
from foveal.storage.location import Location
from foveal.storage.schema import JOURNAL
from foveal.storage.zarr_internals import default_buffer_prototype, sync

QUARANTINE = "quarantine"
_AT_ONCE = 64
# Separators, what file systems forbid, what fsspec takes for a pattern when it deletes; and the
# beginnings that Zarr reserves.
_UNSAFE = re.compile(r'[%/\\:*?"<>|\[\]{}\x00-\x1f]|^_(?=_)|^\.(?=\.?$)')
_TAKEN = ("zarr.json", "lock")
"""Names that stand for something else in the folders of groups and of journals."""


@dataclass(frozen=True)
class Mark:
    """A stage of a video is complete.

    Attributes
    ----------
    video, stage : str
    fingerprint : str
        SHA-256 of `identity`.
    identity : mapping
        What determines the numbers: stage, version, parameters, source content, upstream.
    arrays : mapping
        By array name: ``shape``, ``dtype``, ``dims``, what the array says of itself (``axis``,
        ``kind``, …; see `foveal.storage.kinds`) and ``sha256`` by object key below the array.
    provenance : mapping
        What happened: software, device, seconds, counts, source files.
    """

    video: str
    stage: str
    fingerprint: str
    identity: Mapping[str, Any]
    arrays: Mapping[str, Mapping[str, Any]]
    provenance: Mapping[str, Any]

    @property
    def infos(self) -> dict[str, ArrayInfo]:
        """What each of its arrays is, by name."""
        return {name: array_info(name, self.stage, about) for name, about in self.arrays.items()}

    @property
    def random_weights(self) -> bool:
        """Whether an untrained network computed it: only to try things out."""
        return _names_random_weights(self.identity.get("parameters", {}))

    @property
    def stored_bytes(self) -> int:
        """Bytes of all objects of this stage."""
        return int(self.provenance.get("stored_bytes", 0))


@dataclass(frozen=True)
class Quarantine:
    """A video that could not be processed.

    Attributes
    ----------
    video : str
    kind : str
        Name of the error class.
    reason : str
        For people: what is wrong and what to do.
    wanted : mapping of str to str
        Fingerprint by stage that was being computed: while it stays, trying again is pointless.
    """

    video: str
    kind: str
    reason: str
    wanted: Mapping[str, str]


def _names_random_weights(parameters: Mapping[str, Any]) -> bool:
    return any(
        _names_random_weights(value)
        if isinstance(value, Mapping)
        else key.startswith("weights") and str(value).startswith("random")
        for key, value in parameters.items()
    )


def fingerprint(identity: Mapping[str, Any]) -> str:
    """SHA-256 of canonical JSON."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def group_name(video: str) -> str:
    """Name of a video's group and journal folder: the id, unsafe characters percent-encoded.

    Different ids have different names, and `urllib.parse.unquote` gives the id back.

    Raises
    ------
    StoreError
        Where the id is empty.

    Examples
    --------
    >>> group_name("002"), group_name("clips/a b"), group_name("__MACOSX")
    ('002', 'clips%2Fa b', '%5F_MACOSX')
    """
    if not video:
        raise StoreError("a video without a name cannot be stored; give it an id")
    if video in _TAKEN:
        return f"%{ord(video[0]):02X}{video[1:]}"
    return _UNSAFE.sub(lambda match: f"%{ord(match.group()):02X}", video)


def journal_key(video: str, name: str) -> str:
    """Key of a mark or of the quarantine record."""
    return f"{JOURNAL}/{group_name(video)}/{name}.json"


def write_mark(location: Location, mark: Mark) -> None:
    """Declare a stage complete. Everything it speaks of must be on disk already."""
    location.write_json(journal_key(mark.video, mark.stage), asdict(mark))


def write_quarantine(location: Location, record: Quarantine) -> None:
    """Note why a video was given up."""
    location.write_json(journal_key(record.video, QUARANTINE), asdict(record))


def read_marks(location: Location, video: str) -> dict[str, Mark]:
    """Marks of one video by stage."""
    return read_journal(location, [video])[0].get(video, {})


def read_journal(
    location: Location, videos: Iterable[str] | None = None
) -> tuple[dict[str, dict[str, Mark]], dict[str, Quarantine]]:
    """All marks by video and stage, and the quarantined videos.

    Parameters
    ----------
    location : Location
    videos : iterable of str, optional
        Only these; by default every video that has a journal.

    Returns
    -------
    marks, quarantined
    """
    if videos is None:
        prefixes = [f"{JOURNAL}/{name}" for name in location.list_folder(JOURNAL)]
    else:
        prefixes = [f"{JOURNAL}/{group_name(video)}" for video in videos]
    marks: dict[str, dict[str, Mark]] = {}
    quarantined: dict[str, Quarantine] = {}
    for key, content in sync(_read_all(location, prefixes)):
        try:
            values = json.loads(content)
            if key.endswith(f"/{QUARANTINE}.json"):
                record = Quarantine(**values)
                quarantined[record.video] = record
            else:
                mark = Mark(**values)
                marks.setdefault(mark.video, {})[mark.stage] = mark
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"{location}/{key} is damaged ({error}); delete it and build again: "
                "its stage is then computed anew"
            ) from None
    return marks, quarantined


async def _read_all(location: Location, prefixes: list[str]) -> list[tuple[str, bytes]]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def read_folder(prefix: str) -> list[tuple[str, bytes]]:
        found = []
        async with gate:
            async for name in location.zarr.list_dir(prefix):
                if name.endswith(".json"):
                    key = f"{prefix}/{name}"
                    buffer = await location.zarr.get(key, default_buffer_prototype())
                    if buffer is not None:
                        found.append((key, buffer.to_bytes()))
        return found

    folders = await asyncio.gather(*(read_folder(prefix) for prefix in prefixes))
    return [item for folder in folders for item in folder]
