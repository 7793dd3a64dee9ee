"""A build may die between any two operations on the store: nothing false is ever visible.

The store counts its changing operations (``set``, ``delete``, ``delete_dir``) and dies before the
N-th, for every N; it is then looked at with fresh eyes, and the build is started again.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore, MemoryStore, WrapperStore

from foveal.errors import StoreError, StoreLocked
from foveal.storage.location import Location
from foveal.storage.marks import fingerprint, group_name, read_journal
from foveal.storage.root import create_store, store_lock
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter
from foveal.storage.zarr_internals import Buffer

FRAMES = ArraySpec(
    "frames", ("time", "y", "x"), (4, 5), np.dtype("uint8"), {}, 2, 4, axis="frame", kind="map"
)
X = ArraySpec(
    "fixation_x", ("fixation",), (), np.dtype("float32"), {}, 8, 8, axis="point", kind="points"
)
Y = ArraySpec(
    "fixation_y", ("fixation",), (), np.dtype("float32"), {}, 8, 8, axis="point", kind="points"
)
VIDEOS = ("a/1",)


class Killed(BaseException):
    """No `Exception`: nothing may catch it on the way, as nothing catches SIGKILL."""


class MortalStore(WrapperStore[Store]):
    """Dies before the operation number `lives`, and stays dead."""

    def __init__(self, store: Store, lives: int | None = None) -> None:
        super().__init__(store)
        self.lives = lives
        self.operations = 0

    def with_read_only(self, read_only: bool = False) -> MortalStore:
        return self

    def _count(self) -> None:
        if self.lives is not None and self.operations >= self.lives:
            raise Killed
        self.operations += 1

    async def set(self, key: str, value: Buffer) -> None:
        self._count()
        await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        self._count()
        await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        self._count()
        await super().delete(key)

    async def delete_dir(self, prefix: str) -> None:
        # One object at a time, as object stores do: a kill may come between any two.
        prefix = prefix.rstrip("/") + "/"
        for key in sorted([key async for key in self._store.list_prefix(prefix)]):
            await self.delete(key)


def values_of(video: str, version: int) -> tuple[np.ndarray, np.ndarray]:
    seed = int(hashlib.sha256(f"{video}{version}".encode()).hexdigest()[:8], 16)
    rng = np.random.default_rng(seed)
    return rng.integers(1, 255, (11 - version, 4, 5), np.uint8), rng.random(20).astype("f4") + 1


def build(location: Location, version: int) -> None:
    """What a build does to the store: stages without a fitting mark are made anew."""
    create_store(location, "test", {"version": version})
    for video in VIDEOS:
        marks, _ = read_journal(location, [video])
        found = marks.get(video, {})
        identities = {name: {"stage": name, "version": version} for name in ("frames", "fixations")}
        pending = [
            name
            for name, identity in identities.items()
            if name not in found or found[name].fingerprint != fingerprint(identity)
        ]
        if not pending:
            continue
        specs = {"frames": [FRAMES], "fixations": [X, Y]}
        writer = VideoWriter(location, video, {"video": video, "version": version})
        writer.invalidate(
            [name for name in pending if name in found],
            [spec.name for name in pending for spec in specs[name]],
        )
        frames, points = values_of(video, version)
        for name in pending:
            stage = writer.stage(name, identities[name], specs[name])
            if name == "frames":
                for start in range(0, len(frames), 3):
                    stage.append({"frames": frames[start : start + 3]})
            else:
                stage.append({"fixation_x": points, "fixation_y": points + 1})
            stage.complete({})


def check_truth(location: Location, versions: tuple[int, ...]) -> None:
    """Whatever is visible is whole, and whatever is marked is there, byte for byte."""
    for video in VIDEOS:
        group = f"videos/{group_name(video)}"
        for name in ("frames", "fixation_x", "fixation_y"):
            if location.read(f"{group}/{name}/zarr.json") is None:
                continue
            stored = zarr.open_array(location.zarr, path=f"{group}/{name}", mode="r")[:]
            assert any(np.array_equal(stored, expected(video, v)[name]) for v in versions), name
    for video, marks in read_journal(location)[0].items():
        for mark in marks.values():
            assert mark.fingerprint == fingerprint(mark.identity)
            for array, about in mark.arrays.items():
                for key, sha256 in about["sha256"].items():
                    content = location.read(f"videos/{group_name(video)}/{array}/{key}")
                    assert content is not None
                    assert hashlib.sha256(content).hexdigest() == sha256


def expected(video: str, version: int) -> dict[str, np.ndarray]:
    frames, points = values_of(video, version)
    return {"frames": frames, "fixation_x": points, "fixation_y": points + 1}


def content_of(location: Location) -> dict[str, bytes | None]:
    """Every object, marks without the seconds they took."""
    keys = [key for key in location.list_all("") if not key.startswith("_foveal/")]
    content: dict[str, Any] = {key: location.read(key) for key in keys}
    for video, marks in read_journal(location)[0].items():
        for name, mark in marks.items():
            content[f"{video} {name}"] = (mark.identity, mark.arrays)
    return content


@pytest.fixture
def new_store(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str, str], Store]:
    """Makes an empty store of a kind, under a name."""

    def new(kind: str, name: str) -> Store:
        if kind == "memory":
            return MemoryStore()
        if kind == "local":
            return LocalStore(tmp_path / name)
        bucket = request.getfixturevalue("bucket")
        return Location(f"{bucket}/{tmp_path.name}/{name}").zarr

    return new


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "step"),
    # The others differ only in how objects are written: some deaths will do.
    [("memory", 1), ("local", 4), ("s3", 9)],
)
@pytest.mark.parametrize("again", [False, True], ids=["first build", "rebuild"])
def test_a_death_before_any_operation_leaves_the_truth_and_a_restart_mends_it(
    kind: str, step: int, again: bool, new_store: Callable[[str, str], Store]
) -> None:
    reference = Location(new_store(kind, "reference"))
    if again:
        build(reference, 1)
    counting = MortalStore(reference.zarr)
    build(Location(counting), 2)
    undisturbed = content_of(reference)
    assert counting.operations > (25 if again else 12)

    for lives in range(0, counting.operations, step):
        store = new_store(kind, str(lives))
        if again:
            build(Location(store), 1)
        with pytest.raises(Killed):
            build(Location(MortalStore(store, lives)), 2)
        location = Location(store)
        check_truth(location, (1, 2) if again else (2,))
        build(location, 2)
        check_truth(location, (2,))
        assert content_of(location) == undisturbed, f"after a death before operation {lives}"


def test_a_complete_build_changes_nothing_when_repeated() -> None:
    store = MortalStore(MemoryStore())
    build(Location(store), 1)
    first = store.operations
    build(Location(store), 1)
    assert store.operations == first


# The lock

HOLD = """
import sys, time
from foveal.storage.location import Location
from foveal.storage.root import store_lock
with store_lock(Location(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold_lock(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_one_process_holds_the_lock_and_it_dies_with_it(tmp_path: Path) -> None:
    location = Location(tmp_path / "store.zarr")
    holder = hold_lock(tmp_path / "store.zarr")
    try:
        with (
            pytest.raises(StoreLocked, match=f"is being built by process {holder.pid} on"),
            store_lock(location),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with store_lock(location):
            text = (tmp_path / "store.zarr/_foveal/lock").read_text()
            assert text.startswith(f"{os.getpid()} on ")
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()


def test_the_lock_is_free_again_after_the_block_even_when_it_fails(tmp_path: Path) -> None:
    location = Location(tmp_path / "store.zarr")
    with pytest.raises(KeyError), store_lock(location):
        raise KeyError
    with store_lock(location), pytest.raises(StoreLocked), store_lock(location):
        pass


def test_the_lock_may_be_taken_before_the_store_exists(tmp_path: Path) -> None:
    location = Location(tmp_path / "store.zarr")
    with store_lock(location):
        build(location, 1)
    # And where a kill came between the two.
    other = Location(tmp_path / "other.zarr")
    with store_lock(other):
        pass
    assert not (tmp_path / "other.zarr").exists()
    build(other, 1)
    assert content_of(other) == content_of(location)


def test_a_foreign_folder_is_not_even_locked(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    with pytest.raises(StoreError, match="not empty"), store_lock(Location(tmp_path)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_stores_that_are_no_folders_are_locked_too() -> None:
    location = Location(MemoryStore())
    with store_lock(location), pytest.raises(StoreLocked), store_lock(location):
        pass
    assert location.list_all("") == []


# A real death

BUILD = """
import sys
sys.path.insert(0, sys.argv[2])
import test_crash
from foveal.storage.location import Location
print("ready", flush=True)
for version in range(1, 1000):
    test_crash.build(Location(sys.argv[1]), version % 5)
"""


@pytest.mark.slow
@pytest.mark.parametrize("milliseconds", [5, 40, 110])
def test_sigkill_at_any_moment(tmp_path: Path, milliseconds: int) -> None:
    path = tmp_path / "store.zarr"
    folder = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(path), folder], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(milliseconds / 1000)
    process.kill()
    process.wait()
    process.stdout.close()
    location = Location(path)
    if location.read("zarr.json") is not None:
        check_truth(location, tuple(range(5)))
    build(location, 3)
    check_truth(location, (3,))
    fresh = Location(MemoryStore())
    build(fresh, 3)
    assert content_of(location) == content_of(fresh)


@pytest.mark.parametrize("folder", ["", "videos", "videos/a%2F1", "_foveal/a%2F1"])
def test_a_torn_write_is_swept_away(tmp_path: Path, folder: str) -> None:
    build(Location(tmp_path), 1)
    assert (tmp_path / folder).is_dir()
    torn = tmp_path / folder / "zarr.0f.partial"
    torn.write_text("{")
    build(Location(tmp_path), 2)
    assert not torn.exists()
