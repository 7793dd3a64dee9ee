"""Exit statuses of the commands on a damaged store, as scripts rely on them: 0 done; 1 nothing
could be done, and one line says why; 3 done, with bad news."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from builds import recipe_values

from faults.damages import VIDEO
from foveal.cli import main

COMMANDS = {
    "inspect": "inspect STORE",
    "inspect one": f"inspect STORE {VIDEO}",
    "verify": "verify STORE",
    "statistics": "statistics STORE",
    "export": "export STORE OUT --array density --form npy",
    "report": "report STORE --output OUT.html",
    "evaluate": "evaluate STORE --baselines centre_bias --metric nss",
    "build": "build RECIPE",
    "verify again": "verify STORE",
}
"""In this order, on one store."""


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _flip_a_chunk(store: Path) -> None:
    flipped(store / f"videos/{VIDEO}/density/c/0/0/0")


def _lose_a_mark(store: Path) -> None:
    (store / f"_foveal/{VIDEO}/density.json").unlink()


def _empty_a_mark(store: Path) -> None:
    (store / f"_foveal/{VIDEO}/density.json").write_bytes(b"")


def _flip_the_index(store: Path) -> None:
    flipped(store / "index.parquet")


def _lose_a_group(store: Path) -> None:
    (store / f"videos/{VIDEO}/zarr.json").unlink()


def _lose_the_root(store: Path) -> None:
    (store / "zarr.json").unlink()


def _lose_the_root_and_its_copy(store: Path) -> None:
    (store / "zarr.json").unlink()
    (store / "_foveal/%store/root").unlink()


ALL_WELL = dict.fromkeys(COMMANDS, 0)
NO_DENSITY = {"verify": 3, "statistics": 1, "evaluate": 1}
STATUSES: dict[Callable[[Path], object], dict[str, int]] = {
    lambda store: None: {},
    # A build trusts marks; only `verify` and `build --repair` read every chunk.
    _flip_a_chunk: {**NO_DENSITY, "export": 1, "verify again": 3},
    _flip_the_index: {"verify": 3},
    _lose_a_group: {"verify": 3, "verify again": 3},
    _lose_the_root: {"verify": 3},
    _lose_the_root_and_its_copy: dict.fromkeys(COMMANDS, 1),
    # What would compute again is left to the tests of builds: it starts a server.
    _lose_a_mark: {**NO_DENSITY, "export": 3, "build": -1, "verify again": 3},
    _empty_a_mark: {**NO_DENSITY, "export": 3, "build": -1, "verify again": 3},
}


@pytest.mark.parametrize("damage", STATUSES, ids=lambda damage: damage.__name__.strip("_<>"))
@pytest.mark.filterwarnings("ignore::foveal.errors.DamageWarning")
def test_exit_statuses(
    damage: Callable[[Path], object],
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = tmp_path / "store.zarr"
    shutil.copytree(whole, store)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_values(whole.parent / "raw", store)))
    places = {"STORE": str(store), "OUT": str(tmp_path / "out"), "RECIPE": str(recipe)}
    places["OUT.html"] = f"{tmp_path}/report.html"
    damage(store)
    found = {}
    for name, command in COMMANDS.items():
        if STATUSES[damage].get(name) == -1:
            continue
        words = [places.get(word, word) for word in command.split()]
        monkeypatch.setattr(sys, "argv", ["foveal", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        found[name] = ended.value.code or 0
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        if found[name] == 1:
            (line,) = said.err.strip().splitlines()
            assert line.startswith("foveal: ")
            assert str(store) in line
    expected = {**ALL_WELL, **STATUSES[damage]}
    assert found == {name: status for name, status in expected.items() if status != -1}
