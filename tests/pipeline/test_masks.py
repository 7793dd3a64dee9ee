"""Frame lists attached to a store as masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builds import FRAMES, build, recipe_values, write_raw

from foveal.errors import GazeError
from foveal.pipeline.build.run import Status
from foveal.pipeline.learn.masks import attach_masks
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.verify import verify


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("masks")
    values = recipe_values(write_raw(folder / "raw"), folder / "s.zarr", flow=[], density=None)
    built = Recipe.parse(values)
    build(built)
    return built


def write_list(path: Path, listed: dict[str, list[int]], frames: int = 20) -> Path:
    lines = ["video,frame,mask"]
    lines += [f"{v},{k},{k in kept}" for v, kept in listed.items() for k in range(frames)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_listed_frames_become_a_mask_beside_the_video(recipe: Recipe, tmp_path: Path) -> None:
    frame_list = write_list(tmp_path / "l.csv", {"001": [15, 16, 19], "unknown": [3]})
    assert attach_masks(recipe.store, frame_list, "meta") == {"001": 3}
    mask = open_store(recipe.store)["001"]["mask_meta"]
    assert mask.dims == ("time",)
    # The clips run at the list's 30 Hz: frame k is frame k.
    np.testing.assert_array_equal(np.flatnonzero(mask.values), [15, 16, 19])
    assert len(mask) == FRAMES["001"]
    assert verify(Location(recipe.store)) == []


def test_a_new_list_replaces_the_former_and_a_build_keeps_it(
    recipe: Recipe, tmp_path: Path
) -> None:
    attach_masks(recipe.store, write_list(tmp_path / "a.csv", {"002": [1]}), "sub")
    attach_masks(recipe.store, write_list(tmp_path / "b.csv", {"002": [2, 3]}), "sub")
    results, _ = build(recipe)
    assert {result.status for result in results.values()} == {Status.UNCHANGED}
    mask = open_store(recipe.store)["002"]["mask_sub"].values
    np.testing.assert_array_equal(np.flatnonzero(mask), [2, 3])


def test_a_list_of_other_videos_and_a_bad_name_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    strangers = write_list(tmp_path / "l.csv", {"animal_bear05": [15]})
    with pytest.raises(GazeError, match=r"none of the 1 videos.*animal_bear05"):
        attach_masks(recipe.store, strangers, "meta")
    with pytest.raises(GazeError, match="a-z, 0-9 and _"):
        attach_masks(recipe.store, strangers, "../meta")
