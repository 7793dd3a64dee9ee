"""``make serve`` as a lab uses it: one real server and worker, deployments, runs that are watched,
cancelled, started again and started twice; and Ctrl-C, which ends all of it.

It is one test: a second process of pytest would otherwise start a second server.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from faults.damages import LONG
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.settings import PREFECT_API_URL, temporary_settings
from stopping import (
    FRAMES,
    ONE_BATCH_TAKES_MINUTES,
    PARENT,
    assert_only_whole_work_is_left,
    ffmpegs,
    living,
    own_environment,
    runs_of,
    until,
    write_recipe,
)

from foveal.flows.server import free_port
from foveal.pipeline.build.status import build_status
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.verify import verify

ROOT = Path(__file__).parents[2]
RUNS = 2
PATIENCE_SECONDS = 300.0 if LONG else 200.0


class Lab:
    """A running ``make serve``: what it printed, and its deployments."""

    def __init__(self, process: subprocess.Popen[str], environment: dict[str, str]) -> None:
        self.process = process
        self.environment = environment
        assert process.stdout is not None
        self.said = "".join(process.stdout.readline() for _ in range(3))

    def prefect(self, *arguments: str) -> str:
        """A command of docs/operations.md."""
        return subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            env=self.environment,
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        ).stdout

    def run(self, deployment: str, recipe: Path) -> UUID:
        """Ask for a run, as the form of the UI does."""
        with get_client(sync_client=True) as client:
            found = client.read_deployment_by_name(f"build-store/{deployment}")
            given = {"recipe": str(recipe), "workers": 1}
            return client.create_flow_run_from_deployment(found.id, parameters=given).id


@contextmanager
def lab_at(home: Path) -> Iterator[Lab]:
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    environment = own_environment(home, PREFECT_API_URL=api)
    command = [sys.executable, "-m", "foveal.flows.serve", "--port", str(port), "--runs", str(RUNS)]
    process = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        with temporary_settings({PREFECT_API_URL: api}):
            yield Lab(process, environment)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(90)


def log_of(run: UUID) -> str:
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
    with get_client(sync_client=True) as client:
        return "\n".join(line.message for line in client.read_logs(wanted))


def built_by(run: UUID) -> set[str]:
    """Videos that a run computed itself, by its table."""
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=wanted)
    (table,) = [one for one in found if one.type == "table"]
    assert "report.html](file://" in str(table.description)
    rows = json.loads(str(table.data))
    assert {row["video"] for row in rows} == {"clip0", "clip1", "clip2"}
    return {row["video"] for row in rows if row["status"] == "complete"}


def ended(run: UUID) -> Any:
    """The state of a run that has ended."""
    return until(
        lambda: (state := runs_of(run)[0].state) and state.is_final() and state, PATIENCE_SECONDS
    )


def cancelled(lab: Lab, run: UUID, store: Path, clips: Path) -> None:
    """Cancel a run in the middle of a video, and see what is left."""
    until(lambda: ffmpegs(clips), PATIENCE_SECONDS)
    time.sleep(1)
    lab.prefect("flow-run", "cancel", str(run))
    until(lambda: not ffmpegs(clips), 60)
    until(lambda: runs_of(run)[0].state_name == "Cancelled", 60)
    assert_only_whole_work_is_left(store)
    until(lambda: [task.state_name for task in runs_of(run)[1]] == ["Cancelled"], 10)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_lab_takes_over(long_clips: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    recipes = []
    for folder, flow in ((first, [{"method": "tvl1"}]), (second, ONE_BATCH_TAKES_MINUTES)):
        folder.mkdir()
        recipes.append(write_recipe(folder, long_clips, flow))
    with lab_at(tmp_path / "prefect") as lab:
        assert lab.said.startswith("http://127.0.0.1:"), "it prints the address of the UI"
        assert "build-store, build-nightly, train-model" in lab.said
        parts = living(PARENT, lab.process.pid)
        assert len(parts) == 2, "the server and the worker"
        _deployed_as_written()

        # Run, watch, cancel in the middle.
        told = lab.prefect("deployment", "run", "build-store/build-store", "--param",
                           f"recipe={recipes[0]}", "--param", "workers=1")  # fmt: skip
        assert "build-store/build-store" in told
        run = until(_latest_run)
        until(lambda: ffmpegs(long_clips), PATIENCE_SECONDS)
        status = until(lambda: (_at_work(first) or {}).get("processes"))
        assert status[0]["doing"].startswith("build")
        cancelled(lab, run, first / "store.zarr", long_clips)
        assert runs_of(run)[0].name == "videos into store.zarr"

        # Again, by two deployments at once: they share what is left, both end when all is done.
        done = {name for name, mark in _marks(first).items() if "flow_tvl1" in mark}
        runs = [lab.run("build-store", recipes[0]), lab.run("build-nightly", recipes[0])]
        assert [ended(run).name for run in runs] == ["Completed", "Completed"]
        mine, others = map(built_by, runs)
        assert not mine & others, "no video is built twice"
        assert mine | others == {"clip0", "clip1", "clip2"} - done
        assert all("Traceback" not in log_of(run) for run in runs)
        index = open_store(first / "store.zarr").videos
        assert (index["status"] == "complete").all()
        assert (index["frames"] == FRAMES).all()
        assert verify(Location(first / "store.zarr")) == []

        # A batch that takes minutes is no shelter, neither from cancelling nor from Ctrl-C.
        if LONG:
            cancelled(lab, lab.run("build-store", recipes[1]), second / "store.zarr", long_clips)
        lab.run("build-store", recipes[1])
        until(lambda: ffmpegs(long_clips), PATIENCE_SECONDS)
        lab.process.send_signal(signal.SIGINT)
        assert lab.process.wait(120) == 130
        assert lab.process.stdout is not None
        assert lab.process.stdout.read().endswith("goes on\n")
        assert not ffmpegs(long_clips)
        assert [part for part in parts if Path(f"/proc/{part}").exists()] == []
        assert_only_whole_work_is_left(second / "store.zarr")
        assert (
            _states(tmp_path / "prefect") == ["CANCELLED"] * (3 if LONG else 2) + ["COMPLETED"] * 2
        )


def _states(home: Path) -> list[str]:
    """How the runs stand when the server has gone."""
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        return sorted(state for (state,) in database.execute("select state_type from flow_run"))


def _deployed_as_written() -> None:
    with get_client(sync_client=True) as client:
        pool = client.read_work_pool("foveal")
        assert (pool.type, pool.concurrency_limit) == ("process", RUNS)
        for name, limit in (("build-store/build-store", None), ("build-store/build-nightly", 1),
                            ("train-model/train-model", 1)):  # fmt: skip
            found = client.read_deployment_by_name(name)
            had = found.global_concurrency_limit
            assert (None if had is None else had.limit) == limit
            fields = found.parameter_openapi_schema["properties"]
            assert [key for key, one in fields.items() if not one.get("description")] == []
        nightly = client.read_deployment_by_name("build-store/build-nightly")
        (schedule,) = nightly.schedules
        assert schedule.active is False


def _latest_run() -> UUID | None:
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name("build-store/build-store")
        of = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[found.id]))
        runs = client.read_flow_runs(flow_run_filter=of)
    return runs[0].id if runs else None


def _at_work(folder: Path) -> dict[str, Any] | None:
    return build_status(Location(folder / "store.zarr", read_only=True))


def _marks(folder: Path) -> dict[str, Any]:
    from foveal.storage.marks import read_journal

    return dict(read_journal(Location(folder / "store.zarr"))[0])


def test_a_port_that_is_taken_is_said_in_a_line(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "foveal.flows.serve", "--port", port]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"serve: 127.0.0.1:{port} cannot be listened on")
    assert done.stderr.count("\n") == 1
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "foveal.flows.serve"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, "run this in a clone" in done.stderr) == (1, True)
