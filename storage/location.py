"""Where a store lies: a local folder, an object store or memory, all through one Zarr store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore

from foveal.errors import StoreError


class Location:
    """Bytes by key in a store, beside and below its Zarr hierarchy.

    Parameters
    ----------
    url : str, Path or zarr Store
        A folder, a URL that fsspec knows (``s3://``, ``gs://``, ``memory://``), or a Zarr store.
    read_only : bool
        Refuse every write.
    """

    def __init__(self, url: str | Path | Store, *, read_only: bool = False) -> None:
        self.zarr: Store
        self.local: Path | None = None
        self.url = str(url)
        if isinstance(url, Store):
            self.zarr = url.with_read_only(read_only)
        elif "://" in str(url) and not str(url).startswith("file://"):
            try:
                self.zarr = FsspecStore.from_url(str(url), read_only=read_only)
            except (ImportError, ValueError) as error:
                raise StoreError(
                    f"{url} cannot be opened: {error}; for s3:// and gs:// install foveal[cloud]"
                ) from None
        else:
            self.local = Path(str(url).removeprefix("file://")).expanduser()
            self.zarr = LocalStore(self.local, read_only=read_only)
        if isinstance(self.zarr, LocalStore):
            self.local = self.zarr.root

    def __str__(self) -> str:
        return self.url

    def read(self, key: str) -> bytes | None:
        """Content of an object, None where there is none."""
        buffer = sync(self.zarr.get(key, default_buffer_prototype()))
        return None if buffer is None else buffer.to_bytes()

    def read_json(self, key: str) -> Any:
        """Parsed JSON object, None where there is none."""
        content = self.read(key)
        if content is None:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            raise StoreError(f"{self}/{key} is damaged (not JSON: {error})") from None

    def write(self, key: str, content: bytes) -> None:
        """Put an object; it appears whole or not at all."""
        sync(self.zarr.set(key, default_buffer_prototype().buffer.from_bytes(content)))

    def write_json(self, key: str, value: Any) -> None:
        """Put a JSON object, durably on a local disk."""
        self.write(key, json.dumps(value, ensure_ascii=False).encode())
        self.flush([key])

    def delete(self, key: str) -> None:
        """Remove an object; missing ones are no error."""
        sync(self.zarr.delete(key))

    def delete_folder(self, prefix: str) -> None:
        """Remove every object below a prefix."""
        sync(self.zarr.delete_dir(prefix))

    def list_folder(self, prefix: str) -> list[str]:
        """Names directly below a prefix, sorted."""

        async def names() -> list[str]:
            return sorted([name async for name in self.zarr.list_dir(prefix)])

        return sync(names())

    def list_all(self, prefix: str) -> list[str]:
        """Keys of every object below a prefix, sorted."""

        async def keys() -> list[str]:
            return sorted([key async for key in self.zarr.list_prefix(prefix)])

        return sync(keys())

    def flush(self, keys: Iterable[str]) -> None:
        """Bring objects of a local store onto the disk, so that a power cut cannot reorder them."""
        if self.local is None:
            return
        folders = set()
        for key in keys:
            path = self.local / key
            _fsync(path)
            folders.add(path.parent)
        for folder in folders:
            _fsync(folder)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
