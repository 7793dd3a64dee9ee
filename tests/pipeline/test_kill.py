"""A build killed by SIGKILL at any moment, started again, ends as if nothing had happened."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from builds import build, objects, recipe_values, write_raw

from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.location import Location
from foveal.storage.verify import verify

KILLS = 6

BUILD = """
import sys
from builds import build
from foveal.pipeline.recipe.recipe import Recipe
print("started", flush=True)
build(Recipe.load(sys.argv[1]))
"""


def visible_arrays(store: Path) -> dict[str, str]:
    """Content of every array that Zarr would open now: its metadata and chunks together."""
    found = {}
    for metadata in sorted((store / "videos").glob("*/*/zarr.json")):
        digest = hashlib.sha256()
        for path in sorted(metadata.parent.rglob("*")):
            if path.is_file():
                digest.update(str(path.relative_to(metadata.parent)).encode() + path.read_bytes())
        found[str(metadata.parent.relative_to(store))] = digest.hexdigest()
    return found


@pytest.mark.slow
def test_killed_builds_show_nothing_half_done_and_end_equal(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    undisturbed = Recipe.parse(recipe_values(raw, tmp_path / "undisturbed.zarr"))
    started = time.monotonic()
    build(undisturbed)
    lasting_seconds = time.monotonic() - started
    truth = visible_arrays(Path(undisturbed.store))

    killed = Recipe.parse(recipe_values(raw, tmp_path / "killed.zarr"))
    recipe_path = tmp_path / "recipe.yaml"
    recipe_path.write_text(yaml.safe_dump(killed.resolved()))
    chance = random.Random(1)
    ended_by = []
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", BUILD, str(recipe_path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        time.sleep(chance.uniform(0.0, lasting_seconds))
        process.send_signal(signal.SIGKILL)
        ended_by.append(process.wait())
        process.stdout.close()
        for array, content in visible_arrays(Path(killed.store)).items():
            assert content == truth[array], f"{array} was visible before it was whole"
    assert -signal.SIGKILL in ended_by

    results, index = build(killed)
    assert (index["status"] == "complete").all(), results
    assert objects(Path(killed.store)) == objects(Path(undisturbed.store))
    assert verify(Location(killed.store)) == []
