"""``foveal weights`` as a person and as a machine see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import FovealError
from foveal.models.weights import REGISTRY


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOVEAL_WEIGHTS", str(tmp_path))
    return tmp_path


def test_every_registered_file_is_listed_with_its_terms_and_place(folder: Path) -> None:
    result = CliRunner().invoke(app, ["weights", "list", "--json"])
    assert result.exit_code == 0
    rows = {row["weights"]["name"]: row for row in json.loads(result.stdout)}
    assert rows.keys() == REGISTRY.keys()
    for row in rows.values():
        assert row["state"] == "missing"
        assert row["weights"]["licence"]
        assert row["weights"]["url"].startswith("https://")
        assert Path(row["path"]).is_relative_to(folder)


def test_the_table_names_the_folder(folder: Path) -> None:
    result = CliRunner().invoke(app, ["weights", "list"])
    assert "raft-sintel" in result.stdout
    assert str(folder) in result.stdout.replace("\n", "")


def test_a_damaged_file_is_told_by_the_exit_status(folder: Path) -> None:
    damaged = REGISTRY["raft-sintel"]
    (folder / damaged.file).write_bytes(b"not what was published")
    result = CliRunner().invoke(app, ["weights", "check", "--json"])
    assert result.exit_code == 3
    rows = {row["weights"]["name"]: row["state"] for row in json.loads(result.stdout)}
    assert rows["raft-sintel"] == "wrong"


def test_an_unknown_name_is_refused() -> None:
    result = CliRunner().invoke(app, ["weights", "fetch", "raft-nonsense"])
    assert isinstance(result.exception, FovealError)
    assert "raft-sintel" in str(result.exception)


def test_backbones_that_lie_in_the_folder_are_listed(folder: Path) -> None:
    file = folder / "timm" / "resnet18" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"tensors")
    (folder / "timm" / "no_such_network").mkdir()
    result = CliRunner().invoke(app, ["weights", "check", "--json"])
    rows = {row["weights"]["name"]: row for row in json.loads(result.stdout)}
    assert rows["timm:resnet18"]["state"] == "unverified"
    assert rows.keys() - REGISTRY.keys() == {"timm:resnet18"}


def test_get_is_fetch_and_names_what_it_cannot_get() -> None:
    result = CliRunner().invoke(app, ["weights", "get", "huggingface:nobody"])
    assert "huggingface:ORG/NAME" in str(result.exception)
