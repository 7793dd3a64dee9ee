"""Writing: staged arrays, whole shards, checksums of the very bytes, on every kind of store."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stores import edit_root, write_small_store
from zarr.abc.store import Store
from zarr.storage import LocalStore, MemoryStore, WrapperStore

from foveal.errors import StoreError
from foveal.storage.location import Location
from foveal.storage.marks import Quarantine, read_journal, read_marks, write_quarantine
from foveal.storage.names import OF_STORE
from foveal.storage.repair import repair_metadata
from foveal.storage.root import check_format, create_store, store_lock
from foveal.storage.schema import ArraySpec
from foveal.storage.verify import verify
from foveal.storage.writer import VideoWriter
from foveal.storage.zarr_internals import Buffer

RECIPE = {"dataset": {"kind": "test"}, "frames": {"size": [6, 8]}}
FRAMES = ArraySpec(
    "frames",
    ("time", "y", "x", "rgb"),
    (6, 8, 3),
    np.dtype("uint8"),
    {},
    4,
    16,
    axis="frame",
    kind="picture",
)
TIME = ArraySpec(
    "time",
    ("time",),
    (),
    np.dtype("float64"),
    {"units": "seconds"},
    64,
    64,
    axis="frame",
    kind="scalar",
    role="timeline",
)


@pytest.fixture(params=["local", "file-url", "memory-url", "memory-store", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    """An empty place of each kind."""
    places: dict[str, Any] = {
        "local": tmp_path / "a store.zarr",
        "file-url": f"file://{tmp_path}/store.zarr",
        "memory-url": f"memory://{tmp_path.name}",
        "memory-store": MemoryStore(),
    }
    if request.param == "s3":
        places["s3"] = f"{request.getfixturevalue('bucket')}/{tmp_path.name}"
    place = Location(places[request.param])
    yield place
    if request.param == "memory-url":
        place.delete_folder("")


def pixels(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, 6, 8, 3), np.uint8)


def write_video(location: Location, video: str, values: np.ndarray, batch: int = 7) -> VideoWriter:
    """Two stages, ``time`` and ``frames``, pushed in batches."""
    writer = VideoWriter(location, video, {"video": video})
    writer.invalidate(["time", "frames"], ["time", "frames"])
    time = writer.stage("time", {"stage": "time"}, [TIME])
    frames = writer.stage("frames", {"stage": "frames", "sum": int(values.sum())}, [FRAMES])
    for start in range(0, len(values), batch):
        part = values[start : start + batch]
        time.append({"time": np.arange(start, start + len(part)) / 30})
        frames.append({"frames": part})
    time.complete({"seen": len(values)})
    frames.complete({})
    return writer


def test_a_place_that_cannot_be_reached_is_named(bucket: str, tmp_path: Path) -> None:
    for place, why in (
        (f"{bucket}-of-another", "bucket does not exist; check the bucket, the endpoint"),
        (f"{tmp_path}/file/store.zarr", "Not a directory.*; check it, or choose another place"),
    ):
        (tmp_path / "file").touch()
        url = f"{place}/x.zarr"
        with pytest.raises(StoreError, match=f"^{re.escape(url)}.* cannot be reached: .*{why}"):
            create_store(Location(url), "test", RECIPE)
    with pytest.raises(StoreError, match="cannot be reached"), store_lock(Location(url)):
        pass


def test_what_was_written_is_read_back(location: Location) -> None:
    create_store(location, "test", RECIPE)
    values = pixels(45)
    write_video(location, "001", values)
    array = zarr.open_array(location.zarr, path="videos/001/frames", mode="r")
    np.testing.assert_array_equal(array[:], values)
    assert (array.chunks, array.shards) == ((4, 6, 8, 3), (16, 6, 8, 3))
    marks = read_marks(location, "001")
    assert marks["frames"].arrays["frames"]["shape"] == [45, 6, 8, 3]
    assert marks["time"].provenance["seen"] == 45
    assert marks["time"].provenance["software"]["zarr"] == zarr.__version__


def test_plain_xarray_reads_a_video_without_a_warning(location: Location) -> None:
    create_store(location, "test", RECIPE)
    values = pixels(20)
    write_video(location, "001", values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xr.open_zarr(location.zarr, group="videos/001", consolidated=False)
        np.testing.assert_array_equal(dataset.frames.values, values)
        assert dataset.frames.dims == ("time", "y", "x", "rgb")
        np.testing.assert_allclose(dataset.time.values, np.arange(20) / 30)
        assert xr.open_zarr(location.zarr, group="videos", consolidated=False).sizes == {}
        assert list(zarr.open_group(location.zarr, path="videos", mode="r").group_keys()) == ["001"]


@pytest.mark.filterwarnings("ignore:Object at frames is not recognized")
def test_nothing_is_visible_before_it_is_complete(location: Location) -> None:
    create_store(location, "test", RECIPE)
    writer = VideoWriter(location, "001", {})
    stage = writer.stage("frames", {}, [FRAMES])
    values = pixels(40)
    for part in (values[:20], values[20:]):
        stage.append({"frames": part})
        group = zarr.open_group(location.zarr, path="videos/001", mode="r")
        assert list(group.members()) == []
        assert "frames" not in xr.open_zarr(location.zarr, group="videos/001", consolidated=False)
        assert read_marks(location, "001") == {}
    # Two shards of 16 lie there already, and nobody can know.
    shards = [key for key in location.list_all("videos/001") if "/c/" in key]
    assert len(shards) == 2
    stage.complete({})
    assert dict(zarr.open_group(location.zarr, path="videos/001", mode="r").members())


@given(
    batches=st.lists(st.integers(0, 40), max_size=12),
    chunk=st.sampled_from([1, 4, 8]),
    chunks_a_shard=st.integers(1, 4),
)
@settings(max_examples=25, deadline=None)
def test_any_batches_give_the_same_array_and_each_shard_is_written_once(
    batches: list[int], chunk: int, chunks_a_shard: int
) -> None:
    counting = CountingStore(MemoryStore())
    location = Location(counting)
    spec = ArraySpec(
        "x",
        ("n", "k"),
        (3,),
        np.dtype("int32"),
        {},
        chunk,
        chunk * chunks_a_shard,
        axis="item",
        kind="scalar",
    )
    values = np.arange(sum(batches) * 3, dtype=np.int32).reshape(-1, 3)
    stage = VideoWriter(location, "v", {}).stage("s", {}, [spec])
    start = 0
    for batch in batches:
        stage.append({"x": values[start : start + batch]})
        start += batch
    stage.complete({})
    array = zarr.open_array(location.zarr, path="videos/v/x", mode="r")
    np.testing.assert_array_equal(array[:], values)
    shards = {key: n for key, n in counting.sets.items() if "/x/c/" in key}
    assert set(shards.values()) <= {1}
    assert len(shards) == -(-len(values) // spec.shard_items)


class CountingStore(WrapperStore[Store]):
    """Counts how often each key is written."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.sets: Counter[str] = Counter()

    def with_read_only(self, read_only: bool = False) -> CountingStore:
        return self

    async def set(self, key: str, value: Buffer) -> None:
        self.sets[key] += 1
        await super().set(key, value)


def test_shards_of_zeros_exist(location: Location) -> None:
    create_store(location, "test", RECIPE)
    write_video(location, "dark", np.zeros((40, 6, 8, 3), np.uint8))
    keys = location.list_all("videos/dark/frames")
    assert [key for key in keys if "/c/" in key] == [
        f"videos/dark/frames/c/{shard}/0/0/0" for shard in range(3)
    ]


def test_an_array_without_items(location: Location) -> None:
    create_store(location, "test", RECIPE)
    writer = VideoWriter(location, "still", {})
    mark = writer.stage("frames", {}, [FRAMES, TIME]).complete({})
    assert mark.arrays["frames"]["shape"] == [0, 6, 8, 3]
    assert list(mark.arrays["frames"]["sha256"]) == ["zarr.json"]
    dataset = xr.open_zarr(location.zarr, group="videos/still", consolidated=False)
    assert dataset.frames.values.shape == (0, 6, 8, 3)


def test_checksums_and_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    location = Location(tmp_path / "store.zarr")
    create_store(location, "test", RECIPE)
    write_video(location, "001", pixels(45))
    for stage, mark in read_marks(location, "001").items():
        folder = tmp_path / "store.zarr/videos/001" / stage
        files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
        assert mark.arrays[stage]["sha256"] == {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()
        }
        assert mark.stored_bytes == sum(path.stat().st_size for path in files.values())


def test_only_codecs_of_the_zarr_standard_are_used(location: Location) -> None:
    create_store(location, "test", RECIPE)
    write_video(location, "001", pixels(5))
    about = location.read_json("videos/001/frames/zarr.json")
    assert about["zarr_format"] == 3
    assert about["dimension_names"] == ["time", "y", "x", "rgb"]
    (sharding,) = about["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert [codec["name"] for codec in sharding["configuration"]["codecs"]] == [
        "bytes",
        "blosc",
        "crc32c",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 6, 8, 3), np.int16), "int16"),
        (np.zeros((2, 6, 9, 3), np.uint8), r"\(6, 9, 3\)"),
        (np.zeros((2, 6, 8), np.uint8), r"\(6, 8\)"),
    ],
)
def test_items_of_another_kind_are_refused(values: np.ndarray, message: str) -> None:
    stage = VideoWriter(Location(MemoryStore()), "v", {}).stage("frames", {}, [FRAMES])
    with pytest.raises(ValueError, match=rf"frames holds uint8 \(6, 8, 3\) items, .*{message}"):
        stage.append({"frames": values})


def test_invalidating_forgets_a_stage_and_leaves_the_others(location: Location) -> None:
    create_store(location, "test", RECIPE)
    for video in ("1", "10"):
        write_video(location, video, pixels(20))
    before = location.list_all("videos/10")
    VideoWriter(location, "1", {"video": "1"}).invalidate(["frames"], [])
    assert list(read_marks(location, "1")) == ["time"]
    assert location.list_all("videos/1") == [
        "videos/1/time/c/0",
        "videos/1/time/zarr.json",
        "videos/1/zarr.json",
    ]
    assert location.list_all("videos/10") == before
    assert sorted(read_marks(location, "10")) == ["frames", "time"]


def test_invalidating_removes_what_a_killed_build_left_and_the_quarantine(
    location: Location,
) -> None:
    create_store(location, "test", RECIPE)
    killed = VideoWriter(location, "001", {}).stage("frames", {}, [FRAMES])
    killed.append({"frames": pixels(33)})
    write_quarantine(location, Quarantine("001", "DecodeError", "it was bad", {}))
    VideoWriter(location, "001", {}).invalidate([], ["frames"])
    assert location.list_all("videos/001") == ["videos/001/zarr.json"]
    assert read_journal(location) == ({}, {})


def test_a_shorter_second_version_leaves_no_shard_of_the_first(location: Location) -> None:
    create_store(location, "test", RECIPE)
    write_video(location, "001", pixels(60))
    write_video(location, "001", pixels(10, seed=1))
    shards = [key for key in location.list_all("videos/001/frames") if "/c/" in key]
    assert shards == ["videos/001/frames/c/0/0/0/0"]


def test_abandoning_removes_what_did_not_become_complete(location: Location) -> None:
    create_store(location, "test", RECIPE)
    writer = VideoWriter(location, "001", {})
    time, frames = writer.stage("time", {}, [TIME]), writer.stage("frames", {}, [FRAMES])
    time.append({"time": np.arange(20.0)})
    frames.append({"frames": pixels(20)})
    time.complete({})
    writer.abandon()
    assert list(read_marks(location, "001")) == ["time"]
    assert not [key for key in location.list_all("videos/001") if "/frames/" in key]
    assert xr.open_zarr(location.zarr, group="videos/001", consolidated=False).sizes["time"] == 20


def test_leftovers_of_a_write_that_was_killed_are_removed(tmp_path: Path) -> None:
    location = Location(tmp_path / "store.zarr")
    create_store(location, "test", RECIPE)
    write_video(location, "001", pixels(5))
    torn = [
        tmp_path / "store.zarr" / name
        for name in ("videos/001/zarr.ab12.partial", "_foveal/001/frames.ab12.partial")
    ]
    for path in torn:
        path.write_bytes(b"{")
    VideoWriter(location, "001", {})
    assert not any(path.exists() for path in torn)


def test_group_attributes_follow_the_latest_build(location: Location) -> None:
    create_store(location, "test", RECIPE)
    VideoWriter(location, "001", {"fps": 25.0, "old": 1})
    VideoWriter(location, "001", {"fps": 30.0})
    group = zarr.open_group(location.zarr, path="videos/001", mode="r")
    assert dict(group.attrs) == {"fps": 30.0}


# Ids


@pytest.mark.parametrize(
    "video",
    [
        "ünï 眼 clip",
        "a/b/../c",
        "50%",
        "a:b*?",
        ".",
        "..",
        "__MACOSX",
        "zarr.json",
        "lock",
        "clip [x264]",
        "{a,b}",
    ],
)
def test_any_id_names_a_video_of_its_own(location: Location, video: str) -> None:
    create_store(location, "test", RECIPE)
    write_video(location, video, pixels(3))
    write_video(location, "other", pixels(2))
    marks, _ = read_journal(location)
    assert sorted(marks) == sorted([video, "other"])
    assert read_marks(location, video)["frames"].arrays["frames"]["shape"][0] == 3
    assert len(location.list_folder("videos")) == 3  # the two groups and zarr.json
    VideoWriter(location, video, {}).invalidate(["time", "frames"], [])
    assert sorted(read_journal(location)[0]) == ["other"]
    assert not [
        key for key in location.list_all("videos") if "frames" in key and "other" not in key
    ]


# The root


def test_the_root_says_what_the_store_holds(location: Location) -> None:
    create_store(location, "test", RECIPE)
    about = zarr.open_group(location.zarr, mode="r").attrs["foveal"]
    assert about["format_version"] == 1
    assert (about["dataset"], about["recipe"]) == ("test", RECIPE)
    create_store(location, "test", {"frames": None})
    assert zarr.open_group(location.zarr, mode="r").attrs["foveal"]["recipe"] == {"frames": None}


@pytest.mark.filterwarnings("ignore:Object at .* is not recognized")
def test_a_root_without_its_group_of_videos_is_mended(location: Location) -> None:
    create_store(location, "test", RECIPE)
    location.delete("videos/zarr.json")  # as where a kill came between the two
    create_store(location, "test", RECIPE)
    assert list(zarr.open_group(location.zarr, mode="r").group_keys()) == ["videos"]


def test_a_store_of_another_dataset_is_refused(location: Location) -> None:
    create_store(location, "test", RECIPE)
    with pytest.raises(StoreError, match="holds 'test', the recipe says 'dhf1k'"):
        create_store(location, "dhf1k", RECIPE)


def test_a_newer_format_is_refused(location: Location) -> None:
    create_store(location, "test", RECIPE)
    edit_root(location, lambda about: about.update(format_version=2))
    with pytest.raises(
        StoreError, match="has format version 2, this foveal reads versions up to 1; upgrade"
    ):
        create_store(location, "test", RECIPE)


def test_places_that_hold_something_else_are_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "holiday.jpg").touch()
    with pytest.raises(StoreError, match=r"not a foveal store and not empty \(holiday\.jpg"):
        create_store(Location(folder), "test", RECIPE)
    assert [path.name for path in folder.iterdir()] == ["holiday.jpg"]
    foreign = tmp_path / "foreign.zarr"
    zarr.create_group(LocalStore(foreign), attributes={"title": "mine"})
    with pytest.raises(StoreError, match="a Zarr hierarchy that foveal did not write"):
        create_store(Location(foreign), "test", RECIPE)


def test_a_damaged_root_is_named(location: Location) -> None:
    create_store(location, "test", RECIPE)
    whole = location.read("zarr.json")
    location.write("zarr.json", b'{"zarr_format": 3, "attrib')
    location.delete(f"{OF_STORE}/root")
    with pytest.raises(StoreError, match=r"zarr\.json is damaged .*no second copy"):
        check_format(location)
    location.write("zarr.json", whole)


def test_a_damaged_root_is_read_from_its_copy_and_written_again(location: Location) -> None:
    create_store(location, "test", RECIPE)
    whole = location.read("zarr.json")
    for damage in (b'{"zarr_format": 3, "attrib', b"", whole.replace(b'"test"', b'"tesu"')):
        location.write("zarr.json", damage)
        assert check_format(location)["dataset"] == "test"
        create_store(location, "test", RECIPE)
        assert location.read("zarr.json") == whole


def test_a_read_only_location_refuses_to_write(tmp_path: Path) -> None:
    create_store(Location(tmp_path / "s.zarr"), "test", RECIPE)
    with pytest.raises(ValueError, match="read-only"):
        Location(tmp_path / "s.zarr", read_only=True).write("key", b"value")


def test_an_unknown_protocol_says_what_to_install() -> None:
    with pytest.raises(StoreError, match=r"nowhere://x cannot be opened: .*foveal\[cloud\]"):
        Location("nowhere://x")


def test_a_url_that_fsspec_takes_for_a_pattern_is_refused() -> None:
    with pytest.raises(StoreError, match=r"holds \[ \], which fsspec takes for patterns"):
        Location("memory://store [new]")


def test_damaged_metadata_of_groups_above_do_not_end_a_writer(tmp_path: Path) -> None:
    location = write_small_store(tmp_path, {"001": {}})
    location.write("videos/zarr.json", b'{"zarr_format": 3, "\xb3')
    write_video(location, "002", np.ones((9, 6, 8, 3), np.uint8))
    repair_metadata(location)
    assert verify(location) == []
