"""Builds on a Dask cluster: the same arrays, placement by resources, workers that die, stops."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from builds import build as build_here
from builds import objects
from distributed import Client
from prefect.client.orchestration import get_client
from stopping import (
    FRAMES,
    ONE_BATCH_TAKES_MINUTES,
    SECONDS,
    assert_only_whole_work_is_left,
    ffmpegs,
    own_environment,
    until,
    write_recipe,
)

from foveal.errors import MissingDependency, RecipeError
from foveal.flows.build import run_planned
from foveal.flows.cluster import CPU, GPU, check_cluster, local_cluster, takes_gpu
from foveal.pipeline.build.build import Build
from foveal.pipeline.build.progress import Silent
from foveal.pipeline.build.run import Status, VideoResult
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.meter import Meter

KILLS = int(os.environ.get("FOVEAL_TEST_KILLS", "0"))
"""How often a worker is killed at random in the long form, which `make faults` asks for."""

long_form = pytest.mark.skipif(not KILLS, reason="long form: FOVEAL_TEST_KILLS=20")


@pytest.fixture(scope="module")
def undisturbed(long_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("undisturbed")
    build_here(Recipe.load(write_recipe(folder, long_clips)))
    return objects(folder / "store.zarr")


def run(recipe: Path, cluster: str, listener: Any = None) -> dict[str, VideoResult]:
    with Build.open(Recipe.load(recipe), listener).at_work() as build:
        results = run_planned(build, build.plan(), cluster=cluster)
    return {result.video: result for result in results}


def task_states() -> list[tuple[str, str]]:
    """Name and state of every task of the latest run."""
    with get_client(sync_client=True) as client:
        tasks = client.read_task_runs(limit=200)
        (latest,) = client.read_flow_runs(limit=1, sort="EXPECTED_START_TIME_DESC")  # type: ignore[arg-type]
    of_it = [task for task in tasks if task.flow_run_id == latest.id]
    return sorted((task.name, str(task.state_name)) for task in of_it)


def workers_at_work(clips: Path) -> list[int]:
    """Processes that read from an ffmpeg which decodes one of these videos."""
    found = []
    for ffmpeg in ffmpegs(clips):
        with suppress(OSError):
            found.append(int(Path(f"/proc/{ffmpeg}/stat").read_text().rsplit(")", 1)[1].split()[1]))
    return [process for process in found if process > 1]


@pytest.mark.parametrize(
    "text", ["local", "local:0", "local:gpu", "localhost:8786", "4", "tcp://x"]
)
def test_a_name_that_is_none_is_told(text: str) -> None:
    with pytest.raises(RecipeError, match="local:4"):
        check_cluster(text)


@pytest.mark.parametrize(
    "text", ["local:4", "local:gpus", "local:gpus+2", "tcp://10.0.0.1:8786", "tls://head:8786"]
)
def test_a_name_is_known(text: str) -> None:
    assert check_cluster(text) == text


def test_which_recipes_go_to_gpus(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "dataset": {"kind": "videos", "root": str(tmp_path)},
        "store": str(tmp_path / "s.zarr"),
        "frames": {"size": [36, 48]},
    }
    i3d = {"i3d": {"streams": ["rgb"]}}
    dis = {"flow": [{"method": "dis"}]}
    assert not takes_gpu(Recipe.parse(values))
    assert not takes_gpu(Recipe.parse(values | dis))
    assert takes_gpu(Recipe.parse(values | i3d))
    assert takes_gpu(Recipe.parse(values | {"device": "cuda"}))
    assert not takes_gpu(Recipe.parse(values | i3d | {"device": "cpu"}))


class Heard(Silent):
    """Notes which videos were begun, and how far they came."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.frames: dict[str, int] = {}
        self.over: list[str] = []
        self.sizes: Mapping[str, int] = {}

    def planned(self, to_do: Mapping[str, int], settled: Sequence[VideoResult]) -> None:
        self.sizes = to_do

    def started(self, video: str) -> None:
        self.begun.append(video)

    def advanced(self, video: str, frames: int, expected: int | None, meter: Meter) -> None:
        self.frames[video] = frames

    def ended(self, result: VideoResult) -> None:
        self.over.append(result.video)


@pytest.mark.slow
def test_worker_processes_make_the_same_arrays_and_tell_of_it(
    api: str, long_clips: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    heard = Heard()
    results = run(write_recipe(tmp_path, long_clips), "local:2", heard)
    assert {result.status for result in results.values()} == {Status.COMPLETE}
    assert objects(tmp_path / "store.zarr") == undisturbed
    assert sorted(heard.begun) == sorted(heard.over) == ["clip0", "clip1", "clip2"]
    assert heard.frames
    assert all(0 < frames <= FRAMES for frames in heard.frames.values())
    assert task_states() == [(f"clip{k}", "Completed") for k in range(3)]


@pytest.mark.slow
@long_form
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_worker_that_dies_in_the_middle_changes_nothing(
    api: str, long_clips: Path, undisturbed: dict[str, str], tmp_path: Path, seed: int
) -> None:
    killed = []

    def kill_one() -> None:
        pick = random.Random(seed)
        at_work = until(lambda: workers_at_work(long_clips))
        time.sleep(pick.uniform(0, 1.5))
        at_work = workers_at_work(long_clips) or at_work
        killed.append(pick.choice(at_work))
        os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    results = run(write_recipe(tmp_path, long_clips), "local:3")
    killer.join()
    assert len(killed) == 1
    assert {result.status for result in results.values()} <= {Status.COMPLETE, Status.UNCHANGED}
    assert objects(tmp_path / "store.zarr") == undisturbed
    assert task_states() == [(f"clip{k}", "Completed") for k in range(3)]


@long_form
@pytest.mark.slow
def test_a_video_that_kills_its_workers_fails_alone(
    api: str, long_clips: Path, tmp_path: Path
) -> None:
    deadly = long_clips / "clip1.mp4"

    class Killer(Silent):
        def started(self, video: str) -> None:
            if video == "clip1":
                threading.Thread(target=kill_reader_of, args=(deadly,)).start()

    killer = Killer()
    results = run(write_recipe(tmp_path, long_clips), "local:2", killer)
    assert {name: result.status for name, result in results.items()} == {
        "clip0": Status.COMPLETE,
        "clip1": Status.FAILED,
        "clip2": Status.COMPLETE,
    }
    assert "worker processes died in it" in results["clip1"].reason
    assert {state for _, state in task_states()} == {"Completed", "Crashed"}
    again = run(tmp_path / "recipe.yaml", "local:2")
    assert again["clip1"].status is Status.COMPLETE


def kill_reader_of(video: Path) -> None:
    """Kill the process that decodes a video, as soon as there is one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if f"file:{video}".encode() in command.read_bytes():
                    stat = (command.parent / "stat").read_text()
                    os.kill(int(stat.rsplit(")", 1)[1].split()[1]), signal.SIGKILL)
                    return
        time.sleep(0.02)


@pytest.mark.slow
def test_resources_place_videos(api: str, long_clips: Path, tmp_path: Path) -> None:
    with local_cluster(1, ["0"]) as cluster, Client(cluster, set_as_default=False) as client:
        address = str(cluster.scheduler_address)
        workers = client.scheduler_info()["workers"]
        resources = {each["name"]: each["resources"] for each in workers.values()}
        assert resources == {"cpu-0": {CPU: 1}, "gpu-0": {GPU: 1}}
        # Method auto wants a GPU and finds none there: it is placed nevertheless, and takes TV-L1.
        for method, worker in (("auto", "gpu-0"), ("dis", "cpu-0")):
            folder = tmp_path / method
            folder.mkdir()
            recipe = write_recipe(folder, long_clips, [{"method": method, "size": [24, 32]}])
            before = set(events(client))
            run(recipe, address)
            new = [each for name, each in events(client).items() if name not in before]
            seen = {workers[message["worker"]]["name"] for each in new for message in each}
            assert seen == {worker}
        # Planned here, where there is no GPU either; the workers are asked.
        values = Recipe.load(recipe).resolved() | {"device": "cuda:9"}
        build = Build.open(Recipe.parse(values), device_elsewhere=True)
        with (
            pytest.raises(MissingDependency, match=r"worker tcp://.* cuda:9 is not there"),
            build.at_work() as at_work,
        ):
            run_planned(at_work, at_work.plan(recompute=["frames"]), cluster=address)


def events(client: Client) -> dict[str, list[dict[str, Any]]]:
    found = client.get_events()
    return {
        name: [message for _, message in each]
        for name, each in found.items()
        if str(name).startswith("foveal-")
    }


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, *([signal.SIGTERM] if KILLS else [])])
def test_a_flow_that_ends_takes_its_videos_back_from_a_cluster_that_goes_on(
    api: str, long_clips: Path, tmp_path: Path, number: int
) -> None:
    slow = number == signal.SIGTERM
    flow = ONE_BATCH_TAKES_MINUTES if slow else [{"method": "tvl1"}]
    recipe = write_recipe(tmp_path, long_clips, flow)
    environment = own_environment(tmp_path / "prefect", PREFECT_API_URL=api)
    with local_cluster(2) as cluster:
        process = subprocess.Popen(
            [sys.executable, "-m", "foveal", "build", str(recipe)],
            env={**environment, "FOVEAL_CLUSTER": str(cluster.scheduler_address)},
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        until(lambda: len(ffmpegs(long_clips)) == 2)
        process.send_signal(number)
        sent = time.monotonic()
        _, told = process.communicate(timeout=60)
        until(lambda: not ffmpegs(long_clips), 30)
        assert time.monotonic() - sent < 2 * SECONDS
        assert process.returncode == (128 + number if slow else -number)
        assert b"Traceback" not in told
        assert_only_whole_work_is_left(tmp_path / "store.zarr")
        if not slow:
            results = run(recipe, str(cluster.scheduler_address))
            assert all(result.ok for result in results.values())
