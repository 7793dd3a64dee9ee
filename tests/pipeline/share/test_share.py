"""Stores and runs to a hub and back: whole, resumed where broken off, with a card that warns."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_stores import edit_root, write_small_index, write_small_store
from typer.testing import CliRunner

import foveal
from foveal.cli import app
from foveal.errors import ChecksumError, FovealError, MissingDependency, StoreError, Unreachable
from foveal.pipeline.share import hub as sharing
from foveal.pipeline.share.hub import Address
from foveal.pipeline.share.runs import fetched_run, pull_run, push_run
from foveal.pipeline.share.stores import pull_store, push_store
from foveal.storage.index import distrust_index
from foveal.storage.location import Location
from foveal.storage.verify import verify

pytest.importorskip("huggingface_hub.constants")
spec = importlib.util.spec_from_file_location("fake_hub", Path(__file__).parent / "fake_hub.py")
assert spec is not None
assert spec.loader is not None
fake_hub = importlib.util.module_from_spec(spec)
sys.modules["fake_hub"] = fake_hub
spec.loader.exec_module(fake_hub)

ADDRESS = "hf://datasets/me/small"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with fake_hub.running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        # Its content-addressed storage is another protocol; LFS carries the same files.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_tests")
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "small.zarr"
    write_small_store(folder, {"001": {"frames": 9}, "002": {"frames": 5, "split": "val"}})
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_store_comes_back_as_it_went(hub: Any, store: Path, tmp_path: Path) -> None:
    moved, warnings = push_store(store, ADDRESS)
    assert hub.private == {"me/small": True}
    assert moved.files == moved.moved == len(contents(store))
    assert warnings == ["small: its terms are not known; ask the owners of the videos"]
    back = tmp_path / "back.zarr"
    pulled = pull_store(ADDRESS, back)
    assert pulled.moved == moved.files
    assert contents(back) == contents(store)
    assert [one for one in verify(Location(back)) if one.kind != "unchecked"] == []
    # Again, nothing travels either way.
    commits = hub.uploads, hub.downloads
    assert push_store(store, ADDRESS)[0].moved == 0
    assert pull_store(ADDRESS, back).moved == 0
    assert (hub.uploads, hub.downloads) == commits


def test_what_was_broken_off_goes_on(
    hub: Any, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "_BATCH_FILES", 6)
    hub.uploads_left = 5
    with pytest.raises(Unreachable, match="the same command goes on where this one was"):
        push_store(store, ADDRESS)
    assert "zarr.json" not in hub.files("me/small"), "nobody takes a part for a store"
    sent, hub.uploads_left = hub.uploads, None
    moved, _ = push_store(store, ADDRESS)
    assert moved.moved < moved.files
    assert hub.uploads - sent < moved.files
    hub.downloads_left = 7
    back = tmp_path / "back.zarr"
    with pytest.raises(FovealError):
        pull_store(ADDRESS, back)
    with pytest.raises(StoreError):
        foveal.open_store(back)
    already, hub.downloads_left = hub.downloads, None
    pull_store(ADDRESS, back)
    assert hub.downloads - already < moved.files
    assert contents(back) == contents(store)


def test_what_has_gone_from_a_store_goes_from_the_hub(hub: Any, store: Path) -> None:
    push_store(store, ADDRESS)
    hub.files("me/small")["videos/001/old/c/0"] = b"left over"
    moved, _ = push_store(store, ADDRESS)
    assert moved.removed == 1
    assert "videos/001/old/c/0" not in hub.files("me/small")


def test_damage_is_seen_at_either_end(hub: Any, store: Path, tmp_path: Path) -> None:
    push_store(store, ADDRESS)
    files = hub.files("me/small")
    name = next(name for name in files if "/frames/c/" in name)
    oid = fake_hub.listed(name, files[name])["lfs"]["oid"]
    hub.objects[oid] = bytes(len(files[name]))
    with pytest.raises(ChecksumError, match=r"is not what the hub says; pull again"):
        pull_store(ADDRESS, tmp_path / "back.zarr")
    # The hub's own file was changed: the store's marks see it.
    files[name] = bytes(len(files[name]))
    hub.objects.clear()
    with pytest.raises(ChecksumError, match=r"but that is not whole: \d+ problems"):
        pull_store(ADDRESS, tmp_path / "other.zarr")


def test_paths_that_lead_out_of_the_folder_are_refused(
    hub: Any, store: Path, tmp_path: Path
) -> None:
    push_store(store, ADDRESS)
    hub.files("me/small")["../escaped"] = b"x"
    with pytest.raises(FovealError, match="leads out of the folder"):
        pull_store(ADDRESS, tmp_path / "in" / "back.zarr")
    assert not (tmp_path / "in" / "escaped").exists()


def test_the_card_says_what_it_is_whose_and_warns(hub: Any, store: Path) -> None:
    def forbidding(about: dict[str, Any]) -> None:
        about["dataset"] = "ucf_sports"
        about["recipe"]["dataset"] = {"kind": "ucf_sports", "root": "/home/me/data"}

    edit_root(Location(store), forbidding)
    write_small_index(Location(store))
    with pytest.raises(FovealError, match=r"its terms forbid to pass it on.*without --public"):
        push_store(store, ADDRESS, public=True)
    assert hub.repositories == {}
    _, warnings = push_store(store, ADDRESS)
    card = hub.files("me/small")["README.md"].decode()
    head, rest = card.removeprefix("---\n").split("\n---", 1)
    assert yaml.safe_load(head)["tags"][0] == "saliency"
    assert f"> **Before you pass it on:** {warnings[0]}" in rest
    assert "Cite: " in rest
    assert "foveal pull hf://datasets/me/small small.zarr" in rest
    assert "| train | 1 | 9 |" in rest
    assert "/home/me" not in card


def test_a_store_that_is_being_built_is_not_pushed(hub: Any, store: Path) -> None:
    distrust_index(Location(store))
    with pytest.raises(StoreError, match="finish it first"):
        push_store(store, ADDRESS)


def test_a_run_goes_to_the_hub_and_predicts_from_there(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "best.pt").write_bytes(b"weights")
    (run / "last.pt").write_bytes(b"the optimiser's too")
    (run / "settings.yaml").write_text("model: salema\nstores: [/data/private/dhf1k.zarr]\n")
    push_run(run, "hf://me/salema", public=True)
    files = hub.files("me/salema", "model")
    assert sorted(files) == [".gitattributes", "README.md", "best.pt", "settings.yaml"]
    assert hub.private == {"me/salema": False}
    card = files["README.md"].decode()
    assert "foveal predict hf://me/salema --store your.zarr" in card
    assert "dhf1k.zarr" in card
    assert "/data/private" not in card
    pull_run("hf://me/salema", tmp_path / "back")
    assert (tmp_path / "back" / "best.pt").read_bytes() == b"weights"
    monkeypatch.setenv("FOVEAL_WEIGHTS", str(tmp_path / "weights"))
    assert fetched_run("hf://me/salema").read_bytes() == b"weights"
    with pytest.raises(FovealError, match=r"holds no best\.pt"):
        push_run(tmp_path, "hf://me/salema")


def test_the_command_line_tells_what_was_done(hub: Any, store: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["push", str(store), ADDRESS])
    assert shown.exit_code == 0, shown.output
    assert "all compared" in shown.stdout
    assert "note: small: its terms are not known" in shown.stderr
    shown = CliRunner().invoke(app, ["pull", ADDRESS, str(tmp_path / "b.zarr"), "--json"])
    assert shown.exit_code == 0, shown.output
    assert yaml.safe_load(shown.stdout)["address"] == ADDRESS


@pytest.mark.parametrize(
    "text", ["me/small", "hf://me/small", "hf://datasets/small", "hf://datasets/a/../b", "s3://a/b"]
)
def test_other_addresses_are_named(text: str) -> None:
    with pytest.raises(FovealError, match="hf://datasets/NAME/REPO"):
        Address.parse(text, "dataset")


def test_who_is_unknown_or_alone_is_told(
    hub: Any, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FovealError, match="hf auth login"):
        pull_store("hf://datasets/me/nothing", tmp_path / "x.zarr")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("…")
    with pytest.raises(StoreError, match="holds something else"):
        pull_store(ADDRESS, tmp_path / "mine")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependency, match=r"pip install 'foveal\[share\]'"):
        push_store(store, ADDRESS)


def test_datasets_say_what_their_terms_allow() -> None:
    from foveal.registry import find, plugins

    for kind in plugins("sources"):
        fields = {field.name for field in dataclasses.fields(find("sources", kind))}
        assert "redistribution" in fields
