import json
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from small_stores import (
    FPS,
    STAGES,
    density,
    edit_root,
    frame,
    write_small_index,
    write_small_store,
    write_video,
)

import foveal
from foveal.errors import ChecksumError, DamageWarning, StoreError
from foveal.storage.index import COLUMNS, write_index
from foveal.storage.location import Location
from foveal.storage.marks import Quarantine, write_quarantine
from foveal.storage.root import create_store

VIDEOS = {"001": {"split": "train"}, "002": {"split": "val", "frames": 11}, "a/b": {"split": None}}


@pytest.fixture
def store(tmp_path):
    write_small_store(tmp_path / "small.zarr", VIDEOS)
    return foveal.open_store(tmp_path / "small.zarr")


def test_videos_lists_what_the_index_says(store):
    assert list(store.videos.index) == ["001", "002", "a/b"]
    assert store.videos.split.fillna("-").tolist() == ["train", "val", "-"]
    assert store.videos.frames.tolist() == [20, 11, 20]
    assert store.videos.duration_seconds["002"] == 11 / FPS
    assert store.videos.stages["001"] == sorted(STAGES)
    assert set(store.videos.fingerprints["001"]) == set(STAGES)
    assert (store.videos.status == "complete").all()


def test_a_dataset_has_values_times_units_and_shard_sized_chunks(store):
    video = store["001"]
    assert isinstance(video, xr.Dataset)
    np.testing.assert_array_equal(video.time, np.arange(20) / FPS)
    np.testing.assert_array_equal(video.frames, np.stack([frame(0, k) for k in range(20)]))
    np.testing.assert_array_equal(video.density.sel(time=0.3), density(3))
    assert video.frames.chunks[0] == (8, 8, 4)
    assert video.attrs["fps"] == FPS
    assert video.frames.attrs["foveal"]["stage"] == "frames"
    assert video.i3d_rgb_window_start.dims == ("i3d_rgb_window",)
    assert "i3d_rgb_window_start" in video.coords


def test_a_dataset_reaches_other_processes(store):
    again = pickle.loads(pickle.dumps(store["002"]))  # noqa: S301
    np.testing.assert_array_equal(again.frames[10], frame(1, 10))


def test_unsafe_ids_are_read_like_any_other(store):
    assert store["a/b"].attrs["video"] == "a/b"


def test_tree_holds_the_videos_of_a_split(store):
    tree = store.tree(split="val")
    assert isinstance(tree, xr.DataTree)
    assert list(tree.children) == ["002"]
    np.testing.assert_array_equal(tree["002"].dataset.frames[3], frame(1, 3))
    assert len(store.tree().children) == 3


def test_the_recipe_is_the_one_it_was_built_by(store):
    assert store.recipe["i3d"] == {"window": 5}
    assert store.dataset == "small"


def test_arrays_without_a_mark_are_left_out(tmp_path):
    location = write_small_store(tmp_path, {"001": {"stages": ("time", "frames", "density")}})
    location.delete("_foveal/001/density.json")
    with pytest.warns(DamageWarning, match="density of 001 is complete"):
        assert set(foveal.open_store(tmp_path)["001"].data_vars) == {"frames"}


def test_a_build_under_way_shows_from_the_marks(tmp_path):
    location = write_small_store(tmp_path, {"001": {}})
    lock = tmp_path / "_foveal" / "lock"
    lock.write_text("1 on here")
    old, new = time.time() - 60, time.time()
    os.utime(lock, (new, new))
    os.utime(tmp_path / "index.parquet", (old, old))
    write_video(location, "002", 1, stages=("time",))
    store = foveal.open_store(tmp_path)
    assert list(store.videos.index) == ["001", "002"]
    write_video(location, "003", 2, stages=("time",))
    store.reload()
    assert list(store.videos.index) == ["001", "002", "003"]
    write_small_index(location)
    os.utime(lock, (old, old))
    assert list(foveal.open_store(tmp_path).videos.index) == ["001", "002", "003"]


def test_without_an_index_the_marks_are_read(tmp_path):
    location = write_small_store(tmp_path, {"001": {}})
    expected = foveal.open_store(tmp_path).videos
    location.delete("index.parquet")
    pd.testing.assert_frame_equal(foveal.open_store(tmp_path).videos, expected)


def test_a_store_without_videos_says_so(tmp_path):
    create_store(Location(tmp_path), "small", {})
    store = foveal.open_store(tmp_path)
    assert len(store) == 0
    assert "0 videos" in repr(store)
    assert "0 videos" in store._repr_html_()
    with pytest.raises(StoreError, match="no videos at all"):
        store.tree()


@pytest.mark.parametrize("wanted", ["memory://{}", "file://{}"])
def test_urls_open_like_folders(tmp_path, wanted):
    url = wanted.format(tmp_path)
    write_small_store(url, {"001": {}})
    np.testing.assert_array_equal(foveal.open_store(url)["001"].frames[2], frame(0, 2))


def test_memory_store_objects_open_too():
    memory = zarr.storage.MemoryStore()
    write_small_store(memory, {"001": {}})
    assert list(foveal.open_store(memory)) == ["001"]


def test_repr_tells_what_there_is_and_what_to_do(store):
    text = repr(store)
    assert "3 videos (1 in train, 1 in val, 1 in no split)" in text
    assert "flow_tvl1: 3 videos" in text
    assert "store['001']" in text
    assert "<td>flow_tvl1</td>" in store._repr_html_()


def test_names_in_html_are_escaped(tmp_path):
    write_small_store(tmp_path, {"<script>": {}})
    assert "<script>" not in foveal.open_store(tmp_path)._repr_html_()


def test_an_unknown_video_names_those_near_it(store):
    with pytest.raises(StoreError, match=r"no video '01'.*near it: '001'"):
        store["01"]
    with pytest.raises(StoreError, match="id is a string, not 1"):
        store[1]


def test_a_quarantined_video_gives_its_reason(tmp_path):
    location = write_small_store(tmp_path, {"001": {}})
    write_quarantine(location, Quarantine("002", "DecodeError", "the file ends early", {}))
    write_small_index(location)
    store = foveal.open_store(tmp_path)
    assert store.videos.status["002"] == "quarantined"
    with pytest.raises(StoreError, match="the file ends early"):
        store["002"]


def test_an_unknown_array_lists_those_there_are(store):
    with pytest.raises(StoreError, match=r"no complete array 'flow_raft'; it has .*flow_tvl1"):
        store.array("001", "flow_raft")


def test_a_split_without_videos_counts_the_others(store):
    with pytest.raises(StoreError, match="split 'test'; it has 1 in train, 1 in val"):
        store.tree(split="test")


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="there is no store at"):
        foveal.open_store(tmp_path / "nothing")
    (tmp_path / "file").write_text("text")
    with pytest.raises(StoreError, match="there is no store at"):
        foveal.open_store(tmp_path / "file")
    with pytest.raises(StoreError, match=r"no zarr\.json at its root"):
        foveal.open_store(tmp_path)
    zarr.create_group(tmp_path / "other")
    with pytest.raises(StoreError, match="a Zarr hierarchy that foveal did not write"):
        foveal.open_store(tmp_path / "other")


def test_a_newer_format_asks_for_a_newer_foveal(tmp_path):
    location = write_small_store(tmp_path, {"001": {}})
    edit_root(location, lambda about: about.update(format_version=99))
    with pytest.raises(StoreError, match=r"format version 99.*upgrade foveal"):
        foveal.open_store(tmp_path)


def test_a_deleted_shard_is_named_instead_of_read_as_zeros(store, tmp_path):
    (tmp_path / "small.zarr/videos/001/density/c/1/0/0").unlink()
    video = store["001"]
    np.testing.assert_array_equal(video.density[0], density(0))
    with pytest.raises(ChecksumError, match="videos/001/density/c/1/0/0 is missing"):
        video.density[12].compute()


def test_a_video_rebuilt_meanwhile_is_a_clear_error(store, tmp_path):
    for name in ("frames", "density"):
        (tmp_path / f"small.zarr/videos/001/{name}/zarr.json").unlink()
    with pytest.raises(StoreError, match=r"(density|frames)/zarr.json is missing, although"):
        store["001"]


def test_plain_xarray_reads_the_same_group_without_foveal(tmp_path):
    write_small_store(tmp_path / "small.zarr", {"001": {}})
    program = (
        "import sys, json\n"
        "sys.modules['foveal'] = None\n"
        "import xarray as xr\n"
        f"video = xr.open_zarr({str(tmp_path / 'small.zarr')!r}, group='videos/001', "
        "consolidated=False)\n"
        "print(json.dumps([video.time.values.tolist(), video.frames[3].values.tolist(), "
        "list(video.density.dims), video.attrs['fps']]))\n"
    )
    # -I keeps the repository off the path, so that nothing of foveal can be found.
    shown = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert shown.returncode == 0, shown.stderr
    times, pixels, dims, fps = json.loads(shown.stdout)
    assert times == (np.arange(20) / FPS).tolist()
    assert pixels == frame(0, 3).tolist()
    assert dims == ["time", "map_y", "map_x"]
    assert fps == FPS


def test_opening_imports_neither_torch_nor_prefect(tmp_path):
    write_small_store(tmp_path, {"001": {}})
    program = (
        "import sys, foveal\n"
        f"foveal.open_store({str(tmp_path)!r})['001'].frames[0].compute()\n"
        "print({'torch', 'prefect'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout.strip() == "set()", shown.stderr


def test_ten_thousand_videos_are_listed_by_one_read(tmp_path):
    location = Location(tmp_path)
    create_store(location, "small", {})
    row = dict.fromkeys(COLUMNS) | {"split": "train", "status": "complete"}
    row |= {
        "frames": 450,
        "flow_quality": "{}",
        "random_weights": "[]",
        "stages": json.dumps(["time"]),
        "fingerprints": json.dumps({"time": "0"}),
    }
    write_index(location, [row | {"video": f"{n:05d}"} for n in range(10_000)])
    store = foveal.open_store(tmp_path)
    assert len(store) == 10_000
    assert len(store.select("train")) == 10_000
    assert "09999" in store
