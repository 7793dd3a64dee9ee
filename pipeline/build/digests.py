"""Hash input files once: a file that kept its size and time keeps its hash."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import DecodeError, InputError
from foveal.machine import file_sha256
from foveal.pipeline.video.types import Video

_INT64 = 2**63 - 1
_REMEMBERED = ("files", "total_bytes", "stat", "sha256")


@dataclass(frozen=True)
class Content:
    """Hash of a set of files, and their sizes and times when they were hashed.

    Attributes
    ----------
    files : int
    total_bytes : int
    stat : str
        Hash of names, sizes and modification times: equal means unchanged since it was hashed.
    sha256 : str
        Hash of names and contents; of a single file, the SHA-256 that ``sha256sum`` prints.
    stamps : ndarray, int64 [files, 3], optional
        Size, modification time in nanoseconds and inode of each; not remembered in marks.
    """

    files: int
    total_bytes: int
    stat: str
    sha256: str
    stamps: NDArray[np.int64] | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """What a mark stores of it, as plain JSON types."""
        return {name: getattr(self, name) for name in _REMEMBERED}


def video_files(video: Video) -> list[Path]:
    """The file, or all frame images, of a video."""
    if video.image_names is None:
        return [video.path]
    return [video.path / name for name in video.image_names]


def content_of(
    paths: Sequence[Path], known: Mapping[str, Any] | None, error: type[InputError] = DecodeError
) -> Content:
    """Content of files, taken from `known` where nothing was touched since.

    Parameters
    ----------
    paths : sequence of Path
    known : mapping or None
        A former `Content.to_dict` of the same files.
    error : type
        Raised where a file cannot be read.
    """
    stamps = _stamps(paths, error)
    signature = hashlib.sha256()
    for path, (size, modified_ns, _) in zip(paths, stamps.tolist(), strict=True):
        signature.update(f"{path.name}\0{size}\0{modified_ns}\n".encode())
    if known is not None and known.get("stat") == signature.hexdigest():
        return Content(**{name: known[name] for name in _REMEMBERED}, stamps=stamps)
    try:
        digests = [file_sha256(path) for path in paths]
    except OSError as problem:
        raise error(f"{problem.filename}: {problem.strerror}") from None
    if len(digests) == 1:
        digest = digests[0]
    else:
        lines = (f"{path.name} {value}\n" for path, value in zip(paths, digests, strict=True))
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    total = int(stamps[:, 0].sum())
    return Content(len(paths), total, signature.hexdigest(), digest, stamps)


def check_unchanged(
    paths: Sequence[Path], content: Content, error: type[InputError] = DecodeError
) -> None:
    """Check that files are still those that were hashed; call this after they were read.

    Raises
    ------
    InputError
        Of the given type; names the first file that is gone or has another size, time or inode.
    """
    changed = np.flatnonzero((_stamps(paths, error) != content.stamps).any(axis=1))
    if changed.size:
        raise error(
            f"{paths[changed[0]]} was replaced or written to while it was read; "
            "build again once it rests"
        )


def _stamps(paths: Sequence[Path], error: type[InputError]) -> NDArray[np.int64]:
    found = []
    for path in paths:
        try:
            about = path.stat()
        except OSError as problem:
            raise error(f"{path}: {problem.strerror}; restore it") from None
        if not stat.S_ISREG(about.st_mode):
            raise error(f"{path} is no plain file; put the dataset's own there")
        found.append((about.st_size, about.st_mtime_ns, about.st_ino & _INT64))
    return np.array(found, np.int64).reshape(-1, 3)
