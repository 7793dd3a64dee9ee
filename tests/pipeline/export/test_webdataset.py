"""Tar samples hold what the store holds of their frames, windows by their starts."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds import FRAMES, I3D, build, recipe_values, write_array, write_raw
from numpy.typing import NDArray
from PIL import Image

from foveal.errors import FovealError
from foveal.pipeline.export.webdataset import export_webdataset
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.reader import Store, open_store

WINDOW = I3D["window"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three clips with every array that a recipe can ask for; windows at every second frame."""
    folder = tmp_path_factory.mktemp("webdataset")
    recipe = Recipe.parse(recipe_values(write_raw(folder / "raw"), folder / "s.zarr", i3d=I3D))
    build(recipe)
    return open_store(folder / "s.zarr")


def samples_of(folder: Path) -> dict[str, dict[str, bytes]]:
    """Members by key, as WebDataset groups them: up to the first dot of the last part."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                place, _, name = member.name.rpartition("/")
                key, _, suffix = name.partition(".")
                content = tar.extractfile(member)
                assert content
                found.setdefault(f"{place}/{key}", {})[suffix] = content.read()
    return found


def npy(content: bytes) -> NDArray[Any]:
    return np.asarray(np.load(io.BytesIO(content)))


def picture(content: bytes) -> NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("array", ["i3d_rgb", "i3d_flow"])
@pytest.mark.parametrize("clip_frames", [1, 3, 9, 30])
def test_a_window_is_in_the_sample_of_the_frame_it_starts_with(
    store: Store, tmp_path: Path, array: str, clip_frames: int
) -> None:
    export_webdataset(store.location.url, tmp_path, [array], clip_frames=clip_frames)
    samples = samples_of(tmp_path)
    for video, frames in FRAMES.items():
        starts = store.array(video, f"{array}_window_start")[:]
        features = store.array(video, array)[:]
        told = []
        for first in range(0, frames, clip_frames):
            sample = samples.pop(f"{video}/{first:06d}")
            rows = np.flatnonzero((starts >= first) & (starts < first + clip_frames))
            assert (f"{array}.npy" in sample) == (len(rows) > 0)
            about = json.loads(sample["json"])
            if len(rows):
                expected = features[rows[0]] if clip_frames == 1 else features[rows]
                np.testing.assert_array_equal(npy(sample[f"{array}.npy"]), expected)
                assert about["windows"][array]["frames"] == WINDOW
                told += about["windows"][array]["starts"]
            else:
                assert array not in about.get("windows", {})
        assert told == starts.tolist(), "every window once, in order"
    assert not samples
