"""Where a store lies: a local folder, an object store or memory, all through one Zarr store."""

from __future__ import annotations

import copy
import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zarr.abc.store import ByteRequest, Store
from zarr.storage import FsspecStore, LocalStore

from foveal.errors import FovealError, MissingPackage, StoreError, StoreUnreachable, advice_on
from foveal.storage.credentials import ADVICE, holds_credentials, masked
from foveal.storage.durable import Durable
from foveal.storage.exclusive import put_new, remove
from foveal.storage.zarr_internals import Buffer, BufferPrototype, default_buffer_prototype, sync

_LOST = {
    errno.ENOTCONN,
    errno.ESTALE,
    errno.ENODEV,
    errno.ENXIO,
    errno.EHOSTDOWN,
    errno.ETIMEDOUT,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}
"""Faults of the whole disk or process, not of one object."""
S3_CONNECTIONS = 64
"""Requests at once."""

_DEFECTS = (TypeError, AttributeError, NameError, AssertionError, LookupError)
"""Errors of the program itself, which keep their traceback."""


class PlainFiles(LocalStore):
    """A local folder whose objects are files: a pipe in an object's place is not waited for."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        if stat.S_ISFIFO(mode_of(self.root / key)):
            raise OSError(errno.ESPIPE, "it is a pipe, no file", str(self.root / key))
        return await super().get(key, prototype, byte_range)


def mode_of(path: Path) -> int:
    """Mode of what a path leads to, 0 where it leads nowhere."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _always() -> None:
    """The guard of a place that anyone may write to."""


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
        if holds_credentials(self.url):
            raise StoreError(f"{masked(self.url)} holds credentials: {ADVICE}")
        if isinstance(url, Store):
            self.zarr = url.with_read_only(read_only)
        elif "://" in self.url and not self.url.startswith("file://"):
            if pattern := set("*?[]") & set(self.url):
                raise StoreError(
                    f"{url} holds {' '.join(sorted(pattern))}, which fsspec takes for patterns and "
                    "then deletes nothing; choose a URL without"
                )
            try:
                self.zarr = FsspecStore.from_url(self.url, _fsspec_options(self.url), read_only)
            except ImportError as error:
                raise MissingPackage(
                    f"{url} cannot be opened: {error}; run: pip install 'foveal[cloud]'"
                ) from None
            except ValueError as error:
                raise StoreError(
                    f"{url} cannot be opened: {error}; for s3:// and gs:// install foveal[cloud]"
                ) from None
        else:
            self.local = Path(self.url.removeprefix("file://")).expanduser().absolute()
            self.zarr = PlainFiles(self.local, read_only=read_only)
        if isinstance(self.zarr, LocalStore):
            self.local = self.zarr.root
        self._durable = Durable(self.local or Path())
        self._guard: Callable[[], None] = _always  # named, so that a location can be pickled

    def __str__(self) -> str:
        return self.url

    def guarded(self, check: Callable[[], None]) -> Location:
        """The same place, where `check` is called before every write and removal, and may raise."""
        other = copy.copy(self)
        other._guard = check
        return other

    @contextmanager
    def reaching(self, key: str = "") -> Iterator[None]:
        """Turn what disk, network or account refuse into a StoreUnreachable that names the place.

        Parameters
        ----------
        key : str
            The object that is read or written, where one is.
        """
        try:
            yield
        except FovealError:
            raise
        except Exception as error:
            if isinstance(error, _DEFECTS) or (self.local and not isinstance(error, OSError)):
                raise
            raise self._refused(error, key) from _without_secrets(error)

    def check_lost(self, error: Exception, key: str) -> None:
        """Raise where an object's error means that no object of the store can be reached.

        A single object that answers "access denied", or on a local disk any fault of its own, is
        damage of that object; a lost mount or connection is not.

        Raises
        ------
        StoreUnreachable
        """
        code = error.errno if isinstance(error, OSError) else None
        of_object = isinstance(error, PermissionError) if self.local is None else code not in _LOST
        if not of_object:
            raise self._refused(error, key) from _without_secrets(error)

    def _refused(self, error: Exception, key: str) -> StoreUnreachable:
        advice = advice_on(error) or (
            "check it, or choose another place"
            if self.local is not None
            else "check the bucket, the endpoint and the credentials"
        )
        where = f"{self}/{key}" if key else str(self)
        why = " ".join((str(error) or type(error).__name__).split())
        return StoreUnreachable(f"{where} cannot be reached: {masked(why)}; {advice}")

    def read(self, key: str) -> bytes | None:
        """Content of an object, None where there is none."""
        with self.reaching(self._inside(key)):
            try:
                buffer = sync(self.zarr.get(key, default_buffer_prototype()))
            except FileNotFoundError:  # a local store whose folder is not there
                return None
        return None if buffer is None else buffer.to_bytes()

    def read_json(self, key: str) -> Any:
        """Parsed JSON object, None where there is none.

        Raises
        ------
        StoreError
            Where it is there but no JSON.
        """
        content = self.read(key)
        if content is None:
            return None
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{self}/{key} is damaged (not JSON: {error})") from None

    def write(self, key: str, content: bytes) -> None:
        """Put an object; it appears whole or not at all, and stays after a power cut."""
        with self.reaching(self.owned(key)):
            sync(self.zarr.set(key, default_buffer_prototype().buffer.from_bytes(content)))
        self.flush([key])

    def write_json(self, key: str, value: Any) -> None:
        """Put a JSON object, as `write` does."""
        self.write(key, json.dumps(value, ensure_ascii=False).encode())

    def create(self, key: str, content: bytes) -> bool:
        """Put an object where there is none; gives False, and changes nothing, where there is."""
        with self.reaching(self.owned(key)):
            value = default_buffer_prototype().buffer.from_bytes(content)
            return sync(put_new(self.zarr, key, value))

    def delete(self, key: str) -> None:
        """Remove an object; missing ones are no error."""
        with self.reaching(self.owned(key)):
            if not self._unlink(key):
                sync(remove(self.zarr, key))

    def delete_folder(self, folder: str) -> None:
        """Remove every object in a folder and below."""
        with self.reaching(self.owned(folder)):
            if self.local is not None:
                self._durable.forget(self.local / folder)
            if not self._unlink(folder):
                sync(self.zarr.delete_dir(folder))

    def list_folder(self, folder: str) -> list[str]:
        """Names directly in a folder ("" is the root), sorted; none where there is no folder."""

        async def names() -> list[str]:
            return sorted([name async for name in self.zarr.list_dir(folder)])

        with self.reaching(self._inside(folder)):
            return sync(names())

    def list_all(self, folder: str) -> list[str]:
        """Keys of every object in a folder and below, sorted."""
        # With the slash: stores without folders match mere prefixes, "1" would list "10" too.
        prefix = f"{self._inside(folder)}/" if folder else ""

        async def keys() -> list[str]:
            return sorted([key async for key in self.zarr.list_prefix(prefix)])

        with self.reaching(folder):
            return sync(keys())

    def owned(self, key: str) -> str:
        """The key again, where writing and deleting by it stays inside the store.

        Raises
        ------
        StoreError
            Where it leads out, by its parts or by a link on the way.
        StoreLocked
            Where this process may not write it any more.
        """
        self._guard()
        self._inside(key)
        if self.local is not None and key:
            folder = os.path.realpath((self.local / key).parent)
            root = os.path.realpath(self.local)
            if folder != root and not folder.startswith(root.rstrip("/\\") + os.sep):
                raise StoreError(
                    f"{self}/{key} lies in {folder}, outside the store, by a link; nothing is "
                    "written there: put the folder itself into the store, or mount it there"
                )
        return key

    def _inside(self, key: str) -> str:
        parts = key.split("/") if key else []
        if any(part in ("", ".", "..") for part in parts) or {"\\", "\0"} & set(key):
            raise StoreError(f"{key!r} is no key of {self}: it would lead out of the store")
        return key

    def _unlink(self, key: str) -> bool:
        """Remove a link without following it; gives whether it was one."""
        if self.local is None or self.zarr.read_only or not (self.local / key).is_symlink():
            return False
        (self.local / key).unlink()
        return True

    def flush(self, keys: Iterable[str]) -> None:
        """Bring objects of a local store onto the disk, so that a power cut cannot reorder them.

        Keys of objects that were deleted are welcome: then it is the deletion that is kept.
        """
        if self.local is None:
            return
        local = self.local
        with self.reaching():
            self._durable.flush([local / self._inside(key) for key in keys])


def _without_secrets(error: Exception) -> Exception | None:
    """The error for a traceback; None where its text would tell credentials."""
    return error if masked(str(error)) == str(error) else None


def _fsspec_options(url: str) -> dict[str, Any]:
    # What others have written meanwhile must be seen: listings are not remembered.
    options: dict[str, Any] = {"use_listings_cache": False}
    if url.startswith(("s3://", "s3a://")):
        # s3fs would ask for the size of every object before it reads it, to read large ones in
        # parts, and have 10 requests at once wait for each other.
        options["max_concurrency"] = 1
        options["config_kwargs"] = {"max_pool_connections": S3_CONNECTIONS}
    return options
