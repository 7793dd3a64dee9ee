"""Ways in which an object of a store is damaged, and how it is put right again; holds no tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

LONG = os.environ.get("FOVEAL_FAULTS") == "long"
"""Whether the long form of the campaign runs (``make faults``)."""

VIDEO = "002"
"""The shortest of the store: the one that is damaged in the short form."""


def _missing(path: Path, rng: np.random.Generator) -> None:
    path.unlink()


def _empty(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(b"")


def _truncated(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(1, max(2, len(content))))])


def _flipped(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def _foreign(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(b'{"zarr_format": 2, "video": ["../../../victim"], "arrays": {"../..": 7}}')


def _unreadable(path: Path, rng: np.random.Generator) -> None:
    """A link to itself: opening it fails for every account, root too."""
    path.unlink()
    path.symlink_to(path.name)


DAMAGES: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "missing": _missing,
    "empty": _empty,
    "truncated": _truncated,
    "flipped": _flipped,
    "foreign": _foreign,
    "unreadable": _unreadable,
}


@contextmanager
def damaged(path: Path, how: str, seed: int) -> Iterator[bool]:
    """Damage a file for a while; gives whether its content did change."""
    whole, times = path.read_bytes(), path.stat()
    DAMAGES[how](path, np.random.default_rng(seed))
    try:
        yield not path.is_file() or path.read_bytes() != whole
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(whole)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def objects(store: Path) -> Iterator[Path]:
    """Files of the store; in the short form those of one video and of none."""
    for path in sorted(store.rglob("*")):
        parts = path.relative_to(store).parts
        others = {"001", "601"} & set(parts)
        if path.is_file() and path.name != "report.html" and (LONG or not others):
            yield path
