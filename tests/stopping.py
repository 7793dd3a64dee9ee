"""Builds that are stopped in the middle: a recipe, who is at work, what has to be left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, TaskRun

from foveal.storage.location import Location
from foveal.storage.marks import read_journal
from foveal.storage.verify import verify

FRAMES = 240
SECONDS = 10.0
"""Within so many a stopped build is gone, on a machine that is busy with other things too."""

ONE_BATCH_TAKES_MINUTES = [{"method": "tvl1", "compute_size": [1500, 2000], "size": [24, 32]}]


def write_recipe(folder: Path, clips: Path, flow: Any = ({"method": "tvl1"},)) -> Path:
    path = folder / "recipe.yaml"
    values = {
        "dataset": {"kind": "videos", "root": str(clips)},
        "store": str(folder / "store.zarr"),
        "frames": {"size": [36, 48]},
        "flow": list(flow),
    }
    path.write_text(yaml.safe_dump(values))
    return path


def ffmpegs(clips: Path) -> list[int]:
    """Processes that decode one of these videos."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"file:{clips}/".encode() in command.read_bytes():
                found.append(int(command.parent.name))
    return found


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.1)
    return found


def assert_only_whole_work_is_left(store: Path) -> None:
    """Nothing is quarantined, what is marked is right, and not everything is."""
    marks, quarantined = read_journal(Location(store))
    assert quarantined == {}
    assert sum(len(stages) for stages in marks.values()) < 9
    assert [problem for problem in verify(Location(store)) if not problem.is_note] == []


PARENT, SESSION = 1, 3
"""Fields of ``/proc/N/stat`` after the command's name."""


def living(field: int, value: int) -> list[int]:
    """Processes that live and have this value in a field: `PARENT` or `SESSION`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[field]) == value and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def own_environment(home: Path, **more: str) -> dict[str, str]:
    environment = {**os.environ, "PREFECT_HOME": str(home), **more}
    if "PREFECT_API_URL" not in more:
        environment.pop("PREFECT_API_URL", None)
    return environment


def runs_of(flow_run: UUID) -> tuple[FlowRun, list[TaskRun]]:
    """A flow run as the server knows it, and its task runs."""
    with get_client(sync_client=True) as client:
        this = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
        return client.read_flow_run(flow_run), client.read_task_runs(flow_run_filter=this)
