"""Benchmarks start in both ways, say what they found in one shape, and one run writes one table."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"
KEYS = {
    "what", "value", "unit", "peer", "peer_value", "ratio", "goal", "goal_is", "met", "note",
}  # fmt: skip


def load(name: str) -> Any:
    """A module of the benchmarks that needs nothing beside the standard library."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FIGURES, PLAN, TABLE = (load(name) for name in ("_figures", "_plan", "_table"))


@pytest.fixture(scope="module")
def helps() -> dict[str, dict[str, str]]:
    """What ``--help`` says, by benchmark and by the way in which it is run."""
    command = [sys.executable, str(ROOT / "tests" / "benchmarks_help.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_every_benchmark_runs_as_a_script_and_as_a_module(helps: dict[str, Any]) -> None:
    assert len(helps) > 20
    for name, ways in helps.items():
        for way, text in ways.items():
            assert text.startswith("usage:"), (name, way, text[-800:])
            assert "failed" not in text, (name, way, text[-800:])


def test_all_say_what_they_found_in_json_and_know_their_quick_options(
    helps: dict[str, Any],
) -> None:
    benchmarks = {name for name in helps if not name.startswith("_")}
    assert set(PLAN.PLANS) == benchmarks
    for name in benchmarks:
        text = helps[name]["script"]
        assert "--json" in text, name
        for option in PLAN.PLANS[name].quick.split():
            assert not option.startswith("--") or option in text, (name, option)


def test_a_benchmark_prints_its_rows(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "density.py"), "--repeats", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["name"] == "density"
    assert found["rows"]
    assert all(set(row) == KEYS for row in found["rows"])


def test_goals_are_met_from_the_right_side() -> None:
    for kind, value, ratio, met in (
        ("ratio at least", 1, 2.0, True),
        ("ratio at least", 1, 1.9, False),
        ("value at most", 40, None, True),
        ("value at most", 41, None, False),
        ("value at least", 0.6, None, True),
        ("value at least", 0.5, None, False),
    ):
        goal = (kind, {"ratio at least": 2, "value at most": 40, "value at least": 0.6}[kind])
        assert FIGURES.row("x", value, "s", ratio=ratio, goal=goal)["met"] is met
    assert FIGURES.row("x", 1, "s")["met"] is None
    assert FIGURES.faster("x", 2, "peer", 6)["ratio"] == 3
    assert FIGURES.higher("x", 6, "per s", "peer", 2)["ratio"] == 3


def test_a_figure_that_is_no_number_stays_valid_json(capsys: pytest.CaptureFixture[str]) -> None:
    FIGURES.print_json("bad.py", [FIGURES.row("x", float("nan"), "s")], None)
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert told["rows"][0]["value"] is None
    assert TABLE.number(told["rows"][0]["value"]) == "none"


GOOD = """
import json, sys
sys.path.append({folder!r})
from _figures import faster, print_json
print("words that come before")
print_json(__file__, [faster("reading", 2, "a peer", 6, goal=("ratio at least", 4))], None)
"""
BAD = "raise ValueError('no disk')"
SLOW = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({started!r}, "w").write(str(child.pid))
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three benchmarks: one that works, one that fails, one that takes a minute."""
    place = tmp_path / "few"
    place.mkdir()
    (place / "good.py").write_text(GOOD.format(folder=str(FOLDER)))
    (place / "bad.py").write_text(BAD)
    (place / "slow.py").write_text(SLOW.format(started=str(tmp_path / "started")))
    return place


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; "
        "import benchmarks.__main__ as bench; "
        f"sys.exit(bench.main({list(arguments)!r}, Path({str(folder)!r})))"
    )
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, text=True, cwd=folder.parent, **pipes)


def test_one_run_writes_one_table(folder: Path) -> None:
    process = start(folder, "good", "bad", "--out", "made/figures.md", "--json")
    printed, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "failed: bad" in complaint
    run = json.loads(printed)
    assert json.loads((folder.parent / "made/figures.json").read_text()) == run
    good, bad = run["benchmarks"]
    assert (good["status"], good["rows"][0]["ratio"], good["rows"][0]["met"]) == ("done", 3, False)
    assert (bad["status"], bad["why"]) == ("failed", "ValueError: no disk")
    assert run["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert "numpy" in run["versions"]
    text = (folder.parent / "made/figures.md").read_text()
    assert "| good | reading | 2 s | a peer | 6 | 3.00x | ≥ 4x, **missed** |  |" in text
    assert "- bad failed: ValueError: no disk" in text


def test_an_interrupted_run_keeps_what_it_has(folder: Path) -> None:
    process = start(folder, "good", "slow", "bad", "--out", "figures.md")
    started = folder.parent / "started"
    deadline = time.monotonic() + 60
    while not (started.exists() and started.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the rest: python -m benchmarks slow bad" in complaint
    states = {
        one["name"]: one["status"]
        for one in json.loads((folder.parent / "figures.json").read_text())["benchmarks"]
    }
    assert states == {"good": "done", "slow": "was interrupted", "bad": "not run"}
    child = Path(f"/proc/{started.read_text()}/stat")
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_benchmark_that_takes_too_long_is_ended(folder: Path) -> None:
    process = start(folder, "slow", "--limit", "1", "--out", "figures.md")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "- slow failed: took over 1 s" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["god"], "no benchmark god; there are: bad, good, slow"),
        (["good", "--out", "figures.json"], "--out is a file that ends in .md"),
    ],
)
def test_wrong_calls_are_refused(folder: Path, arguments: list[str], said: str) -> None:
    process = start(folder, *arguments)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in complaint
