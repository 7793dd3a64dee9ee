"""A mark that is gone while the index tells of its stage is named by whoever reads; one that a
build took away is not."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
from small_stores import write_small_store
from typer.testing import CliRunner

import foveal
from foveal.cli import app
from foveal.errors import ChecksumError, DamageWarning
from foveal.pipeline.learn.baselines import mean_density
from foveal.storage.location import Location
from foveal.storage.lost import read_damage
from foveal.storage.repair import forget_damaged
from foveal.storage.root import store_lock
from foveal.storage.statistics import compute_statistics
from foveal.storage.verify import verify
from foveal.storage.wanted import write_wanted
from foveal.torch import Clips

NAMED = "density.json is missing, though the index says that density of 002 is complete"


@pytest.fixture
def location(tmp_path: Path) -> Location:
    videos: dict[str, dict[str, object]] = {"001": {}, "002": {}, "003": {"split": "val"}}
    location = write_small_store(tmp_path / "s.zarr", videos)
    write_wanted(location, dict.fromkeys(videos, ("time", "density")))
    (tmp_path / "s.zarr/_foveal/002/density.json").unlink()
    return location


def test_every_reader_names_it(location: Location) -> None:
    store = foveal.open_store(location.url)
    with pytest.warns(DamageWarning, match=NAMED):
        assert "density" not in store["002"]
    with pytest.warns(DamageWarning), pytest.raises(ChecksumError, match=NAMED):
        store.array("002", "density")
    with pytest.warns(DamageWarning, match=NAMED):
        assert store.lazy("density").attrs["left_out"] == ["002"]
    with pytest.warns(DamageWarning, match=NAMED):
        Clips(store, "train", frames=4)
    with pytest.raises(ChecksumError, match=NAMED):
        compute_statistics(store)
    with pytest.raises(ChecksumError, match=NAMED):
        mean_density(store, ["001", "002"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute_statistics(store, "val")
        store["001"].load()


def test_a_video_without_any_mark_is_not_taken_for_one_that_was_never_built(
    location: Location,
) -> None:
    shutil.rmtree(Path(location.url) / "_foveal/001")
    shutil.rmtree(Path(location.url) / "videos/001")
    with pytest.warns(DamageWarning), pytest.raises(ChecksumError, match="frames of 001"):
        foveal.open_store(location.url)["001"]
    assert {problem.video for problem in verify(location) if not problem.is_note} == {"001", "002"}


def test_verify_and_inspect_name_it(location: Location) -> None:
    found = [problem for problem in verify(location) if not problem.is_note]
    assert [(each.stage, each.kind) for each in found] == [("density", "missing")]
    assert NAMED in found[0].message
    shown = CliRunner().invoke(app, ["verify", location.url])
    assert shown.exit_code == 3
    for arguments in ([], ["002"]):
        shown = CliRunner().invoke(app, ["inspect", location.url, *arguments])
        assert NAMED in shown.output
    about = json.loads(CliRunner().invoke(app, ["inspect", location.url, "--json"]).output)
    assert [row["status"] for row in about["videos"]] == ["complete", "partial", "complete"]
    assert [each["stage"] for each in about["damaged"]] == ["density"]


def test_what_a_build_takes_away_is_no_loss(location: Location) -> None:
    assert [each.stage for each in read_damage(location)] == ["density"]
    with store_lock(location):
        assert read_damage(location) == []
    # As after a build that was killed: until the next one ends nobody can tell.
    assert read_damage(location) == []


def test_what_is_forgotten_to_be_computed_again_is_no_loss(location: Location) -> None:
    assert [each.stage for each in forget_damaged(location)] == ["density"]
    assert forget_damaged(location) == []
