"""What may go from a store, and that nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builds import build, recipe_values, write_raw
from typer.testing import CliRunner

from foveal.cli import app
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.clean import removable
from foveal.storage.location import Location
from foveal.storage.log import LOGS
from foveal.storage.reader import open_store
from foveal.storage.verify import verify


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("clean") / "raw")


def test_only_what_nothing_complete_needs_goes(raw: Path, tmp_path: Path) -> None:
    dis = {"flow": [{"method": "dis", "size": [24, 32]}]}
    build(Recipe.parse(recipe_values(raw, tmp_path / "store.zarr", **dis)))
    build(Recipe.parse(recipe_values(raw, tmp_path / "store.zarr", flow=[])))
    location = Location(tmp_path / "store.zarr")
    location.write("videos/002/flow_raft/c/0/0/0/0", b"half")
    for day in range(1, 6):
        location.write(f"{LOGS}/2026010{day}T000000Z-0123abcd.jsonl", b"{}\n")
    found = removable(location, kept_logs=4)
    assert [(one.kind, one.video, one.stage) for one in found if one.kind != "log"] == [
        ("unnamed", "001", "flow_dis"),
        ("abandoned", "002", ""),
        ("unnamed", "002", "flow_dis"),
        ("unnamed", "601", "flow_dis"),
    ]
    logs = [one.keys[0].rpartition("/")[2] for one in found if one.kind == "log"]
    assert logs == [f"2026010{day}T000000Z-0123abcd.jsonl" for day in (1, 2, 3)]
    before = set(location.list_all(""))
    shown = CliRunner().invoke(app, ["clean", str(location), "--kept-logs", "4"])
    assert shown.exit_code == 0
    assert "nothing was removed" in shown.output
    assert set(location.list_all("")) == before
    command = ["clean", str(location), "--kept-logs", "4", "--apply", "--json"]
    told = json.loads(CliRunner().invoke(app, command).output)
    assert told["removed"]
    assert set(location.list_all("")) == before - {key for one in found for key in one.keys}
    assert removable(location, kept_logs=4) == []
    assert verify(location) == []
    store = open_store(location.url)
    assert all("flow_dis" not in store.infos(video) for video in store)
    assert set(store.videos["status"]) == {"complete"}


def test_a_video_with_a_damaged_mark_is_left_to_repair(raw: Path, tmp_path: Path) -> None:
    build(Recipe.parse(recipe_values(raw, tmp_path / "store.zarr", flow=[])))
    location = Location(tmp_path / "store.zarr")
    location.write("_foveal/002/density.json", b"{")
    assert removable(location) == []


def test_two_stores_are_compared_array_by_array(raw: Path, tmp_path: Path) -> None:
    sections = {"flow": [{"method": "dis", "size": [24, 32]}]}
    build(Recipe.parse(recipe_values(raw, tmp_path / "a.zarr", **sections)))
    wide = {
        **sections,
        "density": {"sigma_px": 5.0, "size": [36, 64]},
        "frames": {"size": [18, 32]},
    }
    build(Recipe.parse(recipe_values(raw, tmp_path / "b.zarr", **wide)), only=["001", "002"])
    stores = [str(tmp_path / "a.zarr"), str(tmp_path / "b.zarr")]
    told = CliRunner().invoke(app, ["diff", *stores, "--json", "--video", "001", "--video", "002"])
    assert told.exit_code == 3
    rows = {row["array"]: row for row in json.loads(told.output)["arrays"]}
    assert rows["flow_dis"]["agrees"]
    assert rows["flow_dis"]["largest"] == 0
    assert rows["frames"]["other_shapes"] == ["001", "002"]
    x, y = (open_store(url)["001"]["density"].values.astype("f8") for url in stores)
    one = CliRunner().invoke(
        app,
        ["diff", *stores, "--json", "--video", "001", "--array", "density", "--tolerance", "0.2"],
    )
    (row,) = json.loads(one.output)["arrays"]
    off = abs(x - y)
    assert row["largest"] == pytest.approx(off.max())
    assert row["mean"] == pytest.approx(off.mean())
    assert row["above"] == pytest.approx((off > 0.2).mean())
    assert (row["worst"], row["values"]) == ("001", off.size)
    same = CliRunner().invoke(app, ["diff", stores[0], stores[0]])
    assert same.exit_code == 0
    alone = CliRunner().invoke(app, ["diff", *stores, "--json", "--array", "flow_dis"])
    assert json.loads(alone.output)["arrays"][0]["only_a"] == ["601"]
    assert alone.exit_code == 3
    missing = CliRunner().invoke(app, ["diff", *stores, "--array", "depth"])
    assert missing.exit_code == 1
    assert "neither store has an array 'depth'" in str(missing.exception)
