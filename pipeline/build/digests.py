"""What input files hold, hashed once: a file that kept size and time keeps its hash."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foveal.errors import DecodeError, InputError
from foveal.pipeline.video.types import Video

_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Content:
    """A set of files by what they hold.

    Attributes
    ----------
    files : int
    total_bytes : int
    stat : str
        Hash of names, sizes and modification times: equal means unchanged since it was hashed.
    sha256 : str
        Hash of names and contents; of a single file, the SHA-256 that ``sha256sum`` prints.
    """

    files: int
    total_bytes: int
    stat: str
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


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
    try:
        stats = [path.stat() for path in paths]
    except OSError as problem:
        raise error(f"{problem.filename}: {problem.strerror}; restore it") from None
    signature = hashlib.sha256()
    for path, stat in zip(paths, stats, strict=True):
        signature.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    if known is not None and known.get("stat") == signature.hexdigest():
        return Content(**known)
    try:
        digests = [
            _file_sha256(path, stat.st_size, stat.st_mtime_ns)
            for path, stat in zip(paths, stats, strict=True)
        ]
    except OSError as problem:
        raise error(f"{problem.filename}: {problem.strerror}") from None
    if len(digests) == 1:
        digest = digests[0]
    else:
        lines = (f"{path.name} {value}\n" for path, value in zip(paths, digests, strict=True))
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    total = sum(stat.st_size for stat in stats)
    return Content(len(paths), total, signature.hexdigest(), digest)


@functools.lru_cache(maxsize=4096)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Hash of a file; one that many videos share (a table of all gaze) is read once."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
