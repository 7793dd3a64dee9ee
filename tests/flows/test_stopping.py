"""Builds that are stopped by Ctrl-C and SIGTERM; for cancelled runs see `test_lab`."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from faults.damages import LONG
from prefect.client.orchestration import get_client
from stopping import (
    FRAMES,
    ONE_BATCH_TAKES_MINUTES,
    SECONDS,
    assert_only_whole_work_is_left,
    ffmpegs,
    own_environment,
    runs_of,
    until,
    write_recipe,
)

from foveal.storage.reader import open_store


def build_again(recipe: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "foveal", "build", str(recipe), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    counts = json.loads(done.stdout)["counts"]
    assert counts["quarantined"] == counts["failed"] == 0
    index = open_store(recipe.parent / "store.zarr").videos
    assert (index["status"] == "complete").all()
    assert (index["frames"] == FRAMES).all()


def start_build(recipe: Path, environment: dict[str, str], **options: Any) -> Any:
    def heed_signals() -> None:
        # Whoever runs these tests in the background may ignore Ctrl-C, and children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    return subprocess.Popen(
        [sys.executable, "-m", "foveal", "build", str(recipe), "--workers", "1"],
        env=environment,
        preexec_fn=heed_signals,
        start_new_session=True,
        **options,
    )


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_leaves_it_as_it_was(long_clips: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, long_clips)
    environment = own_environment(tmp_path / "prefect", TERM="xterm", COLUMNS="100")
    terminal, inside = pty.openpty()
    process = start_build(recipe, environment, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    os.set_blocking(terminal, False)
    screen = b""

    def look() -> bytes:
        nonlocal screen
        with suppress(BlockingIOError, OSError):
            while more := os.read(terminal, 65536):
                screen += more
        return screen

    until(lambda: look() and ffmpegs(long_clips))
    os.killpg(process.pid, signal.SIGINT)
    pressed = time.monotonic()
    until(lambda: (look(), process.poll() is not None)[1])
    assert time.monotonic() - pressed < SECONDS
    look()
    os.close(terminal)
    assert process.returncode == 130
    assert screen.rfind(b"\x1b[?25h") > screen.rfind(b"\x1b[?25l"), "the cursor is shown again"
    assert screen.endswith(b"goes on\r\n"), "the prompt has a line of its own"
    assert b"Traceback" not in screen
    until(lambda: not ffmpegs(long_clips), 5)
    assert_only_whole_work_is_left(tmp_path / "store.zarr")
    build_again(recipe, environment)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, *([signal.SIGINT] if LONG else [])])
def test_a_signal_ends_videos_whose_batch_takes_minutes(
    api: str, long_clips: Path, tmp_path: Path, number: int
) -> None:
    recipe = write_recipe(tmp_path, long_clips, ONE_BATCH_TAKES_MINUTES)
    environment = own_environment(tmp_path / "prefect", PREFECT_API_URL=api)
    with get_client(sync_client=True) as client:
        before = {run.id for run in client.read_flow_runs()}
    process = start_build(recipe, environment, stderr=subprocess.PIPE)
    until(lambda: ffmpegs(long_clips))
    time.sleep(2)
    process.send_signal(number)
    sent = time.monotonic()
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - sent < SECONDS + 5
    assert process.returncode == 128 + number
    assert told.decode().endswith("goes on\n")
    assert b"Traceback" not in told
    assert_only_whole_work_is_left(tmp_path / "store.zarr")
    with get_client(sync_client=True) as client:
        (run,) = [run.id for run in client.read_flow_runs() if run.id not in before]
    flow_run, tasks = runs_of(run)
    assert flow_run.state is not None
    assert flow_run.state.is_final()
    assert [task.state_name for task in tasks] == ["Cancelled"]
