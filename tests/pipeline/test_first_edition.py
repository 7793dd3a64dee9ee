"""A store of the first edition (commit 4678730), kept with its raw clips: it goes on as it is."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds import build, objects

from foveal.pipeline.build.run import Status
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.kinds import select_arrays
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.verify import verify
from foveal.torch import Clips

ARCHIVE = Path(__file__).parents[1] / "data" / "first_edition.tar.xz"


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The recipe as that store holds it; raw clips and store lie in the working folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return open_store("store.zarr").recipe


def test_it_is_whole_and_what_its_arrays_are_is_known(first: dict[str, Any]) -> None:
    assert [problem for problem in verify(Location("store.zarr")) if not problem.is_note] == []
    infos = open_store("store.zarr").infos("001")
    assert "unknown" not in {info.kind for info in infos.values()}
    kinds = {kind: select_arrays(infos.values(), kind) for kind in ("picture", "map", "flow")}
    assert kinds == {
        "picture": ["frames"],
        "map": ["density", "saliency_tiny"],
        "flow": ["flow_dis", "flow_tvl1"],
    }
    assert select_arrays(infos.values(), role="prediction") == ["saliency_tiny"]
    assert select_arrays(infos.values(), role="mask") == ["mask_half"]
    assert infos["i3d_flow"].starts == "i3d_flow_window_start"


def test_it_is_read(first: dict[str, Any]) -> None:
    video = open_store("store.zarr")["001"]
    assert video.sizes["time"] == 16
    np.testing.assert_array_equal(video["i3d_rgb_window_start"], [0, 2, 4, 6])
    clips = Clips("store.zarr", "train", frames=4, variables=["frames", "flow_dis", "density"])
    assert clips[0]["frames"].shape == (4, 3, 24, 32)


def test_a_build_computes_nothing_again(first: dict[str, Any]) -> None:
    before = objects(Path("store.zarr"))
    results, index = build(Recipe.parse(first))
    assert {result.status for result in results.values()} == {Status.UNCHANGED}, results
    assert objects(Path("store.zarr")) == before
    assert list(index["status"]) == ["complete", "complete"]


def test_another_sigma_computes_density_alone(first: dict[str, Any]) -> None:
    density = {"sigma_px": 5.0, "size": [24, 32]}
    results, _ = build(Recipe.parse({**first, "density": density}))
    assert {result.stages for result in results.values()} == {("density",)}
    assert [problem for problem in verify(Location("store.zarr")) if not problem.is_note] == []
