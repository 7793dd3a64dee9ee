"""This module keeps an array invisible to readers until it is complete.

A Zarr array exists as soon as its ``zarr.json`` exists. Chunks are written to the store at once,
while metadata wait in memory; `StagingStore.publish` writes them last. So no reader, not even plain
xarray, ever sees a half-written array.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping

from zarr.abc.store import ByteRequest, Store
from zarr.storage import WrapperStore

from foveal.storage.aligned import with_aligned_chunks
from foveal.storage.copies import group_content
from foveal.storage.exclusive import put_new
from foveal.storage.location import Location
from foveal.storage.zarr_internals import Buffer, BufferPrototype, sync


class StagingStore(WrapperStore[Store]):
    """A store that holds back ``zarr.json`` objects and records the SHA-256 of what is written.

    Parameters
    ----------
    location : Location
    to_align : mapping of str to int, optional
        Chunks per shard, by path of the arrays whose shards are aligned
        (`foveal.storage.aligned`).

    Attributes
    ----------
    sha256 : dict of str to str
        By key, the SHA-256 of each chunk or shard written and each metadata object published.
    stored_bytes : int
        Bytes written so far.
    """

    def __init__(self, location: Location, to_align: Mapping[str, int] | None = None) -> None:
        super().__init__(location.zarr)
        self._location = location
        self._to_align = to_align or {}
        self.sha256: dict[str, str] = {}
        self.stored_bytes = 0
        self._held: dict[str, Buffer] = {}

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        if key in self._held and byte_range is None:
            return self._held[key]
        if key.endswith("zarr.json"):
            # Zarr looks at the parent groups before it writes an array. They were written before;
            # readers and repairs find out whether they are damaged.
            return prototype.buffer.from_bytes(group_content({})) if _is_group(key) else None
        if key not in self.sha256:
            # This process did not write it: Zarr asks before it writes a new shard.
            return None
        with self._location.reaching(key):
            return await self._store.get(key, prototype, byte_range)

    async def exists(self, key: str) -> bool:
        if key.endswith("zarr.json"):
            # Only what was staged: arrays of earlier builds were removed.
            return key in self._held or _is_group(key)
        with self._location.reaching(key):
            return await self._store.exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        if key.endswith("zarr.json"):
            self._held[key] = value
            return
        for path, chunks in self._to_align.items():
            if key.startswith(f"{path}/c/"):
                content = await asyncio.to_thread(with_aligned_chunks, value.to_bytes(), chunks)
                value = type(value).from_bytes(content)
        await self._put(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        if not await self.exists(key):
            await self.set(key, value)

    async def _put(self, key: str, value: Buffer) -> None:
        content = value.as_buffer_like()
        digest = await asyncio.to_thread(hashlib.sha256, content)
        with self._location.reaching(self._location.owned(key)):
            while not await put_new(self._store, key, value):
                # Another process wrote it and then lost its claim, which this process holds now.
                self._location.owned(key)
                await self._store.delete(key)
        self.sha256[key] = digest.hexdigest()
        self.stored_bytes += len(value)

    def adopt(self, sha256: Mapping[str, str]) -> None:
        """Count objects of an earlier run, by key, as written by this run."""
        self.sha256.update(sha256)
        for key in sha256:
            self.stored_bytes += int(sync(self._store.getsize(key)))

    def publish(self) -> None:
        """Write the metadata that were held back: from now on the arrays exist."""

        async def put_all() -> None:
            for key, value in self._held.items():
                await self._put(key, value)

        sync(put_all())
        self._held.clear()


def _is_group(key: str) -> bool:
    """Tell whether a ``zarr.json`` is that of the root, of ``videos``, or of a video."""
    return key.count("/") <= 2
