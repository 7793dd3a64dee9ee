"""I3D in the pipeline: the stage gives what `WindowFeatures` gives, aligned, live or stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builds import build, recipe_values, write_raw

from foveal.errors import FovealError, RecipeError
from foveal.models.i3d.weights import load_i3d
from foveal.models.i3d.windows import WindowFeatures
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Video
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.verify import verify

SECTION = {
    "window": 9,
    "stride": 2,
    "pooling": "none",
    "endpoint": "global",
    "size": [32, 32],
    "weights_rgb": "random:1",
    "weights_flow": "random:2",
    "dtype": "float32",
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "dhf1k")


@pytest.fixture(scope="module")
def whole(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    store = tmp_path_factory.mktemp("i3d") / "store.zarr"
    recipe = Recipe.parse(recipe_values(raw, store, i3d=SECTION, density=None))
    results, _ = build(recipe)
    assert all(result.ok for result in results.values()), results
    return recipe


def test_rgb_features_are_those_of_the_decoded_frames(whole: Recipe, raw: Path) -> None:
    clip = Video("001", None, raw / "video/001.AVI")
    frames = np.concatenate([batch.frames for batch in decode(clip, probe(clip))])
    features = WindowFeatures(
        load_i3d("rgb", "random:1"),
        window=9,
        stride=2,
        pooling="none",
        endpoint="global",
        size=(32, 32),
        device="cpu",
    )
    expected = np.concatenate([features.push(frames), features.finish()])
    data = open_store(whole.store)["001"]
    np.testing.assert_allclose(data["i3d_rgb"].values, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(data["i3d_rgb_window_start"], features.window_starts)


def test_flow_windows_start_at_the_frames_of_rgb_windows_but_the_first(whole: Recipe) -> None:
    data = open_store(whole.store)["001"]
    rgb, flow = data["i3d_rgb_window_start"].values, data["i3d_flow_window_start"].values
    np.testing.assert_array_equal(rgb, range(0, 20 - 9 + 1, 2))
    # The motion into frame 0 does not exist, so the window at 0 has no partner.
    np.testing.assert_array_equal(flow, rgb[1:])


def test_flow_features_are_those_of_the_stored_flow(whole: Recipe) -> None:
    data = open_store(whole.store)["001"]
    network = load_i3d("flow", "random:2")
    features = WindowFeatures(
        network,
        window=9,
        stride=2,
        first_start=1,
        pooling="none",
        endpoint="global",
        size=(32, 32),
        device="cpu",
    )
    flow = data["flow_tvl1"].values
    expected = np.concatenate([features.push(flow), features.finish()])
    np.testing.assert_allclose(data["i3d_flow"].values, expected, rtol=1e-4, atol=1e-6)


def test_a_stored_feed_gives_what_the_live_one_gave(
    whole: Recipe, raw: Path, tmp_path: Path
) -> None:
    store = tmp_path / "later.zarr"
    build(Recipe.parse(recipe_values(raw, store, density=None)), only=["001"])
    later = Recipe.parse(recipe_values(raw, store, i3d=SECTION, density=None))
    results, _ = build(later, only=["001"])
    assert results["001"].stages == ("i3d_rgb", "i3d_flow")
    live, stored = open_store(whole.store)["001"], open_store(str(store))["001"]
    for name in ("i3d_rgb", "i3d_flow"):
        np.testing.assert_allclose(stored[name], live[name], rtol=1e-4, atol=1e-6)
    assert verify(Location(store)) == []


def test_short_clips_have_no_window_or_one_that_repeats(raw: Path, tmp_path: Path) -> None:
    section = SECTION | {"window": 16, "streams": ["rgb"]}
    for rule, starts, valid in (("skip", [], []), ("repeat_first", [-7], [9])):
        values = recipe_values(
            raw,
            tmp_path / f"{rule}.zarr",
            i3d=section | {"short_clips": rule},
            flow=[],
            density=None,
        )
        build(Recipe.parse(values), only=["002"])
        data = open_store(str(values["store"]))["002"]
        np.testing.assert_array_equal(data["i3d_rgb_window_start"], starts)
        np.testing.assert_array_equal(data["i3d_rgb_valid_frames"], valid)


def test_a_new_sigma_leaves_the_features(whole: Recipe) -> None:
    values = whole.resolved() | {"density": {"sigma_px": 4.0, "size": [36, 64]}}
    results, _ = build(Recipe.parse(values))
    assert {result.stages for result in results.values()} == {("density",)}


def test_missing_weights_and_flow_are_said(raw: Path, tmp_path: Path) -> None:
    absent = SECTION | {"weights_rgb": str(tmp_path / "rgb_imagenet.pt")}
    recipe = Recipe.parse(recipe_values(raw, tmp_path / "s.zarr", i3d=absent))
    with pytest.raises(FovealError, match=r"rgb_imagenet\.pt"):
        build(recipe)
    with pytest.raises(RecipeError, match="'raft' is not a method of the flow section"):
        Recipe.parse(recipe_values(raw, tmp_path / "s.zarr", i3d=SECTION | {"flow": "raft"}))
