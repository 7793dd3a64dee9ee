"""Two builds of one recipe at once share its videos, on a disk and on an object store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from builds import build, objects, recipe_values, write_raw

from foveal.errors import StoreLocked
from foveal.pipeline.build.build import Build
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.index import index_is_current
from foveal.storage.location import Location
from foveal.storage.reader import open_store
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
