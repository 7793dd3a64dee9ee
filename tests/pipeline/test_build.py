"""Whole builds: aligned arrays, nothing done twice, nothing stale, bad videos set aside."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import zarr
from builds import FRAMES, SIZE, build, objects, recipe_values, write_raw

from foveal.errors import ChecksumError, RecipeError, StoreError
from foveal.pipeline.build.build import Build
from foveal.pipeline.build.run import Status
from foveal.pipeline.demo import load_true_gaze
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.density_maps import density_map
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.density_kernels import gaussian
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Video
from foveal.storage.location import Location
from foveal.storage.marks import read_marks
from foveal.storage.reader import open_store
from foveal.storage.verify import verify


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "dhf1k")


@pytest.fixture(scope="module")
def whole(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A finished build; tests that change it work on a copy."""
    store = tmp_path_factory.mktemp("whole") / "store.zarr"
    recipe = Recipe.parse(recipe_values(raw, store))
    results, index = build(recipe)
    assert all(result.status is Status.COMPLETE for result in results.values())
    assert index["status"].eq("complete").all()
    return recipe


@pytest.fixture
def copy(whole: Recipe, tmp_path: Path) -> Recipe:
    store = tmp_path / "store.zarr"
    shutil.copytree(whole.store, store)
    return whole.model_copy(update={"store": str(store)})


def changed(recipe: Recipe, **sections: object) -> Recipe:
    return Recipe.parse(recipe.resolved() | sections)


def all_frames(raw: Path, video: str) -> np.ndarray:
    clip = Video(video, None, raw / "video" / f"{video}.AVI")
    return np.concatenate([batch.frames for batch in decode(clip, probe(clip))])


def test_every_array_has_the_length_of_the_decoded_video(whole: Recipe) -> None:
    store = open_store(whole.store)
    for video, frames in FRAMES.items():
        data = store[video]
        assert data.sizes["time"] == frames
        assert data.sizes["pair"] == frames - 1
        assert data["density"].shape == (frames, 36, 64)
        assert data["fixation_offset"].values[-1] == data.sizes["fixation"]
        np.testing.assert_allclose(data["time"], np.arange(frames) / 30, atol=1e-9)


def test_frames_are_the_decoded_pictures_by_area(whole: Recipe, raw: Path) -> None:
    stored = open_store(whole.store)["001"]["frames"].values
    for frame, kept in zip(all_frames(raw, "001"), stored, strict=True):
        expected = cv2.resize(frame, (64, 36), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(kept, expected)


def test_flow_is_opencvs_of_each_pair(whole: Recipe, raw: Path) -> None:
    stored = open_store(whole.store)["002"]["flow_tvl1"].values
    grey = [
        cv2.cvtColor(cv2.resize(frame, (32, 24), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        for frame in all_frames(raw, "002")
    ]
    for k, flow in enumerate(stored):
        expected = cv2.optflow.createOptFlow_DualTVL1().calc(grey[k], grey[k + 1], None)
        np.testing.assert_array_equal(flow, expected.astype(np.float16))


def test_density_is_the_blur_of_the_stored_fixations(whole: Recipe) -> None:
    data = open_store(whole.store)["601"]
    points = np.stack([data["fixation_x"].values, data["fixation_y"].values], axis=1)
    offset = data["fixation_offset"].values
    for frame in range(FRAMES["601"]):
        of_frame = points[offset[frame] : offset[frame + 1]]
        expected = density_map(of_frame, SIZE, (36, 64), gaussian(4.0), "max", np.uint8)
        np.testing.assert_array_equal(data["density"].values[frame], expected)


def test_fixations_lie_where_the_simulated_observers_looked(whole: Recipe, raw: Path) -> None:
    data = open_store(whole.store)["001"]
    truth = load_true_gaze(raw, 1)
    points = np.stack([data["fixation_x"].values, data["fixation_y"].values], axis=1)
    assert len(points) > 50
    for frame, point in zip(data["fixation_frame"].values, points, strict=True):
        looked = truth.gaze_xy[truth.frame == frame]
        # The authors' mapping rounds to whole pixels.
        assert np.abs(looked - point).max(axis=1).min() <= 0.5 + 0.01


def test_a_second_build_finds_nothing_to_do(copy: Recipe) -> None:
    before = objects(Path(copy.store))
    results, _ = build(copy)
    assert {result.status for result in results.values()} == {Status.UNCHANGED}
    assert objects(Path(copy.store)) == before


def test_changing_sigma_computes_density_alone_and_decodes_nothing(
    copy: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = objects(Path(copy.store))
    monkeypatch.setenv("FOVEAL_FFMPEG", "/nonexistent/ffmpeg")
    blurred = changed(copy, density={"sigma_px": 8.0, "size": [36, 64]})
    results, _ = build(blurred)
    assert {result.stages for result in results.values()} == {("density",)}
    after = objects(Path(copy.store))
    assert {key for key in before if before[key] != after[key]} == {
        f"videos/{video}/density/{name}" for video in FRAMES for name in ("zarr.json", "c/0/0/0")
    }


def test_changing_the_frame_size_leaves_the_flow(copy: Recipe) -> None:
    results, _ = build(changed(copy, frames={"size": [18, 32]}))
    assert {result.stages for result in results.values()} == {("frames",)}
    assert open_store(copy.store)["001"]["frames"].shape == (20, 18, 32, 3)


def test_a_replaced_video_leaves_nothing_stale(raw: Path, tmp_path: Path) -> None:
    root, store = tmp_path / "raw", tmp_path / "store.zarr"
    shutil.copytree(raw, root)
    recipe = Recipe.parse(recipe_values(root, store))
    build(recipe, only=["001"])
    shutil.copy(root / "video/002.AVI", root / "video/001.AVI")
    without_flow = changed(recipe, flow=[])
    results, _ = build(without_flow, only=["001"])
    assert "flow_tvl1" not in results["001"].stages
    data = open_store(str(store))["001"]
    assert data.sizes["time"] == FRAMES["002"]
    assert "flow_tvl1" not in data
    assert verify(Location(store)) == []


def test_only_and_limit_restrict_and_refuse_strangers(raw: Path, tmp_path: Path) -> None:
    recipe = Recipe.parse(recipe_values(raw, tmp_path / "store.zarr"))
    assert [item.video.id for item in Build.open(recipe).plan(limit=2).to_do] == ["001", "002"]
    assert [item.video.id for item in Build.open(recipe).plan(only=["601"]).to_do] == ["601"]
    with pytest.raises(RecipeError, match=r"no video 007.*there are 3: 001, 002, 601"):
        Build.open(recipe).plan(only=["007"])


def test_one_store_holds_one_dataset(copy: Recipe, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "a.avi").touch()
    other = changed(copy, dataset={"kind": "videos", "root": str(clips)}, fixations=None)
    with pytest.raises(StoreError, match="holds 'dhf1k', the recipe says 'videos'"):
        build(other)


def test_a_lost_shard_is_named_and_repaired(copy: Recipe) -> None:
    before = objects(Path(copy.store))
    shard = Path(copy.store) / "videos/001/flow_tvl1/c/0/0/0/0"
    shard.unlink()
    assert [problem.kind for problem in verify(Location(copy.store))] == ["missing"]
    with pytest.raises(ChecksumError, match="flow_tvl1/c/0/0/0/0"):
        _ = open_store(copy.store)["001"]["flow_tvl1"].values
    results, _ = build(copy, repair=True)
    assert results["001"].stages == ("flow_tvl1",)
    assert results["002"].status is Status.UNCHANGED
    assert objects(Path(copy.store)) == before


def test_provenance_names_source_parameters_and_software(whole: Recipe, raw: Path) -> None:
    marks = read_marks(Location(whole.store), "001")
    flow = marks["flow_tvl1"].provenance
    assert flow["software"]["zarr"] == zarr.__version__
    assert flow["parameters"]["size"] == [24, 32]
    assert flow["contents"]["video"]["total_bytes"] == (raw / "video/001.AVI").stat().st_size
    shown = zarr.open_array(f"{whole.store}/videos/001/flow_tvl1").attrs["foveal"]
    assert shown["fingerprint"] == marks["flow_tvl1"].fingerprint
    root = json.loads((Path(whole.store) / "zarr.json").read_text())
    assert Recipe.parse(root["attributes"]["foveal"]["recipe"]) == whole


def test_a_recipe_without_a_section_makes_no_such_array(raw: Path, tmp_path: Path) -> None:
    values = recipe_values(raw, tmp_path / "s.zarr", frames=None, flow=[], fixations=None)
    build(Recipe.parse(values), only=["002"])
    assert set(open_store(str(tmp_path / "s.zarr"))["002"].data_vars) == {"density"}


def test_a_store_in_memory_holds_the_same_arrays(whole: Recipe) -> None:
    memory = whole.model_copy(update={"store": "memory://foveal-test-build.zarr"})
    build(memory, only=["002"])
    here, there = open_store(memory.store)["002"], open_store(whole.store)["002"]
    for name in there.variables:
        np.testing.assert_array_equal(here[name].values, there[name].values)
