"""The notebook runs from top to bottom, and what it shows is what the store holds."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from builds import FRAMES, build, recipe_values, write_raw
from nbclient import NotebookClient

from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.statistics import compute_statistics, write_statistics

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "inspect_store.ipynb"
TRAINING = NOTEBOOK.with_name("clips_to_network.ipynb")
I3D = {
    "window": 9,
    "stride": 2,
    "pooling": "none",
    "endpoint": "global",
    "size": [32, 32],
    "weights_rgb": "random:1",
    "weights_flow": "random:2",
    "dtype": "float32",
}


class Shown:
    """What the executed notebook shows."""

    def __init__(self, notebook: Any) -> None:
        outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
        self.errors = [out for out in outputs if out.output_type == "error"]
        self.printed = "".join(
            out.text for out in outputs if out.output_type == "stream" and out.name == "stdout"
        )
        data = [out.data for out in outputs if "data" in out]
        self.pictures = [one["image/png"] for one in data if "image/png" in one]
        self.tables = [one["text/plain"] for one in data if "<table" in one.get("text/html", "")]

    def lines(self, name: str) -> list[str]:
        """Printed lines that begin with a name, spaces between words made single."""
        split = (line.split() for line in self.printed.splitlines())
        return [" ".join(words) for words in split if words and words[0] == name]


def execute(
    store: Path, monkeypatch: pytest.MonkeyPatch, folder: Path, notebook_path: Path = NOTEBOOK
) -> Shown:
    monkeypatch.setenv("FOVEAL_STORE", os.fspath(store))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(notebook_path, as_version=4)
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return Shown(client.execute())


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "dhf1k")


@pytest.mark.slow
def test_the_notebook_shows_what_the_store_holds(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tmp_path / "store.zarr"
    build(Recipe.parse(recipe_values(raw, url, i3d=I3D)))
    write_statistics(Location(url), compute_statistics(open_store(url)))
    shown = execute(url, monkeypatch, tmp_path)

    assert shown.errors == []
    videos = next(table for table in shown.tables if "split" in table and "status" in table)
    for video, frames in FRAMES.items():
        row = next(line for line in videos.splitlines() if line.startswith(video))
        assert str(frames) in row.split()
    assert len(shown.pictures) >= 6

    # Of the dataset: one pair fewer than frames, windows of 9 every 2 frames.
    assert shown.lines("frames")[0] == "frames uint8 (20, 36, 64, 3) 1"
    assert shown.lines("flow_tvl1")[0] == "flow_tvl1 float16 (19, 24, 32, 2) pixels of this grid"
    assert "i3d_rgb of 001: (6, 1024" in shown.printed
    assert "i3d_flow of 001: (5, 1024" in shown.printed
    windows = next(table for table in shown.tables if "first_frame" in table)
    rows = [line.split() for line in windows.splitlines()[-6:]]
    assert rows[0] == ["0", "8", "True", "False"]
    assert rows[1:] == [[str(k), str(k + 8), "True", "True"] for k in range(2, 12, 2)]

    # Of the batch: clips of 8 frames tile 20 and 9 frames 2 + 1 times.
    assert "3 clips of split train, 2 batches" in shown.printed
    assert "frames (torch.uint8, (2, 8, 3, 36, 64))" in shown.lines("frames")
    assert "flow_tvl1 (torch.float16, (2, 8, 2, 24, 32))" in shown.lines("flow_tvl1")
    assert "density (torch.uint8, (2, 8, 36, 64))" in shown.lines("density")
    assert "fixation_map (torch.uint8, (2, 8, 72, 128))" in shown.lines("fixation_map")

    # Of the split: every frame of its videos, none of the others'.
    split = next(table for table in shown.tables if "count" in table and "mean" in table)
    counts = {row.split()[0]: row.split()[1] for row in split.splitlines()[2:]}
    assert counts == {"001": "20.0", "002": "9.0"}
    assert "up to date: True" in shown.lines("up")


@pytest.mark.slow
def test_the_notebook_says_what_a_store_lacks(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tmp_path / "store.zarr"
    build(Recipe.parse(recipe_values(raw, url)))
    shown = execute(url, monkeypatch, tmp_path)
    assert shown.errors == []
    assert "This store has no I3D features" in shown.printed
    assert "holds no statistics of split 'train'" in shown.printed
    assert len(shown.pictures) >= 3


@pytest.mark.slow
def test_raw_clips_become_a_network_that_sees_what_people_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_WORK", os.fspath(tmp_path / "work"))
    shown = execute(tmp_path / "no.zarr", monkeypatch, tmp_path, TRAINING)
    assert shown.errors == []
    assert "check the recipe's gaze section against its columns" in shown.printed
    first, last = re.findall(
        r"loss of the first epoch ([\d.]+), of the last ([\d.]+)", shown.printed
    )[0]
    assert float(last) < 0.6 * float(first)
    correlation = re.findall(r"correlation with people on \w+: (-?[\d.]+)", shown.printed)[0]
    assert float(correlation) > 0.5
    assert len(shown.pictures) == 5


@pytest.mark.parametrize("notebook", [NOTEBOOK, TRAINING], ids=lambda path: path.stem)
def test_the_notebooks_are_kept_without_outputs(notebook: Path) -> None:
    code = [cell for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert 'find_spec("foveal") is None' in code[0].source, "Colab: the first cell installs"
