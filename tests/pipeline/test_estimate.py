"""The forecast of a dry run against what the build then stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from builds import build, recipe_values, write_raw

from foveal.pipeline.build.build import Build
from foveal.pipeline.build.forecast import estimate
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.location import Location
from foveal.storage.marks import read_journal


def test_disk_is_foreseen_stage_by_stage_and_nothing_is_written(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    i3d = {"window": 9, "size": [32, 32], "pooling": "none", "streams": ["rgb"]}
    i3d |= {"weights_rgb": "random", "endpoint": "mixed_5c", "stride": 3}
    recipe = Recipe.parse(recipe_values(raw, tmp_path / "s.zarr", i3d=i3d))
    forecast = estimate(recipe, Build.open(recipe).plan().to_do)
    assert not (tmp_path / "s.zarr").exists()
    build(recipe)
    marks, _ = read_journal(Location(recipe.store))
    foreseen = {stage.stage: stage.stored_bytes for stage in forecast.stages}
    for stage in ("frames", "flow_tvl1", "i3d_rgb"):
        stored = sum(found[stage].stored_bytes for found in marks.values())
        # Clips differ, and metadata weigh in arrays this small.
        assert foreseen[stage] == pytest.approx(stored, rel=0.4), stage
    assert forecast.wall_seconds > 0
    assert forecast.unreadable == {}


def test_an_unreadable_video_is_foreseen(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    (raw / "video/002.AVI").write_bytes(b"")
    recipe = Recipe.parse(recipe_values(raw, tmp_path / "s.zarr"))
    forecast = estimate(recipe, Build.open(recipe).plan().to_do)
    assert list(forecast.unreadable) == ["002"]
    assert "empty" in forecast.unreadable["002"]
