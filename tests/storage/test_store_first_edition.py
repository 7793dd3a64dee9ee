"""A store that commit 4678730 built, before anything in it had a checksum, a digest or a copy."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

import foveal
from foveal.storage.location import Location
from foveal.storage.marks import read_journal
from foveal.storage.repair import forget_damaged, repair_metadata
from foveal.storage.root import create_store, store_lock
from foveal.storage.verify import verify

ARCHIVE = Path(__file__).parents[1] / "data" / "first_edition.tar.xz"


@pytest.fixture
def location(tmp_path: Path) -> Location:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return Location(tmp_path / "store.zarr")


def test_it_is_whole_and_what_it_lacks_is_noted(location: Location) -> None:
    problems = verify(location)
    assert {problem.kind for problem in problems} == {"unchecked"}
    notes = {problem.key: problem.message for problem in problems}
    assert "chunks of frames carry no checksum in 001" in notes["frames"]
    assert any("marks carry no digest" in message for message in notes.values())
    assert any("no second copy" in message for message in notes.values())


def test_mending_it_adds_what_it_lacks_and_forgets_nothing(location: Location) -> None:
    opened = foveal.open_store(location.url)
    marks, quarantined = read_journal(location)
    before = {video: opened[video].load() for video in marks}
    with store_lock(location):
        create_store(location, opened.dataset, opened.recipe)
        assert forget_damaged(location) == []
        assert repair_metadata(location)
        assert repair_metadata(location) == []
    assert read_journal(location) == (marks, quarantined)
    assert all("chunks of" in problem.message for problem in verify(location))
    again = foveal.open_store(location.url)
    assert again.videos.status.equals(opened.videos.status)
    for video, dataset in before.items():
        assert again[video].identical(dataset)
