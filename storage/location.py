"""Where a store lies: a local folder, an object store or memory, all through one Zarr store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

from foveal.errors import FovealError, StoreError
from foveal.storage.zarr_internals import default_buffer_prototype, sync


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
        elif "://" in self.url and not self.url.startswith("file://"):
            if pattern := set("*?[]") & set(self.url):
                raise StoreError(
                    f"{url} holds {' '.join(sorted(pattern))}, which fsspec takes for patterns and "
                    "then deletes nothing; choose a URL without"
                )
            try:
                self.zarr = FsspecStore.from_url(self.url, read_only=read_only)
            except (ImportError, ValueError) as error:
                raise StoreError(
                    f"{url} cannot be opened: {error}; for s3:// and gs:// install foveal[cloud]"
                ) from None
        else:
            self.local = Path(self.url.removeprefix("file://")).expanduser().absolute()
            self.zarr = LocalStore(self.local, read_only=read_only)
        if isinstance(self.zarr, LocalStore):
            self.local = self.zarr.root

    def __str__(self) -> str:
        return self.url

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn what disk, network or account refuse into a StoreError that names the store."""
        try:
            yield
        except FovealError:
            raise
        except Exception as error:
            if self.local is not None and not isinstance(error, OSError):
                raise
            remote = "the bucket, the endpoint and the credentials"
            check = remote if self.local is None else "it, or choose another place"
            raise StoreError(f"{self} cannot be reached: {error}; check {check}") from error

    def read(self, key: str) -> bytes | None:
        """Content of an object, None where there is none."""
        try:
            buffer = sync(self.zarr.get(key, default_buffer_prototype()))
        except FileNotFoundError:  # a local store whose folder is not there
            return None
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

    def delete_folder(self, folder: str) -> None:
        """Remove every object in a folder and below."""
        sync(self.zarr.delete_dir(folder))

    def list_folder(self, folder: str) -> list[str]:
        """Names directly in a folder ("" is the root), sorted; none where there is no folder."""

        async def names() -> list[str]:
            return sorted([name async for name in self.zarr.list_dir(folder)])

        return sync(names())

    def list_all(self, folder: str) -> list[str]:
        """Keys of every object in a folder and below, sorted."""
        # With the slash: stores without folders match mere prefixes, "1" would list "10" too.
        prefix = f"{folder}/" if folder else ""

        async def keys() -> list[str]:
            return sorted([key async for key in self.zarr.list_prefix(prefix)])

        return sync(keys())

    def flush(self, keys: Iterable[str]) -> None:
        """Bring objects of a local store onto the disk, so that a power cut cannot reorder them.

        Keys of objects that were deleted are welcome: then it is the deletion that is kept.
        """
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
    if not path.exists():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
