"""A build that was stopped inside a video continues there, and gives the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds import SIZE, build, objects, recipe_values
from zarr.storage import MemoryStore

from foveal.errors import DecodeError
from foveal.pipeline.build.build import Build
from foveal.pipeline.build.progress import Silent, Stopped
from foveal.pipeline.demo import DemoClip, write_demo
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.base import FRAMES, Arrays, PlainStage
from foveal.pipeline.stages.meter import Meter
from foveal.pipeline.stages.write import StageWork, write_stages
from foveal.pipeline.video.types import ArrayBatch, FrameBatch
from foveal.storage.checkpoint import checkpoint_key, read_checkpoint
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.schema import ArraySpec
from foveal.storage.verify import verify

N = 200
SEED = int(os.environ.get("FOVEAL_SEED", "0"))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("goes on") / "raw"
    write_demo(folder, clips=(DemoClip(1, N, "shore", 2),), size=SIZE, observers=3)
    return folder


def recipe(raw: Path, store: Path) -> dict[str, Any]:
    return recipe_values(raw, store, flow=[{"method": "dis", "size": [24, 32]}])


class StopsAt(Silent):
    """Stops the build once a video has had so many frames; notes which frames it was told of."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.flow_seconds: list[float] = []

    def advanced(self, video: str, frames: int, expected: int | None, meter: Meter) -> None:
        self.flow_seconds.append(meter.seconds.get("flow_dis", 0.0))
        if frames >= self.frames:
            raise Stopped("as asked")


def test_a_stopped_build_goes_on_inside_the_video(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_CHECKPOINT_SECONDS", "0")
    build(Recipe.parse(recipe(raw, tmp_path / "whole.zarr")))
    store = tmp_path / "store.zarr"
    location = Location(store)
    for stop, kept in ((70, 64), (140, 128), (180, 160)):
        with (
            pytest.raises(Stopped),
            Build.open(Recipe.parse(recipe(raw, store)), StopsAt(stop)).at_work() as work,
        ):
            work.run("001")
        found = read_checkpoint(location, "001")
        assert found is not None
        assert found.frames == kept
        assert found.stages.keys() == {"time", "frames", "flow_dis", "fixations", "density"}
        assert found.stages["flow_dis"].arrays["flow_dis"].items == kept - 1
        assert list(open_store(store)) == []
        assert [problem for problem in verify(location) if not problem.is_note] == []
    told = StopsAt(10**6)
    with Build.open(Recipe.parse(recipe(raw, store)), told).at_work() as work:
        plan = work.plan()
        work.remember(plan)
        work.finalise([work.run("001")])
    # What was computed before the stop is not computed again.
    assert told.flow_seconds[4] == told.flow_seconds[0]
    assert told.flow_seconds[-1] > told.flow_seconds[0]
    assert location.read(checkpoint_key("001")) is None
    assert verify(location) == []
    assert objects(store) == objects(tmp_path / "whole.zarr")


def test_frames_at_another_rate_go_on_too(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_CHECKPOINT_SECONDS", "0")
    rate = {"flow": [], "frames": {"size": [18, 32], "fps": 7.0}}
    with (
        pytest.raises(Stopped),
        Build.open(
            Recipe.parse(recipe(raw, tmp_path / "store.zarr") | rate), StopsAt(140)
        ).at_work() as work,
    ):
        work.run("001")
    build(Recipe.parse(recipe(raw, tmp_path / "store.zarr") | rate))
    build(Recipe.parse(recipe(raw, tmp_path / "whole.zarr") | rate))
    assert objects(tmp_path / "store.zarr") == objects(tmp_path / "whole.zarr")


def test_another_recipe_begins_anew_only_what_it_changes(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_CHECKPOINT_SECONDS", "0")
    values = recipe(raw, tmp_path / "store.zarr")
    with (
        pytest.raises(Stopped),
        Build.open(Recipe.parse(values), StopsAt(140)).at_work() as work,
    ):
        work.run("001")
    values["density"] = {"sigma_px": 2.0, "size": [36, 64]}
    build(Recipe.parse(values))
    build(Recipe.parse({**values, "store": str(tmp_path / "whole.zarr")}))
    assert objects(tmp_path / "store.zarr") == objects(tmp_path / "whole.zarr")


@pytest.mark.parametrize("hurt", ["checkpoint", "cut off", "shard", "foreign"])
def test_a_checkpoint_that_is_not_whole_is_not_believed(
    hurt: str, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_CHECKPOINT_SECONDS", "0")
    store = tmp_path / "store.zarr"
    location = Location(store)
    with (
        pytest.raises(Stopped),
        Build.open(Recipe.parse(recipe(raw, store)), StopsAt(180)).at_work() as work,
    ):
        work.run("001")
    found = read_checkpoint(location, "001")
    assert found is not None
    key = checkpoint_key("001")
    if hurt == "shard":
        key = sorted(found.kept("001"))[0]
    content = location.read(key) or b""
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 1
    changed = {"cut off": content[: len(content) // 2], "foreign": b"PK\x03\x04"}
    location.write(key, changed.get(hurt, bytes(damaged)))
    assert read_checkpoint(location, "001") is None
    build(Recipe.parse(recipe(raw, store)))
    build(Recipe.parse(recipe(raw, tmp_path / "whole.zarr")))
    assert objects(store) == objects(tmp_path / "whole.zarr")


KILLED = """
import json, sys
from foveal.pipeline.build.build import Build
from foveal.pipeline.recipe.recipe import Recipe
from test_goes_on import KillsAt

with Build.open(Recipe.parse(json.loads(sys.argv[1])), KillsAt(int(sys.argv[2]))).at_work() as work:
    work.run("001")
"""


class KillsAt(StopsAt):
    """Kills its own process, as nothing can be caught."""

    def advanced(self, video: str, frames: int, expected: int | None, meter: Meter) -> None:
        if frames >= self.frames:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_build_goes_on_too(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    monkeypatch.setenv("FOVEAL_CHECKPOINT_SECONDS", "0")
    store = tmp_path / "store.zarr"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    values = json.dumps(recipe(raw, store))
    command = [sys.executable, "-c", KILLED, values, "150"]
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False)
    assert ended.returncode == -signal.SIGKILL
    found = read_checkpoint(Location(store), "001")
    assert found is not None
    assert found.frames == 128
    build(Recipe.parse(recipe(raw, store)))
    build(Recipe.parse(recipe(raw, tmp_path / "whole.zarr")))
    assert objects(store) == objects(tmp_path / "whole.zarr")


# Stages that cannot go on read what others made before


def spec(name: str, axis: str = "frame") -> ArraySpec:
    return ArraySpec(name, (axis,), (), np.dtype("int64"), {}, 3, 6, axis=axis, kind="scalar")


class Doubles(PlainStage):
    """Twice the red of each frame's first pixel; can go on."""

    name, inputs, arrays = "doubles", (FRAMES,), ("doubles",)

    def __init__(self) -> None:
        self.pushed = 0

    def outputs(self) -> list[ArraySpec]:
        return [spec("doubles")]

    def push(self, batch: FrameBatch) -> Arrays:
        self.pushed += len(batch)
        return {"doubles": 2 * batch.frames[:, 0, 0, 0].astype("i8")}

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


class Steps(Doubles):
    """Difference of consecutive doubles, axis pair; can go on."""

    name, inputs, arrays = "steps", ("doubles",), ("steps",)

    def __init__(self) -> None:
        super().__init__()
        self.last: np.ndarray[Any, Any] = np.empty(0, "i8")

    def outputs(self) -> list[ArraySpec]:
        return [spec("steps", "pair")]

    def push(self, batch: ArrayBatch) -> Arrays:  # type: ignore[override]
        values = np.concatenate([self.last, batch.values])
        self.last = values[-1:]
        return {"steps": np.diff(values)}

    def snapshot(self) -> Mapping[str, Any]:
        return {"last": self.last}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.last = state["last"]


class Sums(PlainStage):
    """Running sum of frames and steps, which must come in step; cannot go on."""

    name, inputs, arrays = "sums", (FRAMES, "steps"), ("sums",)

    def __init__(self) -> None:
        self.sum, self.frames, self.steps = 0, 0, 0

    def outputs(self) -> list[ArraySpec]:
        return [spec("sums", "event")]

    def push(self, batch: Any) -> Arrays:
        if isinstance(batch, FrameBatch):
            assert batch.start == self.frames
            self.frames = batch.stop
            values = batch.frames[:, 0, 0, 0].astype("i8")
        else:
            assert batch.start == self.steps
            self.steps = batch.stop
            values = batch.values
        assert abs(self.frames - self.steps) <= 8
        sums = self.sum + np.cumsum(values)
        self.sum = int(sums[-1])
        return {"sums": sums[-1:]}

    def finish(self) -> Iterable[Arrays]:
        return [{"sums": np.array([self.sum, self.frames, self.steps])}]


def frames(count: int, stop: int | None) -> Generator[tuple[str, FrameBatch, int], None, None]:
    reds = np.random.default_rng(1).integers(0, 255, count)
    for start in range(0, count, 5):
        if stop is not None and start >= stop:
            raise Stopped("as asked")
        picture = np.zeros((min(5, count - start), 1, 1, 3), np.uint8)
        picture[:, 0, 0, 0] = reds[start : start + 5]
        times = np.arange(start, start + len(picture), dtype="f8")
        yield FRAMES, FrameBatch(start, picture, times), start + len(picture)


def run(location: Location, count: int, stop: int | None) -> Doubles:
    stages = [Doubles(), Steps(), Sums()]
    due = [StageWork(stage, {"stage": stage.name}) for stage in stages]
    write_stages(location, "v", {"video": "v"}, due, frames(count, stop), checkpoint_seconds=0)
    return stages[0]  # type: ignore[return-value]


def stored(location: Location) -> dict[str, Any]:
    return {key: location.read(key) for key in location.list_all("videos/v")}


@pytest.mark.parametrize("count", [12, 23, 60])
def test_stages_that_begin_anew_are_given_what_the_others_made_before(count: int) -> None:
    whole = Location(MemoryStore())
    run(whole, count, None)
    chance = random.Random(SEED)
    location = Location(MemoryStore())
    last = 0
    for stop in sorted(chance.choices(range(1, (count - 1) // 5 * 5 + 1), k=4)):
        with pytest.raises(Stopped):
            run(location, count, stop)
        found = read_checkpoint(location, "v")
        if found is not None:
            assert found.stages.keys() == {"doubles", "steps"}
            last = found.frames
    assert run(location, count, None).pushed == count - last
    assert stored(location) == stored(whole)
    assert read_checkpoint(location, "v") is None


def test_unusable_input_leaves_nothing_to_go_on_from() -> None:
    location = Location(MemoryStore())

    def broken() -> Generator[tuple[str, FrameBatch, int], None, None]:
        yield from list(frames(40, None))[:6]
        raise DecodeError("the rest is not there")

    due = [StageWork(Doubles(), {"stage": "doubles"})]
    with pytest.raises(DecodeError):
        write_stages(location, "v", {"video": "v"}, due, broken(), checkpoint_seconds=0)
    assert read_checkpoint(location, "v") is None
    assert [key for key in location.list_all("videos/v") if "/c/" in key] == []
