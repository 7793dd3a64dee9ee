"""A file system that refuses what a test wants it to refuse; holds no tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem


class Failing(MemoryFileSystem):
    """A file system in memory on which writes, or reads, fail of which a test says so."""

    protocol = "failing"
    store: dict[str, Any] = {}  # noqa: RUF012  as its base has it
    pseudo_dirs = [""]  # noqa: RUF012
    fails: Callable[[str, str], OSError | None] = staticmethod(lambda doing, path: None)

    def pipe_file(self, path: str, value: bytes, *arguments: Any, **options: Any) -> Any:
        self._check("write", path)
        return super().pipe_file(path, value, *arguments, **options)

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> Any:
        self._check("read", path)
        return super().cat_file(path, *arguments, **options)

    def _check(self, doing: str, path: str) -> None:
        error = type(self).fails(doing, path)
        if error is not None:
            raise error


def refuse(doing: str, name: str, number: int) -> Any:
    def fails(done: str, path: str) -> OSError | None:
        wanted = done == doing and name in path
        return OSError(number, os.strerror(number)) if wanted else None

    return staticmethod(fails)
