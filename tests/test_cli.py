"""Habits of command lines."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from builds import recipe_values, write_raw
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import RecipeError
from foveal.pipeline.recipe.recipe import Recipe

RUN = CliRunner()


def test_alone_it_helps_and_ends_well() -> None:
    shown = RUN.invoke(app, [])
    assert shown.exit_code == 0
    assert "build" in shown.output


def test_it_tells_its_version() -> None:
    shown = RUN.invoke(app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"foveal {metadata.version('foveal')}\n")


def test_shells_can_complete_it() -> None:
    assert "--install-completion" in RUN.invoke(app, ["--help"]).output


def test_a_folder_in_place_of_a_recipe_is_told_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"is a folder.*foveal init {tmp_path}"):
        Recipe.load(tmp_path)


def test_a_dry_run_says_where_the_store_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = Recipe.parse(recipe_values(write_raw(tmp_path / "raw"), "here.zarr", flow=[]))
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    shown = RUN.invoke(app, ["build", "recipe.yaml", "--dry-run", "--device", "cpu"])
    assert shown.exit_code == 0
    assert f"the store: {tmp_path / 'here.zarr'}" in shown.output
    assert not (tmp_path / "here.zarr").exists()
    refused = RUN.invoke(app, ["build", "recipe.yaml", "--dry-run", "--device", "gpu"])
    assert refused.exit_code == 1
