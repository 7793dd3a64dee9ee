"""The tree that DHF1K's evaluation takes: written whole, and everything that is not is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_stores import HEIGHT, WIDTH, write_small_store
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import FovealError
from foveal.pipeline.export.tree_check import check_tree

FRAMES = {"a": 3, "b": 2}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tree") / "small.zarr"
    stages = ("time", "density")
    write_small_store(folder, {name: {"frames": n, "stages": stages} for name, n in FRAMES.items()})
    return str(folder)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for video, frames in FRAMES.items():
        (tmp_path / "tree" / video).mkdir(parents=True)
        for number in range(1, frames + 1):
            picture = np.full((HEIGHT, WIDTH), number, np.uint8)
            Image.fromarray(picture).save(tmp_path / "tree" / video / f"{number:04d}.png")
    return tmp_path / "tree"


def test_a_whole_tree_has_no_problems(url: str, tree: Path) -> None:
    found = check_tree(url, tree)
    assert (found.videos, found.files, found.problems) == (2, 5, ())
    assert check_tree(url, tree, videos=["a"]).problems == (
        ("b", "belongs to no video that was asked for"),
    )


def colour(path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)


SPOILT: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (lambda t: (t / "a/0002.png").unlink(), "a", "1 of 3 files are missing: 0002.png"),
    "one more": (lambda t: colour(t / "a/0004.png"), "a", "1 files belong to no frame: 0004.png"),
    "named otherwise": (lambda t: (t / "a/0001.png").rename(t / "a/1.png"), "a", "no frame: 1.png"),
    "coloured": (lambda t: colour(t / "a/0001.png"), "a/0001.png", "RGB"),
    "another size": (
        lambda t: Image.new("L", (3, 2)).save(t / "b/0001.png"),
        "b/0001.png",
        f"is 3x2, not {WIDTH}x{HEIGHT}",
    ),
    "damaged": (lambda t: (t / "b/0001.png").write_bytes(b"x"), "b/0001.png", "no readable"),
    "no folder": (lambda t: (t / "b").rename(t / "c"), "b", "the folder of video b is missing"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_is_not_whole_is_named(url: str, tree: Path, how: str) -> None:
    spoil, where, said = SPOILT[how]
    spoil(tree)
    problems = check_tree(url, tree).problems
    assert any(at == where and said in what for at, what in problems), problems


def test_export_of_maps_for_an_evaluation_checks_itself(url: str, tmp_path: Path) -> None:
    options = ["--array", "density", "--form", "png", "--source-size", "--flat"]
    done = CliRunner().invoke(app, ["export", url, str(tmp_path / "out"), *options])
    assert done.exit_code == 0
    assert "2 videos, 5 files compared: a whole tree for evaluation" in done.stdout
    (tmp_path / "out" / "a" / "0003.png").unlink()
    checked = CliRunner().invoke(app, ["export", url, str(tmp_path / "out"), *options, "--check"])
    assert checked.exit_code == 3
    assert "0003.png" in checked.stdout
    assert not (tmp_path / "out" / "a" / "0003.png").exists()
    with pytest.raises(FovealError, match="is no folder"):
        check_tree(url, tmp_path / "nowhere")
