"""LSTS from raw clips to scores: features of both streams built, trained on, predicted from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builds import build, recipe_values, write_raw
from typer.testing import CliRunner

from foveal.cli import app
from foveal.pipeline.learn.checkpoint import load_network
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.verify import verify

WINDOW = 9
FIRST = WINDOW
"""Frame of the first estimate: frames 1 … 9 with the motion that ends in each of them."""

FEATURES = {
    "window": WINDOW,
    "pooling": "none",
    "size": [32, 32],
    "weights_rgb": "random:1",
    "weights_flow": "random:2",
}
OPTIONS = "options={feature_shape: [2, 1, 1], width: 0.1}"


def test_lsts_reads_both_streams_and_copies_the_first_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str, status: int = 0) -> dict[str, Any]:
        done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == status, done.output
        return dict(json.loads(done.stdout))

    monkeypatch.chdir(tmp_path)
    url = str(tmp_path / "store.zarr")
    recipe = Recipe.parse(recipe_values(write_raw(tmp_path / "raw"), url, i3d=FEATURES))
    results, _ = build(recipe)
    assert all(result.ok for result in results.values()), results

    settings = (
        "--set",
        OPTIONS,
        "--set",
        "iterations=3",
        "--set",
        "batch_size=4",
        "--set",
        "device=cpu",
    )
    assert run("train", "lsts_rgb_flow", "--store", url, *settings)["iterations"] == 3
    predicted = run(
        *("predict", "runs/lsts_rgb_flow", "--store", url),
        *("--device", "cpu", "--dtype", "float32"),
        status=3,
    )
    videos = {video["video"]: video for video in predicted["videos"]}
    assert {name: video["status"] for name, video in videos.items()} == {
        "001": "complete",
        "002": "skipped",  # nine frames: eight motions, windows of nine
        "601": "complete",
    }
    assert {name: videos[name]["copied"] for name in ("001", "601")} == {"001": 9, "601": 9}

    store = open_store(url)
    network, _ = load_network(tmp_path / "runs/lsts_rgb_flow")
    for name, frames in (("001", 20), ("601", 14)):
        maps = np.asarray(store.array(name, "saliency_lsts_rgb_flow")[:], np.float32)
        assert maps.shape == (frames, 72, 128)
        assert (maps[:FIRST] == maps[FIRST]).all()
        assert (maps[FIRST + 1] != maps[FIRST]).any()
        # RGB windows start at frames 0, 1, …, those of flow at 1, 2, …: pairs have equal starts.
        read = {"i3d_rgb": slice(1, None), "i3d_flow": slice(None)}
        inputs = {
            kind: torch.from_numpy(np.asarray(store.array(name, kind)[rows], np.float32))[None]
            for kind, rows in read.items()
        }
        with torch.inference_mode():
            expected = network.eval()(inputs)[0][0].numpy()
        np.testing.assert_allclose(maps[FIRST:], expected, atol=1e-6)
    assert not verify(Location(url))

    scores = run("evaluate", url, "lsts_rgb_flow", "--split", "val", "--metrics", "nss")
    table = scores["contestants"]["saliency_lsts_rgb_flow"]
    assert table["videos"]["601"]["metrics"]["nss"]["scored"] > 0
