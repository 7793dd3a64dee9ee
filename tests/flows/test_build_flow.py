"""The Prefect flow: names, states, table, batching; and a deployment run by Prefect's commands."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from builds import recipe_values
from prefect import flow, get_run_logger
from prefect.utilities.callables import parameter_schema
from stopping import SESSION, living

from foveal.errors import RecipeError
from foveal.flows.artifacts import Bar, artifact_key
from foveal.flows.build import MAX_WORKERS, build_store, default_workers
from foveal.flows.videos import BATCH_FRAMES, batches, summary
from foveal.pipeline.build.build import Build
from foveal.pipeline.build.plan import VideoPlan
from foveal.pipeline.build.run import Status, VideoResult
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.video.types import Video
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.root import store_lock
from foveal.storage.verify import verify


def test_the_flow_builds_tells_and_names_its_tasks(api: str, raw: Path, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    recipe = recipe_values(raw, tmp_path / "store.zarr")
    state = build_store(recipe, return_state=True)
    assert state.is_completed()
    assert state.message == "3 videos: 3 complete"
    assert {result.video for result in state.result()} == {"001", "002", "601"}
    with get_client(sync_client=True) as client:
        this = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        runs = client.read_task_runs(flow_run_filter=this)
        (artifact,) = client.read_artifacts(flow_run_filter=this)
    assert sorted(run.name for run in runs) == ["001", "002", "601"]
    rows = json.loads(str(artifact.data))
    assert {row["video"]: row["status"] for row in rows} == {
        "001": "complete",
        "002": "complete",
        "601": "complete",
    }
    assert len(open_store(str(tmp_path / "store.zarr")).videos) == 3
    report = tmp_path / "store.zarr/report.html"
    link = f"[{report}]({report.as_uri()})"
    assert str(artifact.description) == f"3 videos: 3 complete; report: {link}"
    assert artifact.key == artifact_key(Location(recipe["store"]))
    assert artifact.key.startswith("build-store-zarr-")
    assert "3 videos: 3 complete" in report.read_text()
    written = report.stat().st_mtime_ns
    assert build_store(recipe, return_state=True).is_completed()
    assert report.stat().st_mtime_ns == written, "a build without work leaves the report alone"


def test_a_bar_in_prefect_follows_the_build(api: str, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    location = Location(tmp_path / "bar.zarr")
    bar = Bar(location, 4)
    one, two = VideoResult("1", Status.COMPLETE), VideoResult("2", Status.QUARANTINED, "why")
    bar.show([one])  # too soon after the start to be worth a request
    bar.show([one], at_once=True)
    bar.close([one, two])
    wanted = ArtifactFilterKey(any_=[f"{artifact_key(location)}-progress"])
    with get_client(sync_client=True) as client:
        (shown,) = client.read_artifacts(artifact_filter=ArtifactFilter(key=wanted))
    assert shown.data == 50.0
    assert shown.description == "2 videos: 1 complete, 1 quarantined"


def test_the_form_of_the_deployment_explains_itself() -> None:
    form = parameter_schema(build_store).model_dump()["properties"]
    assert [name for name, field in form.items() if not field.get("description")] == []
    (bounds, _) = form["workers"]["anyOf"]
    assert (bounds["minimum"], bounds["maximum"]) == (1, MAX_WORKERS)


def test_a_wrong_recipe_is_refused_in_a_line(api: str, raw: Path, tmp_path: Path) -> None:
    recipe = recipe_values(raw, tmp_path / "store.zarr", frames={"sise": [36, 64]})
    state = build_store(recipe, return_state=True)
    assert (state.is_failed(), state.name) == (True, "Refused")
    assert "frames.sise" in str(state.message)
    assert "Traceback" not in str(state.message)
    with pytest.raises(RecipeError, match=r"frames\.sise"):
        build_store(recipe)


def test_a_second_build_of_a_store_waits_its_turn(api: str, raw: Path, tmp_path: Path) -> None:
    recipe = recipe_values(raw, tmp_path / "store.zarr", flow=[])
    free = threading.Event()

    def hold() -> None:
        with store_lock(Location(recipe["store"])):
            held.set()
            time.sleep(3)
            free.set()

    held = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    assert build_store(recipe, only=["002"], return_state=True).is_completed()
    assert free.is_set()
    holder.join()


def test_processes_forked_after_a_flow_end_well(api: str) -> None:
    @flow
    def forks() -> list[int | None]:
        get_run_logger().info("starts the service that a forked child cannot stop")
        children = [multiprocessing.get_context("fork").Process(target=print) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        return [child.exitcode for child in children]

    assert forks() == [0, 0]


def test_a_bad_video_makes_the_run_incomplete_but_not_lost(
    api: str, raw: Path, tmp_path: Path
) -> None:
    import shutil

    root = tmp_path / "raw"
    shutil.copytree(raw, root)
    (root / "video/002.AVI").write_bytes(b"")
    state = build_store(recipe_values(root, tmp_path / "store.zarr"), return_state=True)
    assert state.is_failed()
    assert state.name == "Incomplete"
    assert state.message == "3 videos: 2 complete, 1 quarantined"
    index = open_store(str(tmp_path / "store.zarr")).videos
    assert list(index["status"]) == ["complete", "quarantined", "complete"]


def test_a_build_is_not_lost_for_its_report(
    api: str, raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = recipe_values(raw, tmp_path / "store.zarr", flow=[])
    with Build.open(Recipe.parse(recipe)).at_work():
        pass
    (tmp_path / "store.zarr/report.html/in the way").mkdir(parents=True)
    assert build_store(recipe, only=["002"], return_state=True).is_completed()
    assert "its report could not be written" in caplog.text
    assert verify(Location(recipe["store"])) == []


def plan_of(name: str, frames: int | None) -> VideoPlan:
    video = Video(name, None, Path(name), expected_frames=frames)
    return VideoPlan(None, None, video)  # type: ignore[arg-type]


def test_short_clips_share_a_task_and_others_stand_alone() -> None:
    short = [plan_of(f"s{k}", BATCH_FRAMES // 4) for k in range(12)]
    assert list(map(len, batches(short))) == [4, 4, 2, 1, 1]
    assert list(map(len, batches(short, at_once=3))) == [2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    tiny = [plan_of(f"t{k}", 5) for k in range(60)]
    assert list(map(len, batches(tiny, at_once=8))) == [10] * 6
    unknown = [plan_of("a", None), plan_of("b", None)]
    assert list(batches(unknown)) == [["a"], ["b"]]
    assert list(batches([plan_of("long", 10 * BATCH_FRAMES), *short[:1]])) == [["long"], ["s0"]]
    assert list(batches([])) == []


def test_very_many_videos_make_a_few_hundred_tasks() -> None:
    for length in (None, 30, 700):
        plans = [plan_of(f"v{k}", length) for k in range(10_000)]
        found = list(batches(plans))
        assert 200 < len(found) < 800
        assert len(found[0]) > 50
        assert sum(map(len, found[-10:])) < 300
        assert [video for batch in found for video in batch] == [plan.video.id for plan in plans]


def test_the_summary_counts_by_status() -> None:
    results = [VideoResult("a", Status.COMPLETE), VideoResult("b", Status.FAILED, "why")]
    assert summary(results) == "2 videos: 1 complete, 1 failed"
    assert summary([]) == "0 videos: nothing to do"


def test_flow_takes_the_cores_so_few_videos_run_at_once(raw: Path, tmp_path: Path) -> None:
    values = recipe_values(raw, tmp_path / "s.zarr")
    assert default_workers(Recipe.parse(values)) == 2
    assert 1 <= default_workers(Recipe.parse(values | {"flow": []})) <= 8


@pytest.mark.slow
def test_a_killed_command_takes_its_server_along_and_goes_on(raw: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.zarr"
    path = tmp_path / "recipe.yaml"
    # Slow enough to be killed in the middle: native flow size.
    path.write_text(yaml.safe_dump(recipe_values(raw, store, flow=[{"method": "tvl1"}])))
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "foveal", "build", str(path), "--workers", "1"]
    process = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(store.glob("_foveal/001/*.json")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while living(SESSION, process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not living(SESSION, process.pid)
    again = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, text=True, check=True
    )
    told = json.loads(again.stdout)
    assert told["counts"]["quarantined"] == told["counts"]["failed"] == 0
    assert not Build.open(Recipe.load(path)).plan().to_do
