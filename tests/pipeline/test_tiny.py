"""Tiny datasets in every published form: read by the datasets' own sources, as they were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.errors import FovealError, RecipeError
from foveal.pipeline.build.build import Build
from foveal.pipeline.demo.tiny import FRAMES, MASKED_FROM, OBSERVERS, SIZE, WRITERS, write_tiny
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources.readers.frame_lists import read_frame_lists

SPLITS = {
    "dhf1k": {"train": 3, "val": 2, "test": 1},
    "salicon": {"train": 6, "val": 3},
    "hollywood2": {"train": 4, "test": 2},
    "ucf_sports": {"train": 2, "test": 2},
    "diem": {"train": 2, "test": 2},
    "ledov": {"train": 2, "val": 1, "test": 2},
    "mouse_saliency": {"train": 3, "public_test": 1, "private_test": 1},
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_tiny_dataset_is_read_as_it_was_drawn(kind: str, tmp_path: Path) -> None:
    tiny = write_tiny(kind, tmp_path / kind)
    values = {"dataset": tiny.section, "store": str(tmp_path / "s.zarr"), "fixations": {}}
    build = Build.open(Recipe.parse(values))
    splits = [video.split for video in build.videos.values()]
    assert {split: splits.count(split) for split in set(splits)} == SPLITS[kind]
    height, width = SIZE
    for video in build.videos.values():
        if not video.has_ground_truth:
            continue
        points = build.source.fixations(video, height, width)
        frames = set(points.frame.tolist())
        assert frames == set(range(max(frames) + 1))
        assert max(frames) + 1 in (1, FRAMES)
        for frame in frames:
            here = np.stack([points.x, points.y])[:, points.frame == frame]
            assert 1 <= here.shape[1] <= OBSERVERS
            assert np.ptp(here, axis=1).max() < 15, "all look at the spot"
    if tiny.frame_list is not None:
        lists = read_frame_lists(tiny.frame_list)
        assert set(lists) <= set(build.videos)
        assert {int(mask.sum()) for mask in lists.values()} == {FRAMES - MASKED_FROM}


def test_it_is_written_once_and_never_over_anything_else(tmp_path: Path) -> None:
    write_tiny("salicon", tmp_path / "a")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    write_tiny("salicon", tmp_path / "a")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")} == written
    (tmp_path / "b").mkdir()
    with pytest.raises(FovealError, match="exists and is no tiny dataset"):
        write_tiny("salicon", tmp_path / "b")
    with pytest.raises(RecipeError, match="no tiny form of the dataset 'videos'; there is one of"):
        write_tiny("videos", tmp_path / "c")
