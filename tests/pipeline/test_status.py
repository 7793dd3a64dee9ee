"""How a build gets on, as anybody sees it who can read the store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from builds import recipe_values, write_raw
from typer.testing import CliRunner

from foveal.cli import app
from foveal.pipeline.build.build import Build
from foveal.pipeline.build.progress import Silent
from foveal.pipeline.build.status import build_status
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.meter import Meter
from foveal.storage.holders import HOLDERS
from foveal.storage.location import Location
from foveal.storage.log import log_names, read_log
from foveal.storage.verify import verify


class Asking(Silent):
    """Asks for the status once, in the middle of a video."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.build: Build | None = None
        self.seen: dict[str, Any] = {}

    def advanced(self, video: str, frames: int, expected: int | None, meter: Meter) -> None:
        if video == "002" and not self.seen and self.build is not None:
            assert self.build.claims is not None
            self.build.claims.beat()
            self.seen = build_status(self.location)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Location, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("status")
    values = recipe_values(write_raw(folder / "raw"), folder / "store.zarr")
    location = Location(folder / "store.zarr")
    asking = Asking(location)
    with Build.open(Recipe.parse(values), asking).at_work() as build:
        asking.build = build
        plan = build.plan()
        build.remember(plan)
        sizes = {one.video.id: one.contents["video"].total_bytes for one in plan.to_do}
        build.listener.planned(sizes, plan.settled)
        build.finalise([build.run(one.video.id) for one in plan.to_do])
    return location, asking.seen


def test_a_build_is_seen_while_it_runs(watched: tuple[Location, dict[str, Any]]) -> None:
    _, seen = watched
    assert [(one["pid"], one["doing"]) for one in seen["processes"]] == [(os.getpid(), "build")]
    assert seen["videos"] == {"all": 3, "complete": 1, "pending": 2}
    ((video, about),) = seen["at_work"].items()
    assert video == "002"
    assert about["process"].startswith(f"process {os.getpid()} on ")
    assert 0 < about["frames"] <= (about["expected"] or 10**9)
    assert about["slowest"] in seen["shares"]
    assert {"frames", "flow_tvl1", "density", "decoder"} <= seen["shares"].keys()
    assert sum(seen["shares"].values()) == pytest.approx(1)
    assert list(seen["shares"].values()) == sorted(seen["shares"].values(), reverse=True)
    assert seen["left_seconds"] >= 0  # rounded: what is left may take no tenth of a second
    assert seen["last"] is None


def test_afterwards_nobody_is_at_work_and_the_log_tells_all(
    watched: tuple[Location, dict[str, Any]],
) -> None:
    location, _ = watched
    after = build_status(location)
    assert after["processes"] == []
    assert after["videos"] == {"all": 3, "complete": 3}
    assert after["last"]["how"] == "finished"
    (name,) = log_names(location)
    events = read_log(location, name)
    assert [event["event"] for event in events] == [
        "planned",
        *(["started", "ended"] * 3),
        "left",
    ]
    assert events[0]["videos"] == 3
    ended = [event for event in events if event["event"] == "ended"]
    assert [(one["status"], one["frames"] > 0) for one in ended] == [("complete", True)] * 3
    assert all(set(one["stages"]) <= one["seconds"].keys() | {"time"} for one in ended)
    assert verify(location) == []


def test_the_command_shows_it_to_people_and_machines(
    watched: tuple[Location, dict[str, Any]],
) -> None:
    location, _ = watched
    shown = CliRunner().invoke(app, ["status", str(location)])
    assert shown.exit_code == 0
    assert "nobody is at work" in shown.output
    assert "3 videos: 3 complete" in shown.output
    told = json.loads(CliRunner().invoke(app, ["status", str(location), "--json"]).output)
    assert told["videos"] == {"all": 3, "complete": 3}


def test_garbled_records_are_no_status(tmp_path: Path) -> None:
    values = recipe_values(write_raw(tmp_path / "raw"), tmp_path / "store.zarr")
    with Build.open(Recipe.parse(values)).at_work():
        location = Location(tmp_path / "store.zarr")
        record = {"id": "x", "work": "w", "host": "far", "pid": 1, "process": "p"}
        record |= {"lease_seconds": 5.0, "beat": 3}
        for number, about in enumerate(
            [7, "text", {"at_work": 3, "meter": [], "to_do": {"videos": "many"}},
             {"at_work": {"v": 1, "w": {"frames": "x"}}, "meter": {"frames": 1}}]
        ):  # fmt: skip
            values = {**record, "id": f"x{number}", "about": about}
            location.write(f"{HOLDERS}/x{number}", json.dumps(values).encode())
        seen = build_status(location)
        assert seen["at_work"].keys() == {"w"}
        assert seen["left_seconds"] is None


def test_a_log_cut_off_in_the_middle_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    location = Location(tmp_path / "store.zarr")
    name = "20261128T070000Z-0123abcd.jsonl"
    content = b'{"event": "planned", "at": "x"}\n[1]\nnull\n{"event": "sta'
    location.write(f"_foveal/%store/log/{name}", content)
    location.write("_foveal/%store/log/notes.txt", b"")
    assert log_names(location) == [name]
    assert [event["event"] for event in read_log(location, name)] == ["planned"]


def test_meters_add_up() -> None:
    one, other = Meter({"flow": 3.0, "decoder": 1.0}, 40), Meter({"flow": 1.0}, 10)
    one.join(other)
    assert one == Meter({"flow": 4.0, "decoder": 1.0}, 50)
    assert one.slowest == "flow"
    assert one.shares() == {"flow": 0.8, "decoder": 0.2}
    assert one.frames_per_second() == {"flow": 12.5, "decoder": 50.0}
    assert Meter.of(one.to_dict()) == one
    assert Meter().slowest is None
