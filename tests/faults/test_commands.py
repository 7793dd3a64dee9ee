"""Every object of a store, damaged in every way, met by every command that builds on the store.

What must hold: nothing but a FovealError of one line is raised; what is written agrees with what
the whole store gives, or an error or a skipped video tells why it does not; after `build --repair`
every array is that of the whole store, byte for byte, and no more was computed than was damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builds import build, recipe_values
from builds import objects as contents
from markupsafe import escape

from faults.damages import DAMAGES, LONG, damaged, objects
from foveal.errors import FovealError
from foveal.models import saliency
from foveal.pipeline.build.run import VideoResult
from foveal.pipeline.export.export import export
from foveal.pipeline.learn.predict import Predictor, predict_store
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.report.report import write_report
from foveal.storage.location import Location
from foveal.storage.lost import read_damage
from foveal.storage.reader import open_store
from foveal.storage.statistics import compute_statistics
from foveal.storage.verify import verify

EXPORTED = ("frames", "density", "flow_tvl1", "fixations")

Command = Callable[[Path, Path], dict[str, Any]]
WRITING = ("predict", "build")
"""Commands that change the store."""
SHARE = 1 if LONG else 40
"""One in so many cases is tried; which ones differ from one damage to the next."""


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    network = saliency.build("salbce", weights="random", input_size=(16, 16), width=0.05)
    return Predictor(network.eval(), "x", device="cpu", stored_dtype="float32")


def built(whole: Path, store: Path, **options: Any) -> dict[str, VideoResult]:
    results, _ = build(Recipe.parse(recipe_values(whole.parent / "raw", store)), **options)
    return results


def exported(store: Path, folder: Path) -> dict[str, str]:
    """SHA-256 of every file that could be exported, or that something could not."""
    found = {}
    for what in EXPORTED:
        try:
            skipped = export(store, folder / what, what).skipped
        except FovealError:
            # What was written before the error has no claim to be whole.
            shutil.rmtree(folder / what, ignore_errors=True)
            continue
        assert all(skipped.values())
        for path in sorted((folder / what).rglob("*")):
            if path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path.relative_to(folder))] = content
    return found


def predicted(store: Path, predictor: Predictor) -> dict[str, Any]:
    found = {}
    results = predict_store(predictor, str(store))
    assert all(result.reason for result in results if result.status == "skipped")
    opened = open_store(store)
    for result in results:
        if result.status == "complete":
            found[result.video] = np.asarray(opened.array(result.video, "saliency_x")[:])
    return found


def computed(store: Path) -> dict[str, Any]:
    found = compute_statistics(open_store(store), None)
    videos = sorted(found.attrs["videos"])
    # Of fewer videos they are other statistics, and say so.
    return {f"{name} of {videos}": each.values for name, each in found.items()}


def reported(store: Path, page: Path) -> dict[str, Any]:
    write_report(store, page)
    content = page.read_text()
    found = read_damage(Location(store))
    return {"whole": content.rstrip().endswith("</html>")} | {
        "every damaged record": all(str(escape(each.reason)) in content for each in found)
    }


def rebuilt(whole: Path, store: Path) -> dict[str, Any]:
    results = built(whole, store)
    assert all(result.ok or result.reason for result in results.values())
    found = {}
    opened = open_store(store)
    for video in results:
        with contextlib.suppress(FovealError):
            values = opened[video].load()
            found |= {f"{video}/{name}": each.values for name, each in values.variables.items()}
    return found


@pytest.fixture(scope="module")
def commands(whole: Path, predictor: Predictor) -> dict[str, Command]:
    """What runs on a store, with a folder for its output: what it made, by name."""
    return {
        "report": lambda store, folder: reported(store, folder / "page.html"),
        "statistics": lambda store, folder: computed(store),
        "export": lambda store, folder: exported(store, folder / "exported"),
        "predict": lambda store, folder: predicted(store, predictor),
        "build": lambda store, folder: rebuilt(whole, store),
    }


@pytest.fixture(scope="module")
def expected(
    whole: Path,
    commands: dict[str, Command],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("expected")
    shutil.copytree(whole, folder / "copy.zarr")
    return {name: command(folder / "copy.zarr", folder) for name, command in commands.items()}


def differing(found: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    for what, value in found.items():
        if what in wanted and not np.array_equal(value, wanted[what]):
            yield what


def may_be_computed(key: str) -> set[tuple[str, str]]:
    """Video and stage of an object: what mending it may compute again."""
    parts = key.split("/")
    if key.startswith("_foveal/") and key.endswith(".json"):
        return {(parts[1], parts[2].removesuffix(".json"))}
    if key.startswith("videos/") and len(parts) > 3:
        name = "fixations" if parts[2].startswith("fixation_") else parts[2]
        return {(parts[1], name)}
    return set()


def cases(whole: Path, how: str) -> Iterator[tuple[str, int]]:
    """Keys to damage, and the seed to do it by."""
    for number, path in enumerate(objects(whole)):
        seed = number + 5 * list(DAMAGES).index(how)
        if seed % SHARE == 0:
            yield str(path.relative_to(whole)), seed


@contextlib.contextmanager
def place(whole: Path, key: str, how: str, seed: int, *, copied: bool) -> Iterator[Path]:
    """A damaged store: the whole one, damaged for a while, or a copy for commands that write."""
    if not copied:
        with damaged(whole / key, how, seed):
            yield whole
        return
    store = whole.with_name("copy.zarr")
    shutil.copytree(whole, store)
    DAMAGES[how](store / key, np.random.default_rng(seed))
    yield store
    shutil.rmtree(store)


@pytest.mark.parametrize("how", DAMAGES)
def test_no_command_ends_in_a_traceback_or_makes_something_else(
    whole: Path,
    commands: dict[str, Command],
    expected: dict[str, dict[str, Any]],
    how: str,
    tmp_path: Path,
) -> None:
    wrong = []
    count = 0
    for key, seed in cases(whole, how):
        for name, command in commands.items():
            count += 1
            with place(whole, key, how, seed, copied=name in WRITING) as store:
                try:
                    different = list(differing(command(store, tmp_path), expected[name]))
                except FovealError as error:
                    different = ["more than a line"] if "\n" in str(error) else []
                except Exception as error:
                    different = [f"{type(error).__name__}: {error}"]
            wrong += [f"{key} {how} ({seed}): {name}: {what}" for what in different]
            shutil.rmtree(tmp_path / "exported", ignore_errors=True)
    print(f"{how}: {count} commands, {len(wrong)} wrong")
    assert wrong == []
    assert verify(Location(whole)) == []


@pytest.mark.parametrize("how", DAMAGES)
def test_repair_computes_what_is_damaged_and_no_more(whole: Path, how: str, tmp_path: Path) -> None:
    wrong = []
    arrays = contents(whole)
    count = 0
    for key, seed in cases(whole, how):
        store = tmp_path / "copy.zarr"
        shutil.copytree(whole, store)
        DAMAGES[how](store / key, np.random.default_rng(seed))
        where = f"{key} {how} ({seed})"
        count += 1
        try:
            results = built(whole, store, repair=True)
            computed = {(video, stage) for video in results for stage in results[video].stages}
            if more := computed - may_be_computed(key):
                wrong.append(f"{where}: computed {sorted(more)}")
            if contents(store) != arrays:
                wrong.append(f"{where}: other arrays")
            wrong += [
                f"{where}: {problem.key} {problem.message}" for problem in verify(Location(store))
            ]
        except Exception as error:
            wrong.append(f"{where}: {type(error).__name__}: {error}")
        shutil.rmtree(store)
    print(f"{how}: {count} repairs, {len(wrong)} wrong")
    assert wrong == []
