"""Private names of zarr are imported in one file, and zarr is capped at what that file knows."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("foveal", "storage", "pipeline", "models", "flows", "tests", "benchmarks")
PRIVATE = re.compile(r"^\s*(from|import) zarr\.core", re.MULTILINE)


def test_only_one_file_imports_what_zarr_keeps_to_itself() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if PRIVATE.search(path.read_text())
    }
    # Through the links in foveal/ the same file may be seen twice.
    assert {path.removeprefix("foveal/") for path in found} == {"storage/zarr_internals.py"}


def test_zarr_is_capped_below_the_next_minor_version() -> None:
    """What is private may change in any release; within a minor version it has not so far.

    When this fails because a newer zarr is wanted: run the suites of storage and torch against it,
    mend ``storage/zarr_internals.py``, then raise the cap in ``pyproject.toml``.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = [line for line in project["dependencies"] if re.match(r"zarr\b", line)]
    cap = re.fullmatch(r"zarr>=3\.1,<3\.(\d+)", wanted)
    assert cap is not None, wanted
    major, minor = map(int, metadata.version("zarr").split(".")[:2])
    assert (major, minor + 1) == (3, int(cap[1]))


def test_storage_imports_nothing_that_only_unix_has() -> None:
    assert [path for path in (ROOT / "storage").glob("*.py") if "fcntl" in path.read_text()] == []
