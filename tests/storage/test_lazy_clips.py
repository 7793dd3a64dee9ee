"""What dask reads of many videos: the values that are stored, no more chunks than asked for."""

from __future__ import annotations

import pickle
from pathlib import Path

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stores import CHUNK, density, features, frame, write_small_store

from foveal.errors import ChecksumError, StoreError
from foveal.storage.concatenated import concatenated
from foveal.storage.reader import Store, open_store
from foveal.torch import Clips

LENGTHS = {"a": 20, "b": 9, "c": 13}
STAGES = ("time", "frames", "density", "i3d_rgb", "flow_tvl1")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("lazy") / "small.zarr"
    write_small_store(
        folder, {video: {"frames": n, "stages": STAGES} for video, n in LENGTHS.items()}
    )
    return open_store(folder)


def test_clips_are_the_items_named_in_the_order_named(store: Store) -> None:
    wanted = [("c", 5), ("a", 0), ("c", 5), ("b", 6), ("a", 17)]
    clips = store.lazy("frames", clips=wanted, items=3, batch=2)
    assert clips.dims == ("clip", "time", "y", "x", "rgb")
    assert clips.chunksizes["clip"] == (2, 2, 1)
    numbers = {video: number for number, video in enumerate(LENGTHS)}
    expected = [[frame(numbers[v], start + k) for k in range(3)] for v, start in wanted]
    np.testing.assert_array_equal(clips.values, expected)
    np.testing.assert_array_equal(clips.data.blocks[1].compute(), expected[2:4])
    assert list(zip(clips.video.values, clips.start.values, strict=True)) == wanted


def test_windows_and_frames_are_those_that_clips_gives(store: Store) -> None:
    trained = Clips(store, frames=4, stride=3, variables=["density"])
    places = [trained.where(number)[:2] for number in range(len(trained))]
    lazy = store.lazy("density", clips=places, items=4)
    for number in range(len(trained)):
        np.testing.assert_array_equal(lazy[number], trained[number]["density"])
    windows = store.lazy("i3d_rgb", clips=[("b", 2), ("a", 7)])
    np.testing.assert_array_equal(windows.values, [[features(2)], [features(7)]])


@pytest.mark.parametrize(
    ("clips", "items", "said"),
    [
        ([("a", 18)], 3, "a clip of 3 items cannot begin at 18"),
        ([("a", -1)], 3, "cannot begin at -1"),
        ([("a", 0), ("z", 0)], 1, "'z' has no complete array 'frames'"),
        ([], 1, "at least 1"),
        ([("a", 0)], 0, "at least 1"),
    ],
)
def test_clips_outside_a_video_are_refused(
    store: Store, clips: list[tuple[str, int]], items: int, said: str
) -> None:
    with pytest.raises(StoreError, match=said):
        store.lazy("frames", clips=clips, items=items)


@settings(max_examples=20, deadline=None)
@given(st.slices(sum(LENGTHS.values())), st.slices(6), st.integers(0, 2))
def test_any_slice_is_what_numpy_takes_of_the_whole(
    store: Store, leading: slice, rows: slice, channel: int
) -> None:
    whole = np.concatenate([np.asarray(store.array(video, "frames")[:]) for video in LENGTHS])
    lazy = store.lazy("frames").data
    np.testing.assert_array_equal(lazy[leading, rows, :, channel], whole[leading, rows, :, channel])


def test_a_slice_reads_no_chunk_that_it_does_not_need(tmp_path: Path) -> None:
    write_small_store(tmp_path / "s.zarr", {"a": {"frames": 40, "stages": ("time", "density")}})
    store = open_store(tmp_path / "s.zarr")
    array = store.array("a", "density")
    assert array.chunks[0] == CHUNK
    shard = tmp_path / "s.zarr/videos/a/density/c/1/0/0"
    content = bytearray(shard.read_bytes())
    content[3] ^= 255  # in the first chunk of the second shard
    shard.write_bytes(content)
    lazy = store.lazy("density")
    start = (array.shards or array.chunks)[0]
    second = slice(start + CHUNK, start + 2 * CHUNK)
    np.testing.assert_array_equal(
        lazy[second].values, [density(k) for k in range(second.start, second.stop)]
    )
    with pytest.raises(ChecksumError):
        lazy[start : start + 1].compute()
    with pytest.raises(ChecksumError):
        store.lazy("density", clips=[("a", start)]).compute()


def test_object_stores_and_other_processes_read_the_same(store: Store) -> None:
    videos = {"a": {"frames": 9, "stages": ("time", "density")}}
    opened = open_store(write_small_store("memory://lazy", videos).url)
    clips = opened.lazy("density", clips=[("a", 2), ("a", 5)], items=2)
    np.testing.assert_array_equal(clips[1], [density(5), density(6)])
    np.testing.assert_array_equal(opened.lazy("density")[3:5], [density(3), density(4)])
    with dask.config.set(scheduler="sync"):
        lazy = concatenated(store, "density", ["a", "b"])
        again = pickle.loads(pickle.dumps(lazy.data))  # noqa: S301  as dask sends it to workers
        np.testing.assert_array_equal(again[19:22], [density(19), density(0), density(1)])
