"""Raw files that change: noticed while a video is read, and by hashing them again on demand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from builds import build, recipe_values, write_raw
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import DecodeError, GazeError
from foveal.pipeline.build.digests import check_unchanged, content_of
from foveal.pipeline.recipe.recipe import Recipe


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replace_by_a_twin(path: Path) -> None:
    """Another file of the same size, time and name: only the inode tells."""
    about = path.stat()
    twin = path.with_suffix(".twin")
    twin.write_bytes(path.read_bytes()[::-1])
    os.utime(twin, ns=(about.st_atime_ns, about.st_mtime_ns))
    twin.replace(path)


@pytest.mark.parametrize("change", [rewrite, touch, replace_by_a_twin, Path.unlink])
def test_a_file_that_changes_after_it_was_hashed_is_named(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    paths = [tmp_path / name for name in ("a.txt", "b.txt")]
    for path in paths:
        path.write_bytes(b"12345")
    content = content_of(paths, None)
    check_unchanged(paths, content)
    again = content_of(paths, content.to_dict())
    assert again == content
    check_unchanged(paths, again)
    change(paths[1])
    with pytest.raises(GazeError, match=r"b\.txt"):
        check_unchanged(paths, content, GazeError)


def test_another_file_under_the_same_size_and_time_is_hashed_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"12345")
    before = content_of([path], None).sha256
    replace_by_a_twin(path)
    assert content_of([path], None).sha256 != before


def test_a_pipe_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(DecodeError, match="no plain file"):
        content_of([tmp_path / "pipe.mp4"], None)


def test_verify_hashes_the_raw_files_again_on_demand(tmp_path: Path) -> None:
    raw, store = write_raw(tmp_path / "raw"), tmp_path / "store.zarr"
    build(Recipe.parse(recipe_values(raw, store, flow=[])))

    def verified(*options: str) -> tuple[int, list[dict[str, str]]]:
        result = CliRunner().invoke(app, ["verify", str(store), "--json", *options])
        return result.exit_code, json.loads(result.stdout)["problems"]

    assert verified("--sources") == (0, [])
    replace_by_a_twin(raw / "video" / "002.AVI")
    gaze = next(raw.glob("exportdata_train/*/*601.txt"))
    gaze.unlink()
    gaze.touch()
    assert verified()[0] == 0, "without --sources the raw files are left alone"
    code, problems = verified("--sources")
    assert code != 0
    assert {(one["video"], one["kind"]) for one in problems} == {
        ("002", "changed"),
        ("601", "changed"),
    }
    changed = {one["stage"]: one["key"] for one in problems if one["video"] == "002"}
    assert changed["time"] == str(raw / "video" / "002.AVI")
    raw.rename(tmp_path / "moved")
    _, moved = verified("--sources", "--root", str(tmp_path / "moved"))
    assert {one["video"] for one in moved} == {"002", "601"}
