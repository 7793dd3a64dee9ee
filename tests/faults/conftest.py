"""The store that is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from builds import build, recipe_values, write_raw
from typer.testing import CliRunner

from foveal.cli import app
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.statistics import compute_statistics, write_statistics
from foveal.storage.verify import verify


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store built from three raw clips, which lie beside it, with statistics and scores."""
    folder = tmp_path_factory.mktemp("faults")
    store = folder / "store.zarr"
    build(Recipe.parse(recipe_values(write_raw(folder / "raw"), store)))
    location = Location(store)
    write_statistics(location, compute_statistics(open_store(store)))
    scores = ["evaluate", str(store), "--baselines", "centre_bias", "--metric", "nss"]
    assert CliRunner().invoke(app, scores).exit_code == 0
    assert verify(location) == []
    return store
