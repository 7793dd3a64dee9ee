"""What a flush brings onto the disk: every file, and every folder whose entry is not there yet."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from foveal.storage import durable
from foveal.storage.location import Location


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths, in no order, as they are flushed."""
    found: list[str] = []
    fsync = durable._fsync
    monkeypatch.setattr(durable, "_fsync", lambda path: (found.append(path), fsync(path)))
    return found


def names(flushed: list[str], root: Path) -> list[str]:
    found = sorted(os.path.relpath(path, root) for path in flushed)
    flushed.clear()
    return found


def test_folders_are_flushed_until_one_that_is_there(tmp_path: Path, flushed: list[str]) -> None:
    root = tmp_path / "store"
    location = Location(root)
    location.write("a/b/one", b"1")
    assert names(flushed, root) == [".", "a", "a/b", "a/b/one"]
    location.write("a/b/two", b"2")
    assert names(flushed, root) == ["a/b", "a/b/two"]
    location.write("a/c/one", b"1")
    assert names(flushed, root) == ["a", "a/c", "a/c/one"]
    location.flush(["a/b/gone", "no/such/folder"])
    found = names(flushed, root)
    assert {"a/b", "no", "no/such", "."} <= set(found)


def test_a_folder_in_the_place_of_another_is_flushed_anew(
    tmp_path: Path, flushed: list[str]
) -> None:
    root = tmp_path / "store"
    location = Location(root)
    location.write("a/b/one", b"1")
    location.delete_folder("a/b")
    flushed.clear()
    location.write("a/b/one", b"1")
    assert names(flushed, root) == ["a", "a/b", "a/b/one"]
    shutil.move(root / "a", tmp_path / "elsewhere")
    location.write("a/b/one", b"1")
    assert names(flushed, root) == [".", "a", "a/b", "a/b/one"]


def test_what_cannot_be_flushed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = Location(tmp_path / "store")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the disk is full"):
        location.write("a/b", b"1")
