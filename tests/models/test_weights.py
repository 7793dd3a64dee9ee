"""The registry of weights, its folder, its checks, and loading that executes nothing."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from flow_scenes import needs_ptlflow

from foveal.errors import FovealError, MissingDependency, RecipeError
from foveal.machine import file_sha256
from foveal.models import weights
from foveal.models.weights_registry import REGISTRY, Weights

CONTENT = b"tensors" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    chosen = tmp_path / "weights"
    monkeypatch.setenv("FOVEAL_WEIGHTS", str(chosen))
    return chosen


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """URL of a small web site that publishes CONTENT under two names."""
    root = tmp_path / "site"
    root.mkdir()
    (root / "net.pt").write_bytes(CONTENT)
    (root / "net.index").write_bytes(b"index")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def entry(site: str, **changes: Any) -> Weights:
    one = Weights("net-own", "net", "net.pt", site + "net.pt", "CC0", sha256=DIGEST[:8])
    return replace(one, **changes)


def test_entries_are_complete_and_name_their_own_files() -> None:
    for name, one in REGISTRY.items():
        assert name == one.name
        assert name.startswith(one.network + "-")
        assert one.url.startswith("https://")
        assert one.url.endswith("/" + Path(one.file).name)
        assert one.licence
        assert set(one.sha256) <= set("0123456789abcdef")
        assert len(one.sha256) in (0, 8, 64)
    assert len({one.file for one in REGISTRY.values()}) == len(REGISTRY)
    for network in ("raft", "raft_small", "pwcnet", "flownet2", "i3d_rgb", "i3d_flow", "salema"):
        assert any(one.network == network for one in REGISTRY.values())


@needs_ptlflow
def test_ptlflows_entries_are_those_ptlflow_publishes() -> None:
    import ptlflow

    for method in ("raft", "raft_small", "pwcnet", "flownet2"):
        theirs = ptlflow.get_model_reference(method).pretrained_checkpoints
        ours = {
            one.name.split("-")[1]: one.url for one in REGISTRY.values() if one.network == method
        }
        assert ours == theirs


def test_the_folder_is_chosen_by_environment_then_by_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_WEIGHTS", str(tmp_path / "mine"))
    assert weights.weights_folder() == tmp_path / "mine"
    monkeypatch.delenv("FOVEAL_WEIGHTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert weights.weights_folder() == tmp_path / "cache" / "foveal" / "weights"


def test_a_file_placed_by_hand_is_found_without_a_network(folder: Path) -> None:
    folder.mkdir()
    (folder / "net.pt").write_bytes(CONTENT)
    found = weights.find(entry("https://nowhere.invalid/"))
    assert found == weights.WeightsFile("net-own", folder / "net.pt", DIGEST)
    assert weights.find(str(folder / "net.pt")).name == "net.pt"


def test_what_is_missing_is_said_with_file_source_folder_and_licence(folder: Path) -> None:
    with pytest.raises(MissingDependency) as caught:
        weights.find("i3d_rgb-deepmind")
    said = str(caught.value)
    for suffix in ("data-00000-of-00001", "index"):
        name = f"rgb_imagenet/model.ckpt.{suffix}"
        assert f"/kinetics-i3d/raw/master/data/checkpoints/{name} as {folder / name}" in said
    assert "foveal weights fetch i3d_rgb-deepmind" in said
    assert "Apache-2.0" in said


def test_another_file_under_a_published_name_is_refused(folder: Path) -> None:
    folder.mkdir()
    (folder / "net.pt").write_bytes(b"something else")
    with pytest.raises(MissingDependency, match=r"is not the published net-own.*give its path"):
        weights.find(entry("https://nowhere.invalid/"))


def test_listing_and_checking(folder: Path) -> None:
    folder.mkdir()
    (folder / REGISTRY["raft-things"].file).write_bytes(b"wrong")
    (folder / REGISTRY["salema-salema30"].file).write_bytes(b"any")
    (folder / "rgb_imagenet").mkdir()
    (folder / REGISTRY["i3d_rgb-deepmind"].file).write_bytes(b"no index beside it")
    listed = {status.weights.name: status for status in weights.list_weights()}
    checked = {status.weights.name: status for status in weights.check()}
    assert set(listed) == set(REGISTRY)
    assert (listed["raft-things"].state, listed["raft-things"].sha256) == ("present", None)
    assert checked["raft-things"].state == "wrong"
    assert checked["salema-salema30"].state == "unverified"
    assert checked["salema-salema30"].sha256 == hashlib.sha256(b"any").hexdigest()
    assert checked["i3d_rgb-deepmind"].state == "missing"
    assert listed["raft-sintel"].state == checked["raft-sintel"].state == "missing"
    assert listed["raft-things"].size_bytes == 5


def test_fetching_places_file_and_companion_and_then_asks_no_more(folder: Path, site: str) -> None:
    one = entry(site, file="net/net.pt", companion="net/net.index")
    found = weights.fetch(one)
    assert found.path == folder / "net" / "net.pt"
    assert found.path.read_bytes() == CONTENT
    assert (folder / "net" / "net.index").read_bytes() == b"index"
    again = replace(one, url="http://127.0.0.1:9/net.pt")
    assert weights.fetch(again) == found


@pytest.mark.parametrize(
    ("changes", "said"), [({"sha256": "00000000"}, "sha256 is"), ({"file": "no.pt"}, "404")]
)
def test_a_failed_fetch_leaves_nothing_and_says_what_to_do_by_hand(
    folder: Path, site: str, changes: dict[str, str], said: str
) -> None:
    one = entry(site, **changes)
    if "file" in changes:
        one = replace(one, url=site + changes["file"])
    with pytest.raises(MissingDependency, match=said) as caught:
        weights.fetch(one)
    assert "download by hand" in str(caught.value)
    assert list(folder.iterdir()) == []


def test_downloads_are_bounded(folder: Path, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_BYTES", 100)
    with pytest.raises(MissingDependency, match="larger than 100 bytes"):
        weights.fetch(entry(site))
    assert list(folder.iterdir()) == []


@needs_ptlflow
def test_unknown_names_are_answered_with_near_ones() -> None:
    with pytest.raises(RecipeError, match="did you mean 'raft-sintel'"):
        weights.lookup("raft-sintle")


@needs_ptlflow
def test_ptlflows_other_models_are_known_by_name() -> None:
    found = weights.lookup("gma-sintel")
    assert found.network == "gma"
    assert found.url.endswith(found.file)
    assert len(found.sha256) == 8


def test_digests_follow_changed_files(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    assert file_sha256(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert file_sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_state_dicts_load_plain_or_wrapped(tmp_path: Path) -> None:
    state = {"a.weight": torch.arange(3.0)}
    for name, saved in (("plain", state), ("wrapped", {"state_dict": state, "epoch": 1})):
        torch.save(saved, tmp_path / name)
        loaded = weights.load_state_dict(tmp_path / name)
        assert loaded.keys() == state.keys()
        assert torch.equal(loaded["a.weight"], state["a.weight"])


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickled_code_is_never_executed(tmp_path: Path) -> None:
    fired = tmp_path / "fired"
    torch.save({"state_dict": {"a": Bomb(fired)}}, tmp_path / "zip.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Bomb(fired)))
    for name in ("zip.pt", "raw.pt"):
        with pytest.raises(FovealError, match="pickled code"):
            weights.load_state_dict(tmp_path / name)
    assert not fired.exists()


@pytest.mark.parametrize("saved", [[1, 2], {"state_dict": {}}, {"a": 3}, torch.zeros(3)], ids=str)
def test_files_without_a_state_dict_are_named(tmp_path: Path, saved: Any) -> None:
    torch.save(saved, tmp_path / "odd.pt")
    with pytest.raises(FovealError, match="no state dict"):
        weights.load_state_dict(tmp_path / "odd.pt")


def test_a_garbled_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "html.pt").write_bytes(b"<html>Not Found</html>")
    with pytest.raises(FovealError, match=r"html\.pt"):
        weights.load_state_dict(tmp_path / "html.pt")
