"""What a store says is not believed where it could do harm; nothing outside it is ever touched."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stores import edit_mark, edit_root, write_small_index, write_small_store, write_video
from typer.testing import CliRunner
from zarr.abc.store import Store
from zarr.storage import LocalStore, MemoryStore, WrapperStore

import foveal
from foveal.cli import app
from foveal.errors import ChecksumError, DamageWarning, StoreError, StoreUnreachable
from foveal.storage.digests import sha256_of_bytes
from foveal.storage.index import write_index
from foveal.storage.location import Location
from foveal.storage.marks import read_journal, read_journal_with_damage
from foveal.storage.names import is_name, is_object_key
from foveal.storage.repair import forget_damaged, repair_metadata
from foveal.storage.root import check_format, create_store, store_lock
from foveal.storage.verify import verify
from foveal.storage.wanted import read_wanted, write_wanted
from foveal.storage.writer import VideoWriter
from foveal.storage.zarr_internals import Buffer
from foveal.torch import Clips

LEAVING = [
    "../victim",
    "a/../../victim",
    "/etc/victim",
    "a//b",
    "./a",
    "a/.",
    "..",
    "a\\..\\b",
    "a\0",
]
METHODS: dict[str, Callable[[Location, str], object]] = {
    "read": lambda location, key: location.read(key),
    "read_json": lambda location, key: location.read_json(key),
    "write": lambda location, key: location.write(key, b"x"),
    "write_json": lambda location, key: location.write_json(key, {}),
    "delete": lambda location, key: location.delete(key),
    "delete_folder": lambda location, key: location.delete_folder(key),
    "list_folder": lambda location, key: location.list_folder(key),
    "list_all": lambda location, key: location.list_all(key),
    "flush": lambda location, key: location.flush([key]),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("key", LEAVING)
def test_no_method_of_a_location_leaves_it(tmp_path: Path, method: str, key: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "diary.txt").write_text("mine")
    location = Location(tmp_path / "store.zarr")
    location.write("a/b", b"x")
    with pytest.raises(StoreError, match=r"is not a key of .*out of the store"):
        METHODS[method](location, key)
    assert (victim / "diary.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store.zarr", "victim"]


@given(st.text(st.sampled_from("ab._-/\\%:*\0 é"), max_size=8))
@settings(max_examples=300)
def test_what_is_called_a_name_is_one_part_of_a_path(text: str) -> None:
    if is_name(text):
        assert (Path("/root") / text).parent == Path("/root")
        assert os.path.normpath(f"/root/{text}") == f"/root/{text}"
        assert not set("*?[]") & set(text)


def test_object_keys_are_metadata_and_chunks() -> None:
    assert all(map(is_object_key, ["zarr.json", "c", "c/0", "c/12/0/3"]))
    assert not any(map(is_object_key, ["", "c/..", "c/-1", "../c/0", "c/0/", "d/0", "c/0\n", 7]))


@pytest.mark.parametrize(
    "edit",
    [
        lambda mark: mark["arrays"].update({"../../../victim": mark["arrays"]["density"]}),
        lambda mark: mark["arrays"].update({"": mark["arrays"]["density"]}),
        lambda mark: mark["arrays"].update({"..": mark["arrays"]["density"]}),
        lambda mark: mark["arrays"]["density"]["sha256"].update({"../../../../victim": "0"}),
        lambda mark: mark["arrays"]["density"].update(shape=[10**30, 6, 8]),
        lambda mark: mark["arrays"]["density"].update(shape=[-1, 6, 8]),
        lambda mark: mark["arrays"]["density"].update(shape="20"),
        lambda mark: mark["arrays"]["density"].update(shape=[20, 6]),
        lambda mark: mark["arrays"]["density"].update(dtype={"a": 1}),
        lambda mark: mark["arrays"]["density"].update(starts="../x"),
        lambda mark: mark.update(arrays=[]),
        lambda mark: mark.update(identity=None),
        lambda mark: mark.update(video="002"),
        lambda mark: mark.update(stage="frames"),
        lambda mark: mark.update(more=1),
        lambda mark: mark.pop("arrays"),
    ],
)
def test_a_mark_that_cannot_be_is_damage_of_its_stage_alone(
    tmp_path: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    location = write_small_store(tmp_path / "store.zarr", {"001": {}})
    edit_mark(location, "001", "density", edit)
    journal = read_journal_with_damage(location)
    assert [(each.video, each.stage) for each in journal.damaged] == [("001", "density")]
    assert "frames" in journal.marks["001"]
    assert "density" not in journal.marks["001"]
    writer = VideoWriter(location, "001", {"video": "001"})
    writer.invalidate(["density"], ["density"])
    assert victim.is_dir()
    assert not (tmp_path / "store.zarr/_foveal/001/density.json").exists()


def test_a_shape_that_is_huge_takes_no_memory(tmp_path: Path) -> None:
    location = write_small_store(tmp_path, {"001": {}})
    edit_mark(
        location, "001", "density", lambda m: m["arrays"]["density"].update(shape=[10**9, 6, 8])
    )
    metadata = location.read_json("videos/001/density/zarr.json")
    location.write_json("videos/001/density/zarr.json", metadata | {"shape": [10**12, 6, 8]})
    started = time.monotonic()
    assert {"changed", "metadata"} <= {problem.kind for problem in verify(location)}
    with pytest.raises(ChecksumError, match=r"density/zarr\.json is damaged"):
        foveal.open_store(tmp_path)["001"]
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "odd",
    [
        {"codecs": 7},
        {"codecs": []},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 6, 8]}}},
        {"data_type": "nonsense"},
        {"fill_value": {}},
        {"attributes": [1]},
        {"shape": [20, 6]},
    ],
    ids=str,
)
def test_odd_metadata_that_a_mark_vouches_for_are_damage(
    tmp_path: Path, odd: dict[str, object]
) -> None:
    location = write_small_store(tmp_path, {"001": {}})
    key = "videos/001/density/zarr.json"
    location.write_json(key, location.read_json(key) | odd)
    sha256 = sha256_of_bytes(location.read(key) or b"")

    def vouch(mark: dict[str, Any]) -> None:
        mark["arrays"]["density"]["sha256"]["zarr.json"] = sha256

    edit_mark(location, "001", "density", vouch)
    assert {problem.kind for problem in verify(location)} & {"metadata", "mark"}
    store = foveal.open_store(tmp_path)
    for read in (lambda: store["001"], lambda: store.array("001", "density")):
        with pytest.raises(ChecksumError) as raised:
            read()
        assert "\n" not in str(raised.value)


def test_a_pipe_in_the_place_of_an_object_is_damage_and_not_waited_for(tmp_path: Path) -> None:
    write_small_store(tmp_path, {"001": {}})
    for key in ("_foveal/001/density.json", "videos/001/frames/c/0/0/0/0", "videos/001/zarr.json"):
        (tmp_path / key).unlink()
        os.mkfifo(tmp_path / key)
    named = {problem.key for problem in verify(Location(tmp_path))}
    assert {"_foveal/001/density.json", "videos/001/frames/c/0/0/0/0"} < named
    store = foveal.open_store(tmp_path)
    with pytest.warns(DamageWarning, match=r"density\.json is damaged.*it is a pipe"):
        dataset = store["001"]
    for read in (dataset.load, lambda: Clips(store, frames=4, variables=["frames"])[0]):
        with pytest.raises(ChecksumError, match="frames"):
            read()


def test_a_link_out_of_the_store_is_neither_written_nor_deleted_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "frames").mkdir(parents=True)
    (outside / "frames" / "holiday.jpg").touch()
    location = Location(tmp_path / "store.zarr")
    create_store(location, "small", {})
    (tmp_path / "store.zarr/videos/001").symlink_to(outside)
    with pytest.raises(StoreError, match="outside the store, by a link"):
        VideoWriter(location, "001", {})
    with pytest.raises(StoreError, match="outside the store, by a link"):
        location.delete_folder("videos/001/frames")
    location.delete_folder("videos/001")
    assert not (tmp_path / "store.zarr/videos/001").exists()
    assert (outside / "frames" / "holiday.jpg").exists()


@pytest.mark.parametrize(
    "edit",
    [
        lambda about: about.update(format_version="1"),
        lambda about: about.update(format_version=None),
        lambda about: about.update(dataset=["small"]),
        lambda about: about.update(recipe="x"),
        lambda about: about.pop("software"),
    ],
)
def test_odd_types_in_the_root_are_damage(
    tmp_path: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    location = write_small_store(tmp_path, {"001": {}})
    edit_root(location, edit)
    with pytest.raises(StoreError, match=r"zarr\.json is damaged \(its \w+ is "):
        foveal.open_store(tmp_path)
    assert any(problem.key == "zarr.json" for problem in verify(location))


def test_a_file_of_a_mac_is_passed_over_and_listed(tmp_path: Path) -> None:
    location = write_small_store(tmp_path, {"001": {}})
    (tmp_path / "_foveal/001/._frames.json").write_bytes(b"\0\5\x16\7")
    assert "frames" in read_journal(location)[0]["001"]
    problems = verify(location)
    assert {problem.key for problem in problems} == {
        "_foveal/001/._frames.json",
    }
    assert all(problem.is_note for problem in problems)


def test_an_unreadable_mark_costs_its_stage_and_a_line_in_the_list(tmp_path: Path) -> None:
    location = write_small_store(tmp_path, {"001": {}, "002": {}})
    path = tmp_path / "_foveal/001/frames.json"
    path.unlink()
    path.symlink_to(path.name)
    store = foveal.open_store(tmp_path)
    assert set(store["001"].data_vars) == set(store["002"].data_vars) - {"frames"}
    for arguments in (["inspect", str(tmp_path)], ["inspect", str(tmp_path), "001"]):
        shown = CliRunner().invoke(app, arguments)
        assert shown.exit_code == 0
        assert "frames.json is damaged" in shown.output
    shown = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert shown.exit_code == 3
    assert [problem.stage for problem in forget_damaged(location)] == ["frames"]
    assert not path.is_symlink()
    assert not [problem for problem in verify(location) if not problem.is_note]


# Which videos are complete


def test_a_half_built_video_is_not_complete(tmp_path: Path) -> None:
    location = Location(tmp_path)
    create_store(location, "small", {})
    write_wanted(location, {"001": ["time", "frames"], "002": ["time", "frames"]})
    write_video(location, "001", stages=("time", "frames"))
    write_video(location, "002", stages=("time",))
    assert foveal.open_store(tmp_path).videos.status.to_dict() == {
        "001": "complete",
        "002": "partial",
    }
    (tmp_path / "_foveal/%store/wanted").unlink()
    assert foveal.open_store(tmp_path).videos.status.to_dict() == {
        "001": "partial",
        "002": "partial",
    }


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_once_the_lock_was_taken_the_index_is_not_believed_whatever_the_clock(
    tmp_path: Path, place: str
) -> None:
    url = str(tmp_path / "s.zarr") if place == "folder" else f"memory://{tmp_path.name}"
    location = write_small_store(url, {"001": {}})
    if place == "folder":
        ahead = time.time() + 10**6
        os.utime(tmp_path / "s.zarr/index.parquet", (ahead, ahead))
    with store_lock(location):
        write_video(location, "002", 1, stages=("time",))
        assert list(foveal.open_store(url).videos.index) == ["001", "002"]
    assert list(foveal.open_store(url).videos.index) == ["001", "002"]
    write_small_index(location)
    assert list(foveal.open_store(url).videos.index) == ["001", "002"]
    location.delete_folder("")


def test_wanted_stages_of_videos_that_a_build_leaves_out_stay(tmp_path: Path) -> None:
    location = Location(tmp_path)
    write_wanted(location, {"001": ["time", "frames"], "002": ["time"]})
    write_wanted(location, {"002": ["density", "time"]})
    assert read_wanted(location) == {"001": ("frames", "time"), "002": ("density", "time")}


# Disks and connections


class Refusing(WrapperStore[Store]):
    """Refuses to write, or to read, with an error number of the system."""

    def __init__(self, store: Store, number: int, doing: str) -> None:
        super().__init__(store)
        self.number, self.doing = number, doing

    def with_read_only(self, read_only: bool = False) -> Refusing:
        return self

    async def set(self, key: str, value: Buffer) -> None:
        if self.doing == "set":
            raise OSError(self.number, os.strerror(self.number), key)
        await super().set(key, value)

    async def get(self, key: str, *arguments: Any, **options: Any) -> Buffer | None:
        if self.doing == "get":
            raise OSError(self.number, os.strerror(self.number), key)
        return await super().get(key, *arguments, **options)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "the disk is full: make room"),
        (errno.EROFS, "mounted read-only"),
        (errno.ENOTCONN, "mount it again"),
    ],
)
def test_whatever_refuses_is_one_line_that_says_what_to_do(
    tmp_path: Path, number: int, advice: str
) -> None:
    location = write_small_store(tmp_path, {"001": {}})
    refusing = Location(Refusing(LocalStore(tmp_path), number, "set"))
    for write in (
        lambda: write_video(refusing, "002"),
        lambda: write_index(refusing, []),
        lambda: write_wanted(refusing, {"001": ["x"]}),
        lambda: create_store(refusing, "small", {"changed": 1}),
    ):
        with pytest.raises(StoreUnreachable, match=f"cannot be reached: .*{advice}") as raised:
            write()
        assert isinstance(raised.value, OSError)
        assert "\n" not in str(raised.value)
    repair_metadata(location)
    assert verify(location) == []


def test_a_lost_connection_is_no_damage(tmp_path: Path) -> None:
    write_small_store(tmp_path, {"001": {}})
    lost = Location(Refusing(LocalStore(tmp_path), errno.ENOTCONN, "get"), read_only=True)
    for read in (check_format, read_journal, verify):
        with pytest.raises(StoreUnreachable, match="mount it again"):
            read(lost)


def test_torn_writes_are_swept(tmp_path: Path) -> None:
    location = write_small_store(tmp_path, {"001": {}})
    for folder in ("", "videos/001/density/c/0", "_foveal/001", "_foveal/%store"):
        (tmp_path / folder / "x.0f.partial").write_text("{")
    assert sum("torn write" in line for line in repair_metadata(location)) == 4
    assert not list(tmp_path.rglob("*.partial"))
    assert repair_metadata(location) == []


def test_what_is_damaged_and_only_that_is_forgotten(tmp_path: Path) -> None:
    location = write_small_store(tmp_path, {"001": {}, "002": {}})
    shard = tmp_path / "videos/001/density/c/1/0/0"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert [each.stage for each in forget_damaged(location, ["001", "never seen"])] == ["density"]
    marks, _ = read_journal(location)
    assert set(marks["002"]) - set(marks["001"]) == {"density"}
    assert forget_damaged(location) == []


def test_marks_carry_a_digest_that_an_older_foveal_reads_past() -> None:
    location = write_small_store(MemoryStore(), {"001": {"stages": ("time",)}})
    values = location.read_json("_foveal/001/time.json")
    assert re.fullmatch("[0-9a-f]{64}", values["provenance"]["digest"])
    text = json.dumps(values).replace('"fps": 10.0', '"fps": 11.0')
    location.write("_foveal/001/time.json", text.encode())
    (damage,) = read_journal_with_damage(location).damaged
    assert "its digest is not that of its content" in damage.reason
