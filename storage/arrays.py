"""Arrays as they lie on disk, in which whatever is damaged is an error instead of wrong numbers."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import zarr
from zarr.abc.store import ByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.storage import StorePath, WrapperStore

from foveal.errors import ChecksumError, FovealError, StoreError
from foveal.storage.digests import sha256_of_bytes
from foveal.storage.location import Location
from foveal.storage.names import group_path, is_name, journal_key
from foveal.storage.records import Mark, parse_mark
from foveal.storage.zarr_internals import (
    ArrayV3Metadata,
    AsyncArray,
    Buffer,
    BufferPrototype,
    default_buffer_prototype,
    sync,
)

_CHUNK = re.compile(r"/c(/\d+)*$")
MEND = "`foveal verify` lists all that is, `foveal build --repair` computes it again"


class WholeStore(WrapperStore[ZarrStore]):
    """A Zarr store in which a missing chunk is an error instead of zeros.

    foveal writes every chunk, zeros too, so whatever is missing of a published array was lost.

    Parameters
    ----------
    location : Location
    objects : mapping of str to bytes, optional
        Metadata known to be right, by key: they are given without asking the disk.
    listed : mapping of str to list of str, optional
        Names that a folder is said to hold, by its key, whatever else lies there.
    """

    def __init__(
        self,
        location: Location,
        objects: Mapping[str, bytes] | None = None,
        listed: Mapping[str, list[str]] | None = None,
    ) -> None:
        super().__init__(location.zarr)
        self._location = location
        self._objects = dict(objects or {})
        self._listed = dict(listed or {})

    def _with_store(self, store: ZarrStore) -> WholeStore:
        twin = copy.copy(self)
        twin._store = store
        return twin

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        if key in self._objects and byte_range is None:
            return prototype.buffer.from_bytes(self._objects[key])
        try:
            value = await self._store.get(key, prototype, byte_range)
        except Exception as error:
            self._location.check_lost(error, key)
            raise ChecksumError(
                f"{self._location}/{key} cannot be read: {error}; {MEND}"
            ) from error
        if value is None and _CHUNK.search(key):
            raise ChecksumError(
                f"{self._location}/{key} is missing, though its array was complete; {MEND}"
            )
        return value

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        names = self._listed.get(prefix.rstrip("/"))
        if names is not None:
            for name in names:
                yield name
            return
        async for name in self._store.list_dir(prefix):
            yield name


class CheckedArray(AsyncArray[Any]):
    """An array whose chunks that do not decode are a ChecksumError that names the array."""

    async def _get_selection(self, *arguments: Any, **options: Any) -> Any:
        try:
            return await super()._get_selection(*arguments, **options)
        except (FovealError, MemoryError):
            raise
        except Exception as error:
            raise damaged(f"{self.store_path.store}/{self.path}", error) from error

    async def getitem(self, *arguments: Any, **options: Any) -> Any:
        try:
            return await super().getitem(*arguments, **options)
        except (FovealError, MemoryError):
            raise
        except Exception as error:
            raise damaged(f"{self.store_path.store}/{self.path}", error) from error


def damaged(what: str, error: Exception) -> ChecksumError:
    """The error for stored bytes that do not decode."""
    why = str(error) or type(error).__name__
    return ChecksumError(f"{what} is damaged ({why}); {MEND}")


def read_array(location: Location, video: str, name: str) -> zarr.Array[Any]:
    """One complete array of a video; a chunk of it that is missing or damaged is an error.

    Raises
    ------
    StoreError
        Where the video has no such complete array.
    ChecksumError
        Where its metadata are not those that were written.
    """
    return zarr.Array(sync(open_checked(location, video, name)))


async def open_checked(location: Location, video: str, name: str) -> CheckedArray:
    """An array by its metadata, once these are found to be what the mark of its stage says.

    The metadata name the stage, so two objects are read.
    """
    if not is_name(name):
        raise StoreError(f"{location}: {name!r} is no name of an array")
    key = f"{group_path(video)}/{name}/zarr.json"
    content = await _get(location, key)
    if content is None:
        raise StoreError(
            f"{location}: array {name!r} of video {video!r} is gone; a build may be replacing it: "
            "open the store again when it has ended; or it was lost: `foveal verify` tells"
        )
    try:
        stage = json.loads(content)["attributes"]["foveal"]["stage"]
        if not is_name(stage):
            raise ValueError(f"its stage is {stage!r}")
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise damaged(f"{location}/{key}", error) from None
    record = await _get(location, journal_key(video, stage))
    if record is None:
        raise StoreError(
            f"{location}: array {name!r} of video {video!r} is not complete: its stage {stage!r} "
            "has no mark; a build may be replacing it: open the store again when it has ended"
        )
    try:
        mark, _ = parse_mark(record, video, stage)
        if name not in mark.arrays:
            raise ValueError(f"it says nothing of {name}")
    except ValueError as error:
        raise damaged(f"{location}/{journal_key(video, stage)}", error) from None
    return checked_array(location, mark, name, content)


async def read_metadata(location: Location, marks: Iterable[Mark]) -> dict[str, bytes]:
    """The ``zarr.json`` of every array that these marks vouch for, by key, each checked.

    Raises
    ------
    ChecksumError
        Where one is missing or not what was written.
    """
    wanted = [(mark, name) for mark in marks for name in mark.arrays]

    async def read(mark: Mark, name: str) -> tuple[str, bytes]:
        key = f"{group_path(mark.video)}/{name}/zarr.json"
        content = await _get(location, key)
        if content is None:
            raise ChecksumError(f"{location}/{key} is missing, though complete; {MEND}")
        checked_array(location, mark, name, content)
        return key, content

    return dict(await asyncio.gather(*(read(mark, name) for mark, name in wanted)))


def checked_array(location: Location, mark: Mark, name: str, content: bytes) -> CheckedArray:
    """An array by the content of its ``zarr.json``, where a mark vouches for that content."""
    path = f"{group_path(mark.video)}/{name}"
    about = mark.arrays[name]
    try:
        if sha256_of_bytes(content) != about["sha256"].get("zarr.json"):
            raise ValueError("its SHA-256 is not what its mark says")
        metadata = ArrayV3Metadata.from_dict(json.loads(content))
        store = WholeStore(location, {f"{path}/zarr.json": content})
        array = CheckedArray(metadata, StorePath(store, path))
        if list(array.shape) != about["shape"]:
            raise ValueError(f"its shape is {array.shape}, its mark says {about['shape']}")
        check_count(array.shape, (array.shards or array.chunks), about["sha256"])
    except MemoryError:
        raise
    except Exception as error:  # zarr lets through whatever odd values end in
        raise damaged(f"{location}/{path}/zarr.json", error) from None
    return array


def check_count(shape: Sequence[int], grid: Sequence[int], objects: Mapping[str, str]) -> None:
    """Compare how many objects a shape needs with how many the mark lists.

    Before anything as large as the shape is asked for, in memory or as a list of keys.

    Raises
    ------
    ValueError
    """
    needed = math.prod(-(-length // side) for length, side in zip(shape, grid, strict=True))
    listed = sum(key != "zarr.json" for key in objects)
    if needed != listed:
        raise ValueError(
            f"its shape {tuple(shape)} needs {needed} objects, its mark lists {listed}"
        )


async def _get(location: Location, key: str) -> bytes | None:
    try:
        buffer = await location.zarr.get(key, default_buffer_prototype())
    except FileNotFoundError:
        return None
    except Exception as error:
        location.check_lost(error, key)
        raise damaged(f"{location}/{key}", error) from error
    return None if buffer is None else buffer.to_bytes()
