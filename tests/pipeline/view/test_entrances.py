"""The ways to the page: the command, the notebook, and a file for rerun."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import httpx
import pytest
from typer.testing import CliRunner
from viewed_store import REASON

from foveal.cli import app
from foveal.errors import FovealError, MissingDependency, StoreError
from foveal.pipeline.view import notebook
from foveal.pipeline.view.rerun_file import write_rerun
from foveal.pipeline.view.server import Viewer


@pytest.mark.timeout(60)
def test_the_command_prints_the_link_serves_and_ends_by_ctrl_c(viewed_folder):
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "foveal",
        "view",
        str(viewed_folder),
        "001",
    ]
    with subprocess.Popen(
        [*command, "--frame", "7", "--no-browser", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        # Where it hangs, faulthandler says where.
        patience = threading.Timer(40, running.send_signal, [signal.SIGABRT])
        patience.start()
        told = ""
        while not told.endswith("}\n") and (line := running.stdout.readline()):
            told += line
        if told:
            about = json.loads(told)
            assert about["link"].endswith("#video=001&frame=7")
            assert httpx.get(about["link"], timeout=30).status_code == 200
            running.send_signal(signal.SIGINT)
        _, complaints = running.communicate()
        patience.cancel()
        assert (running.returncode, complaints) == (0, ""), complaints


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "there is no store at nowhere"),
        (["{store}", "01"], "has no video '01'"),
        (["{store}", "009"], REASON),
        (["{store}", "--rerun", "x.rrd"], "--rerun writes one video"),
        (["{store}", "001", "--rerun", "x.mp4"], "ends in .rrd"),
    ],
)
def test_wrong_input_is_one_sentence(viewed_folder, arguments, said):
    words = [word.format(store=viewed_folder) for word in arguments]
    told = CliRunner().invoke(app, ["view", *words, "--no-browser"])
    assert isinstance(told.exception, FovealError)
    assert said in str(told.exception)


def test_links_carry_names_of_any_kind(viewer):
    link = viewer.link("clips/a b&frame=1#x", 4)
    assert link.partition("#")[2] == "video=clips%2Fa%20b%26frame%3D1%23x&frame=4"


@pytest.fixture
def kernel():
    yield
    notebook.stop_all()


def test_a_notebook_shows_the_same_page(store, kernel):
    frame = store.view("001", frame=5)
    again = store.view("002")
    html = frame._repr_html_()
    assert "#video=001&frame=5" in frame.src.replace("&amp;", "&")
    assert 'height="760"' in html
    assert frame.src.partition("#")[0] == again.src.partition("#")[0]  # one server a store
    page = httpx.get(frame.src.partition("#")[0])
    assert page.status_code == 200
    assert "vscode-webview:" in page.headers["content-security-policy"]


def test_a_notebook_is_told_what_is_wrong(store, kernel, monkeypatch):
    with pytest.raises(StoreError, match="has no video 'x'"):
        store.view("x")
    with pytest.raises(FovealError, match="count from 0"):
        store.view("001", frame=-1)
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(MissingDependency, match="foveal view"):
        store.view("001")


def test_a_server_that_ended_gives_its_port_back(store):
    first = Viewer(store)
    first.start()
    first.stop()
    second = Viewer(store, first.port)
    second.start()
    second.stop()


def test_rerun_gets_every_layer(store, tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    logged = write_rerun(store, "001", tmp_path / "x.rrd")
    assert {"picture/frames", "picture/density", "picture/flow_tvl1", "picture/fixations"} <= set(
        logged
    )
    assert (tmp_path / "x.rrd").stat().st_size > 1000


def test_without_rerun_the_extra_is_named(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingDependency, match=r"foveal\[rerun\]"):
        write_rerun(store, "001", tmp_path / "x.rrd")
