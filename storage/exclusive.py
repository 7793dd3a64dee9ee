"""Write an object only where there is none: claims and array objects rest on this operation.

Of any number of processes that write the same key, on one machine or on many, exactly one succeeds:
on disks and NFS by a hard link, on object stores by a conditional write (``If-None-Match: *``).
"""

from __future__ import annotations

import asyncio
import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path

from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

from foveal.storage.zarr_internals import Buffer

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict")


async def put_new(store: Store, key: str, value: Buffer) -> bool:
    """Write an object where none has this key.

    Parameters
    ----------
    store : Store
    key : str
    value : Buffer

    Returns
    -------
    bool
        False, and nothing is changed, where there is one. In stores that are neither on disk nor
        of fsspec the check and the write are two steps.
    """
    if isinstance(store, LocalStore):
        return await asyncio.to_thread(_link, store.root / key, value)
    if isinstance(store, FsspecStore):
        try:
            await store.fs._pipe_file(f"{store.path}/{key}", value.to_bytes(), mode="create")
        except OSError as error:
            if isinstance(error, FileExistsError) or _code(error) in _REFUSED:
                return False
            raise
        return True
    if await store.exists(key):
        return False
    await store.set(key, value)
    return True


async def remove(store: Store, key: str) -> None:
    """Remove an object; one that is not there is no error."""
    if isinstance(store, FsspecStore):
        # By name: zarr's own way lists before it removes.
        with suppress(*store.allowed_exceptions):
            await store.fs._rm_file(f"{store.path}/{key}")
    else:
        await store.delete(key)


def _link(path: Path, value: Buffer) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    content = value.as_buffer_like()
    try:
        whole.write_bytes(content)
        try:
            os.link(whole, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _open_new(path, content)
    finally:
        whole.unlink(missing_ok=True)
    return True


def _open_new(path: Path, content: bytes | bytearray | memoryview) -> bool:
    """For file systems without hard links (FAT, some network shares)."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _code(error: OSError) -> str | None:
    response = getattr(error.__cause__, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return None if code is None else str(code)
