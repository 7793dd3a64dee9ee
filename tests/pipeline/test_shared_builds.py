"""Two builds of one recipe at once share its videos, on a disk and on an object store."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from builds import build, objects, recipe_values, write_raw

from foveal.errors import StoreLocked
from foveal.models import saliency
from foveal.pipeline.build.build import Build
from foveal.pipeline.learn.predict import Predictor, predict_store
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.index import index_is_current
from foveal.storage.location import Location
from foveal.storage.marks import read_marks
from foveal.storage.reader import open_store
from foveal.storage.root import store_lock
from foveal.storage.verify import verify

BUILD = """
import json, sys, time
from foveal.pipeline.build.build import Build
from foveal.pipeline.recipe.recipe import Recipe

with Build.open(Recipe.parse(json.loads(sys.argv[1]))).at_work() as build:
    print("ready", flush=True)
    sys.stdin.readline()
    plan = build.plan()
    build.remember(plan)
    results = [*plan.settled, *(build.run(one.video.id) for one in plan.to_do)]
    elsewhere = [result.video for result in results if result.status == "elsewhere"]
    results = [result for result in results if result.status != "elsewhere"]
    while elsewhere:
        time.sleep(0.05)
        again = build.settled_elsewhere(elsewhere)
        results += [*again.settled, *(build.run(one.video.id) for one in again.to_do)]
        elsewhere = [name for name in elsewhere if name not in again.wanted]
    build.finalise(results)
print(json.dumps({result.video: result.status for result in results}))
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("shared") / "raw")


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_each_video_is_computed_by_one_of_two_builds(
    place: str, raw: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = str(tmp_path / "store.zarr")
    if place == "s3":
        store = f"{request.getfixturevalue('bucket')}/shared"
    values = recipe_values(raw, store)
    command = [sys.executable, "-c", BUILD, json.dumps(values)]
    pair = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in pair:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    with (
        pytest.raises(StoreLocked, match="is being built by process"),
        Build.open(Recipe.parse(values | {"frames": {"size": [18, 32]}})).at_work(),
    ):
        pass
    for process in pair:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [json.loads(process.communicate(timeout=120)[0]) for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    for video in ("001", "002", "601"):
        assert sorted(end[video] for end in ends) == ["complete", "unchanged"]
    location = Location(store)
    assert verify(location) == []
    assert index_is_current(location)
    assert set(open_store(store).videos["status"]) == {"complete"}
    if place == "folder":
        build(Recipe.parse(recipe_values(raw, tmp_path / "alone.zarr")))
        assert objects(Path(store)) == objects(tmp_path / "alone.zarr")


def test_predictions_share_a_store_with_a_build_and_with_each_other(
    raw: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store.zarr"
    recipe = Recipe.parse(recipe_values(raw, store, flow=[]))
    build(recipe)
    location = Location(store)
    torch.manual_seed(0)
    network = saliency.build("salbce", weights="random", input_size=(16, 16), width=0.05).eval()

    def predict(name: str) -> list[str]:
        predictor = Predictor(network, name, device="cpu", stored_dtype="float32")
        return [result.status for result in predict_store(predictor, str(store))]

    def made(video: str) -> set[str]:
        return {name for name in read_marks(location, video) if name.startswith("saliency_")}

    with (
        Build.open(recipe).at_work() as work,
        Build.open(recipe).at_work() as other,
        ThreadPoolExecutor(2) as pool,
    ):
        plan = work.plan()
        assert other.claims is not None
        with other.claims.claim("002"):
            runs = [pool.submit(predict, name) for name in ("x", "y")]
            deadline = time.monotonic() + 60
            while made("601") != {"saliency_x", "saliency_y"}:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert made("002") == set()
        assert [run.result(60) for run in runs] == [["complete"] * 3] * 2
        # The plan was made before: what came since is in the index nevertheless.
        table = work.finalise(plan.settled, plan)
        assert all("saliency_x" in stages for stages in table["stages"])
    assert verify(location) == []
    predict("x")
    assert index_is_current(location)
    assert set(open_store(store).videos["status"]) == {"complete"}
    with store_lock(location), pytest.raises(StoreLocked):
        predict("z")
