"""Full disks, lost mounts and closed connections: one class, one line that says what, where and
what to do, whichever command, flow or function meets them; and the same again mends it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import yaml
from builds import build, recipe_values
from small_stores import write_small_store
from typer.testing import CliRunner

import foveal
from faults.disks import Failing, refuse
from faults.works import limited
from foveal.cli import app
from foveal.errors import StoreUnreachable, Unreachable
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.location import Location
from foveal.storage.verify import verify


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Failing]]:
    fsspec.register_implementation("failing", Failing, clobber=True)
    monkeypatch.setattr(Failing, "store", {})
    monkeypatch.setattr(Failing, "fails", staticmethod(lambda doing, path: None))
    return Failing


WHERE = {
    "index": ("index.parquet", errno.ENOSPC, "the disk is full: make room"),
    "record": ("%store/wanted", errno.ENOSPC, "the disk is full: make room"),
    "mount": ("", errno.ENOTCONN, "mount it again"),
}


@pytest.mark.parametrize("where", WHERE)
def test_a_build_that_cannot_write_says_so_in_one_line_and_goes_on_later(
    failing: type[Failing], whole: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    name, number, advice = WHERE[where]
    url = "failing://store"
    values = recipe_values(whole.parent / "raw", url, flow=[])
    monkeypatch.setattr(failing, "fails", refuse("write", name, number))
    with pytest.raises(StoreUnreachable, match=f"cannot be reached.*{advice}") as raised:
        build(Recipe.parse(values))
    assert "\n" not in str(raised.value)
    monkeypatch.setattr(failing, "fails", staticmethod(lambda doing, path: None))
    _, index = build(Recipe.parse(values))
    assert (index["status"] == "complete").all()
    assert verify(Location(url)) == []


@pytest.mark.parametrize(
    "error",
    [ConnectionResetError(errno.ECONNRESET, "reset"), TimeoutError("timed\nout")],
    ids=["reset", "timeout"],
)
def test_a_closed_connection_is_one_line_wherever_it_is_met(
    failing: type[Failing], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError
) -> None:
    url = "failing://small"
    write_small_store(url, {"001": {}})
    store = foveal.open_store(url)
    monkeypatch.setattr(failing, "fails", staticmethod(lambda doing, path: error))
    met = [lambda: foveal.open_store(url), lambda: store["001"], lambda: store.videos]
    for command in (
        ["inspect", url],
        ["verify", url],
        ["statistics", url],
        ["report", url, "-o", str(tmp_path / "r.html")],
        ["export", url, str(tmp_path / "out"), "--array", "frames"],
    ):
        met.append(lambda command=command: invoke(command))
    for meet in met:
        with pytest.raises(StoreUnreachable, match="check the bucket") as raised:
            meet()
        assert url in str(raised.value)
        assert "\n" not in str(raised.value)


def invoke(command: list[str]) -> None:
    result = CliRunner().invoke(app, command)
    if result.exception is not None:
        raise result.exception


def test_a_disk_that_takes_no_more_is_one_line_on_the_command_line(tmp_path: Path) -> None:
    url = tmp_path / "small.zarr"
    videos = {f"{n}": {"frames": 12} for n in range(2)} | {"v": {"split": "val", "frames": 9}}
    write_small_store(url, videos)
    settings = tmp_path / "settings.yaml"
    values = {
        "model": "salbce",
        "options": {"width": 0.05, "input_size": [16, 16]},
        "stores": [str(url)],
        "run": str(tmp_path / "run"),
        "clip_frames": 4,
        "iterations": 3,
        "checkpoint_every": 1,
        "device": "cpu",
    }
    settings.write_text(yaml.safe_dump(values))
    commands: list[tuple[int, list[str]]] = [
        (20_000, ["train", "salbce", "--config", str(settings)]),
        (1_000, ["export", str(url), str(tmp_path / "out"), "--array", "frames", "--form", "npy"]),
        (1_000, ["report", str(url), "-o", str(tmp_path / "report.html")]),
        (1_000, ["statistics", str(url)]),
    ]
    for limit, command in commands:
        status, said = limited(limit, command, tmp_path / "said")
        (tmp_path / "said").unlink()
        assert status == 1, (command, said)
        # Before it trains, it is told that these frames are smaller than the network's input.
        lines = [line for line in said.strip().splitlines() if "enlarged" not in line]
        assert len(lines) == 1, (command, said)
        assert lines[0].startswith("foveal: ")
        assert "raise the limit (ulimit -f)" in lines[0]
        assert str(tmp_path) in lines[0]
    assert not list(tmp_path.rglob("*.partial"))
    # The same again, with room.
    for _, command in commands[1:]:
        invoke(command)
    assert verify(Location(url)) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_device_is_named_with_what_to_do(whole: Path) -> None:
    with pytest.raises(Unreachable, match=r"/dev/full cannot be written.*the disk is full"):
        invoke(["report", str(whole), "-o", "/dev/full"])
