"""This module asks the machine what every room needs: the hash of a file, the usable cores."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, computed once per process while size, time and inode stay.

    A file that many videos share, such as a table of all gaze, is therefore read once.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    path = path.resolve()
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


def forget_hashes() -> None:
    """Let every file be read again, even if it kept its size, time and inode."""
    _sha256.cache_clear()


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=4096)
def _sha256(path: Path, _size: int, _mtime_ns: int, _inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
