import hashlib
import json
from pathlib import Path

import pytest
from small_stores import STAGES, edit_mark, write_small_store

from foveal.errors import StoreError
from foveal.storage.location import Location
from foveal.storage.root import create_store
from foveal.storage.verify import verify

DENSITY = "videos/001/density"


@pytest.fixture(params=["folder", "memory"])
def location(request, tmp_path):
    url = tmp_path / "small.zarr" if request.param == "folder" else f"memory://{tmp_path}"
    write_small_store(url, {"001": {}, "002": {"frames": 9}})
    return Location(url)


def found(location, **options):
    return [(problem.kind, problem.video, problem.key) for problem in verify(location, **options)]


def test_a_whole_store_has_no_problems(location):
    seen = []
    assert verify(location, progress=lambda done, total: seen.append((done, total))) == []
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.slow
def test_every_object_of_every_stage_is_read(location):
    for video in ("001", "002"):
        for key in location.list_all(f"videos/{video}"):
            if key == f"videos/{video}/zarr.json":
                continue
            whole = location.read(key)
            location.write(key, bytes([whole[0] ^ 1]) + whole[1:])
            problems = verify(location, [video])
            location.write(key, whole)
            assert (video, key) in {(problem.video, problem.key) for problem in problems}
            assert not any(problem.is_note for problem in problems)
    assert verify(location) == []


def test_a_deleted_shard_is_named(location):
    location.delete(f"{DENSITY}/c/1/0/0")
    problems = verify(location)
    assert [problem.kind for problem in problems] == ["missing"]
    assert problems[0].key == f"{DENSITY}/c/1/0/0"
    assert problems[0].stage == "density"


def test_a_deleted_array_is_missing_metadata_and_all(location):
    location.delete_folder(DENSITY)
    assert [kind for kind, _, _ in found(location)] == ["missing"] * 4


def test_leftovers_are_notes(location):
    location.write(f"{DENSITY}/c/7/0/0", b"from a killed build")
    location.write("videos/003/frames/c/0/0/0/0", b"from a killed build")
    problems = verify(location)
    assert [problem.kind for problem in problems] == ["leftover", "leftover"]
    assert [problem.video for problem in problems] == ["001", "003"]
    assert all(problem.is_note for problem in problems)


def test_a_mark_whose_identity_was_edited_is_found(location):
    edit_mark(location, "001", "density", lambda mark: mark["identity"].update(version=2))
    assert found(location) == [("mark", "001", "_foveal/001/density.json")]


def test_a_mark_that_lists_too_few_shards_is_found(location):
    def forget(mark):
        del mark["arrays"]["density"]["sha256"]["c/1/0/0"]

    edit_mark(location, "001", "density", forget)
    kinds = [problem.kind for problem in verify(location)]
    assert sorted(kinds) == ["leftover", "mark"]


def test_metadata_that_disagree_with_their_mark_are_found(location):
    def edit(mark):
        mark["arrays"]["density"]["dtype"] = "float32"

    edit_mark(location, "001", "density", edit)
    problems = verify(location)
    assert [problem.kind for problem in problems] == ["metadata"]
    assert "uint8" in problems[0].message
    assert "float32" in problems[0].message


def test_an_array_out_of_step_with_the_timeline_is_found(location):
    def shorten(mark):
        mark["arrays"]["time"]["shape"] = [19]

    edit_mark(location, "001", "time", shorten)
    kinds = {problem.kind for problem in verify(location)}
    assert kinds == {"metadata", "alignment"}


def test_a_stage_made_from_something_replaced_is_stale(location):
    def edit(mark):
        mark["identity"]["upstream"] = {"time": "0" * 64}
        text = json.dumps(
            mark["identity"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        mark["fingerprint"] = hashlib.sha256(text.encode()).hexdigest()

    edit_mark(location, "001", "frames", edit)
    assert found(location) == [("stale", "001", "_foveal/001/frames.json")]


def test_a_garbled_mark_is_a_problem_not_a_crash(location):
    location.write("_foveal/001/density.json", b"{")
    problems = verify(location)
    assert [problem.kind for problem in problems if not problem.is_note] == ["mark"]
    assert (problems[0].stage, problems[0].key) == ("density", "_foveal/001/density.json")
    assert "density.json is damaged" in problems[0].message


def test_garbled_metadata_are_a_problem_not_a_crash(location):
    location.write(f"{DENSITY}/zarr.json", b"{")
    assert {kind for kind, _, _ in found(location)} == {"metadata", "changed"}


def test_only_the_wanted_videos_are_read(location):
    location.delete(f"{DENSITY}/c/1/0/0")
    assert verify(location, videos=["002"]) == []
    with pytest.raises(StoreError, match="no video '007'"):
        verify(location, videos=["007"])


def test_a_file_larger_than_a_block_is_hashed_whole(tmp_path):
    location = write_small_store(tmp_path, {"001": {"stages": STAGES[:1]}})
    large = bytes(range(256)) * 2**16 + b"end"
    key = "videos/001/time/c/0"
    location.write(key, large)

    def edit(mark):
        mark["arrays"]["time"]["sha256"]["c/0"] = hashlib.sha256(large).hexdigest()

    edit_mark(location, "001", "time", edit)
    assert verify(location) == []
    location.write(key, large[:-1] + b"D")
    assert found(location) == [("changed", "001", key)]


def test_a_store_whose_build_was_stopped_as_it_began_is_whole(tmp_path: Path) -> None:
    location = Location(tmp_path / "store.zarr")
    create_store(location, "test", {})
    for key in ("videos/zarr.json", "_foveal/%store/videos"):
        location.delete(key)
    (tmp_path / "store.zarr/videos").rmdir()
    assert verify(location) == []
