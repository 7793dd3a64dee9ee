"""This module opens stored arrays so that damage raises an error and never gives wrong numbers."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
MEND = "`foveal verify` lists all damage, `foveal build --repair` computes it again"
"""The next step in messages about damage."""


class WholeStore(WrapperStore[ZarrStore]):
    """A Zarr store in which a missing chunk is an error instead of zeros.

    foveal writes every chunk, zeros too, so a missing chunk of a published array was lost.

    Parameters
    ----------
    location : Location
    objects : mapping of str to bytes, optional
        Metadata that were checked before, by key. They are answered without reading the disk.
    listed : mapping of str to list of str, optional
        By key of a folder, the only names that a listing of this folder gives.
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
                f"{self._location}/{key} is missing, although its array was complete; {MEND}"
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
    """An array that raises a ChecksumError with its name where a chunk cannot be decoded."""

    async def _get_selection(self, *arguments: Any, **options: Any) -> Any:
        with decoding(f"{self.store_path.store}/{self.path}"):
            return await super()._get_selection(*arguments, **options)

    async def getitem(self, *arguments: Any, **options: Any) -> Any:
        with decoding(f"{self.store_path.store}/{self.path}"):
            return await super().getitem(*arguments, **options)


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turn whatever zarr raises for undecodable bytes of `what` into a ChecksumError."""
    try:
        yield
    except (FovealError, MemoryError):
        raise
    except Exception as error:
        raise damaged(what, error) from error


def damaged(what: str, error: Exception) -> ChecksumError:
    """Return the error for stored bytes of `what` that cannot be decoded."""
    why = str(error) or type(error).__name__
    return ChecksumError(f"{what} is damaged ({why}); {MEND}")


def read_array(location: Location, video: str, name: str) -> zarr.Array[Any]:
    """Open one complete array of a video; reading its missing or damaged chunks raises an error.

    Raises
    ------
    StoreError
        The video has no such complete array.
    ChecksumError
        The array's metadata differ from what was written.
    """
    return zarr.Array(sync(open_checked(location, video, name)))


async def open_checked(location: Location, video: str, name: str) -> CheckedArray:
    """Open an array after comparing its metadata with the completion mark of its stage.

    The metadata name the stage, so two objects are read.
    """
    if not is_name(name):
        raise StoreError(f"{location}: {name!r} is not a valid array name")
    key = f"{group_path(video)}/{name}/zarr.json"
    content = await _get(location, key)
    if content is None:
        raise StoreError(
            f"{location}: array {name!r} of video {video!r} is gone. Either a build is replacing "
            "it: open the store again when the build has ended. Or it was lost: `foveal verify` "
            "tells"
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
            "has no mark. A build may be replacing it: open the store again when the build has "
            "ended"
        )
    try:
        mark, _ = parse_mark(record, video, stage)
        if name not in mark.arrays:
            raise ValueError(f"it does not list {name}")
    except ValueError as error:
        raise damaged(f"{location}/{journal_key(video, stage)}", error) from None
    return checked_array(location, mark, name, content)


async def read_metadata(location: Location, marks: Iterable[Mark]) -> dict[str, bytes]:
    """Read and check the ``zarr.json`` of every array that these marks list; gives them by key.

    Raises
    ------
    ChecksumError
        One is missing or differs from what was written.
    """
    wanted = [(mark, name) for mark in marks for name in mark.arrays]

    async def read(mark: Mark, name: str) -> tuple[str, bytes]:
        key = f"{group_path(mark.video)}/{name}/zarr.json"
        content = await _get(location, key)
        if content is None:
            raise ChecksumError(
                f"{location}/{key} is missing, although its array was complete; {MEND}"
            )
        checked_array(location, mark, name, content)
        return key, content

    return dict(await asyncio.gather(*(read(mark, name) for mark, name in wanted)))


def checked_array(location: Location, mark: Mark, name: str, content: bytes) -> CheckedArray:
    """Make an array from the content of its ``zarr.json``, once a mark confirms that content."""
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
    except Exception as error:  # zarr raises many types for odd values
        raise damaged(f"{location}/{path}/zarr.json", error) from None
    return array


def check_count(shape: Sequence[int], grid: Sequence[int], objects: Mapping[str, str]) -> None:
    """Compare how many objects a shape needs with how many objects the mark lists.

    This comes before anything as large as the shape is allocated, in memory or as a list of keys.

    Raises
    ------
    ValueError
        The two numbers differ.
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
