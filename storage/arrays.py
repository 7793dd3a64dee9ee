"""Arrays as they lie on disk, in which a missing chunk is an error instead of zeros."""

from __future__ import annotations

import copy
from typing import Any

import zarr
from zarr.abc.store import ByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.storage import WrapperStore

from foveal.errors import ChecksumError, StoreError
from foveal.storage.location import Location
from foveal.storage.marks import group_name
from foveal.storage.schema import VIDEOS
from foveal.storage.zarr_internals import Buffer, BufferPrototype


class WholeStore(WrapperStore[ZarrStore]):
    """A Zarr store in which a missing chunk is an error instead of zeros.

    foveal writes every chunk, zeros too, so whatever is missing of a published array was lost.
    """

    def __init__(self, location: Location) -> None:
        super().__init__(location.zarr)
        self._url = str(location)

    def _with_store(self, store: ZarrStore) -> WholeStore:
        twin = copy.copy(self)
        twin._store = store
        return twin

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        value = await self._store.get(key, prototype, byte_range)
        if value is None and "/c/" in key:
            raise ChecksumError(
                f"{self._url}/{key} is missing, though its array was complete; "
                "`foveal verify` lists all that is, `foveal build --repair` computes it again"
            )
        return value


def read_array(location: Location, video: str, name: str) -> zarr.Array[Any]:
    """One array of a video; a chunk that is missing of it is an error.

    Raises
    ------
    StoreError
        Where the video has no such array.
    """
    path = f"{VIDEOS}/{group_name(video)}/{name}"
    try:
        return zarr.open_array(WholeStore(location), path=path, mode="r")
    except FileNotFoundError:
        raise StoreError(f"{location} has no array {name!r} for video {video!r}") from None
