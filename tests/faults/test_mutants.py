"""Mutants of what foveal itself writes: weights, checkpoints, and every small object of a store.

``FOVEAL_MUTANTS`` says how many of each (short form 20, `make faults` 1,000), ``FOVEAL_SEED``
which. Those of the datasets' formats: tests/pipeline/test_sources_mutants.py.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from builds import recipe_values
from miniatures.mutants import mutated

from faults.damages import LONG
from foveal.errors import FovealError, RecipeError
from foveal.models import saliency, tensor_files
from foveal.pipeline.learn.checkpoint import load_network, save_network
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.verify import verify

MUTANTS = int(os.environ.get("FOVEAL_MUTANTS", "1000" if LONG else "20"))
SEED = int(os.environ.get("FOVEAL_SEED", "0"))


@pytest.mark.parametrize("form", ["network", "plain state dict"])
def test_mutants_of_weights_are_refused(tmp_path: Path, form: str) -> None:
    rng = random.Random(f"{form} {SEED}")
    torch.manual_seed(0)
    network = saliency.build("salbce", weights="random", input_size=(16, 16), width=0.05)
    path = tmp_path / "best.pt"
    save_network(path, network, {})
    if form != "network":
        torch.save(network.state_dict(), path)
    whole, before = path.read_bytes(), network.state_dict()
    refused = 0
    for number in range(MUTANTS):
        path.write_bytes(mutated(whole, rng))
        try:
            if form == "network":
                found = load_network(path)[0].state_dict()
            else:
                found = tensor_files.read(path)
        except FovealError as error:
            refused += "\n" not in str(error)
            continue
        same = found.keys() == before.keys() and all(
            map(torch.equal, found.values(), before.values())
        )
        assert same, f"mutant {number} (seed {SEED}) was read as something else"
    print(f"{form}: {MUTANTS} mutants (seed {SEED}), {refused} refused")


def same_json(one: bytes, other: bytes) -> bool:
    """Whether both say the same: a key with its value may stand there twice."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def test_mutants_of_the_small_objects_of_a_store_are_noticed(whole: Path, tmp_path: Path) -> None:
    rng = random.Random(f"store {SEED}")
    store = tmp_path / "store.zarr"
    shutil.copytree(whole, store)
    small = [
        path
        for path in sorted(store.rglob("*"))
        if path.is_file()
        and (path.suffix in (".json", ".parquet") or "_foveal/%store" in str(path))
        and path.parent.name != "log"  # a diary of builds, on which nothing rests
    ]
    table = open_store(store).videos
    noticed = 0
    for number in range(MUTANTS):
        path = rng.choice(small)
        content = path.read_bytes()
        mutant = mutated(content, rng)
        if mutant == content or same_json(mutant, content):
            continue
        path.write_bytes(mutant)
        what = f"mutant {number} of {path.relative_to(store)} (seed {SEED})"
        found = {problem.key for problem in verify(Location(store, read_only=True))}
        assert found, what
        try:
            read = open_store(store).videos
            complete = read[read["status"] == "complete"]
            expected = table.loc[complete.index]
            for column in ("frames", "stages", "fingerprints", "fixations"):
                assert complete[column].tolist() == expected[column].tolist(), what
        except FovealError:
            pass
        noticed += 1
        path.write_bytes(content)
    assert verify(Location(store)) == []
    print(f"store: {MUTANTS} mutants (seed {SEED}), {noticed} noticed")


def test_mutants_of_recipes_are_refused_or_are_recipes(tmp_path: Path) -> None:
    rng = random.Random(f"recipe {SEED}")
    path = tmp_path / "recipe.yaml"
    whole = yaml.safe_dump(recipe_values(tmp_path / "raw", tmp_path / "store.zarr")).encode()
    refused = 0
    for _ in range(MUTANTS):
        path.write_bytes(mutated(whole, rng))
        try:
            Recipe.load(path)
        except RecipeError:
            refused += 1
    print(f"recipe: {MUTANTS} mutants (seed {SEED}), {refused} refused")
