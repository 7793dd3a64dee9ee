"""Flush files of a local store to the disk, so that a power cut cannot reorder them.

A file survives a power cut once its content, its entry in its folder, and the entries of all
folders above are on the disk. One flush asks for all of them at once: file systems then write their
journal once for many. Folders that were flushed before are not flushed again.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_AT_ONCE = 16
_REMEMBERED = 512


class Durable:
    """Flushes below one folder.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._there: dict[str, int] = {}

    def flush(self, paths: Iterable[Path]) -> None:
        """Flush files and the folders above them.

        Of files that are missing the removal is flushed.

        Raises
        ------
        OSError
        """
        files = list(map(str, paths))
        folders: dict[str, int] = {}
        for path in files:
            folder = _above(path)
            while folder not in folders and folder.startswith(self._root):
                folders[folder] = _inode(folder)
                if folders[folder] and self._there.get(folder) == folders[folder]:
                    break
                folder = _above(folder)
        wanted = [*files, *folders]
        if len(wanted) == 1:
            _fsync(wanted[0])
        else:
            list(_threads(os.getpid()).map(_fsync, wanted))
        if len(self._there) > _REMEMBERED:
            self._there.clear()
        self._there.update({folder: inode for folder, inode in folders.items() if inode})

    def forget(self, folder: Path) -> None:
        """Forget a removed folder and all below: folders of the same names will be new."""
        gone = str(folder)
        for known in list(self._there):
            if known == gone or known.startswith(gone + os.sep):
                self._there.pop(known, None)


@functools.lru_cache(1)
def _threads(process: int) -> ThreadPoolExecutor:
    """Of this process: threads do not survive a fork."""
    return ThreadPoolExecutor(_AT_ONCE, "flush")


def _above(path: str) -> str:
    return path[: path.rindex(os.sep)]


def _inode(folder: str) -> int:
    try:
        return os.stat(folder).st_ino  # noqa: PTH116  called for every folder of every flush
    except OSError:
        return 0


def _fsync(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError:
        if os.name == "nt":  # folders cannot be opened there
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
