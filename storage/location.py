"""This module reads and writes the objects of a store, in a folder, an object store or memory."""

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
"""Error numbers that concern the whole disk or process, not one object."""

S3_CONNECTIONS = 64
"""Requests at once."""

_DEFECTS = (TypeError, AttributeError, NameError, AssertionError, LookupError)
"""Programming errors, which keep their traceback."""


class PlainFiles(LocalStore):
    """A local folder whose objects are files; a pipe in place of an object raises an error."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        if stat.S_ISFIFO(mode_of(self.root / key)):
            raise OSError(errno.ESPIPE, "it is a pipe, not a file", str(self.root / key))
        return await super().get(key, prototype, byte_range)


def read_plain(path: str) -> bytes:
    """Read a file; a pipe in its place is an error and does not hang.

    Raises
    ------
    OSError
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:  # noqa: PTH123  opened already
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise OSError(errno.ESPIPE, "it is a pipe, not a file", path)
        return file.read()


def mode_of(path: Path) -> int:
    """Return the mode of the file that a path leads to, 0 where there is none."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _always() -> None:
    """Allow every write: the guard of a location that has no other."""


class Location:
    """The place of a store: reads and writes objects by key, inside and outside its Zarr hierarchy.

    Parameters
    ----------
    url : str, Path or zarr Store
        A folder, a URL that fsspec knows (``s3://``, ``gs://``, ``memory://``), or a Zarr store.
    read_only : bool
        Whether every write is refused.

    Raises
    ------
    StoreError
        The URL holds credentials or pattern characters, or nothing installed can open it.
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
                    f"{url} holds {' '.join(sorted(pattern))}, which fsspec takes for patterns, so "
                    "that nothing could be deleted; choose a URL without"
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
        """Return the same place, with `check` called before every write; it may raise."""
        other = copy.copy(self)
        other._guard = check
        return other

    @contextmanager
    def reaching(self, key: str = "") -> Iterator[None]:
        """Turn an error of disk, network or account into a StoreUnreachable that names the place.

        Parameters
        ----------
        key : str
            The object that is read or written, if one is.
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

        A single object that answers "access denied", or any error of one object on a local disk, is
        damage of that object; a lost mount or connection is not.

        Raises
        ------
        StoreUnreachable
            The store as a whole does not answer.
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
        """Return the content of an object, None where there is none."""
        with self.reaching(self._inside(key)):
            try:
                buffer = sync(self.zarr.get(key, default_buffer_prototype()))
            except FileNotFoundError:  # the folder of a local store is missing
                return None
        return None if buffer is None else buffer.to_bytes()

    def read_json(self, key: str) -> Any:
        """Return a parsed JSON object, None where there is none.

        Raises
        ------
        StoreError
            The object is not JSON.
        """
        content = self.read(key)
        if content is None:
            return None
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{self}/{key} is damaged (not JSON: {error})") from None

    def write(self, key: str, content: bytes) -> None:
        """Write an object durably: it appears whole or not at all, and survives a power cut."""
        with self.reaching(self.owned(key)):
            sync(self.zarr.set(key, default_buffer_prototype().buffer.from_bytes(content)))
        self.flush([key])

    def write_json(self, key: str, value: Any) -> None:
        """Write a JSON object, as `write` does."""
        self.write(key, json.dumps(value, ensure_ascii=False).encode())

    def create(self, key: str, content: bytes) -> bool:
        """Write an object where there is none; return False where there is one already."""
        with self.reaching(self.owned(key)):
            value = default_buffer_prototype().buffer.from_bytes(content)
            return sync(put_new(self.zarr, key, value))

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is not an error."""
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
        """Return the names in a folder ("" is the root), sorted; empty for a missing folder."""

        async def names() -> list[str]:
            return sorted([name async for name in self.zarr.list_dir(folder)])

        with self.reaching(self._inside(folder)):
            return sync(names())

    def list_all(self, folder: str) -> list[str]:
        """Return the keys of all objects in a folder and below, sorted."""
        # With the slash, since object stores match prefixes: "1" would list "10" too.
        prefix = f"{self._inside(folder)}/" if folder else ""

        async def keys() -> list[str]:
            return sorted([key async for key in self.zarr.list_prefix(prefix)])

        with self.reaching(folder):
            return sync(keys())

    def owned(self, key: str) -> str:
        """Return the key, once it is sure that writing or deleting it stays inside the store.

        Raises
        ------
        StoreError
            The key leads out of the store, by its parts or by a link.
        StoreLocked
            This process may not write it any more.
        """
        self._guard()
        self._inside(key)
        if self.local is not None and key:
            folder = os.path.realpath((self.local / key).parent)
            root = os.path.realpath(self.local)
            if folder != root and not folder.startswith(root.rstrip("/\\") + os.sep):
                raise StoreError(
                    f"{self}/{key} leads to {folder}, outside the store, by a link; nothing was "
                    "written: put the folder itself into the store, or mount it there"
                )
        return key

    def _inside(self, key: str) -> str:
        parts = key.split("/") if key else []
        if any(part in ("", ".", "..") for part in parts) or {"\\", "\0"} & set(key):
            raise StoreError(f"{key!r} is not a key of {self}: it would lead out of the store")
        return key

    def _unlink(self, key: str) -> bool:
        """Remove a link without following it; return whether it was a link."""
        if self.local is None or self.zarr.read_only or not (self.local / key).is_symlink():
            return False
        (self.local / key).unlink()
        return True

    def flush(self, keys: Iterable[str]) -> None:
        """Flush objects of a local store to the disk: a power cut cannot reorder the writes.

        Keys of deleted objects are allowed: their deletion is flushed.
        """
        if self.local is None:
            return
        local = self.local
        with self.reaching():
            self._durable.flush([local / self._inside(key) for key in keys])


def _without_secrets(error: Exception) -> Exception | None:
    """Return the error for a traceback; None where its text holds credentials."""
    return error if masked(str(error)) == str(error) else None


def _fsspec_options(url: str) -> dict[str, Any]:
    # Without a cache of listings, so that what other processes write is seen.
    options: dict[str, Any] = {"use_listings_cache": False}
    if url.startswith(("s3://", "s3a://")):
        # By default s3fs asks for the size of every object before reading it, to read large ones
        # in parts, and lets only 10 requests run at once.
        options["max_concurrency"] = 1
        options["config_kwargs"] = {"max_pool_connections": S3_CONNECTIONS}
    return options
