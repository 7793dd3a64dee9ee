"""Works ended by signals at random moments: nothing false is ever visible, and the same work begun
again ends in the same bytes.

``FOVEAL_KILLS`` says how many (short form 5, `make faults` 200), ``FOVEAL_SEED`` when.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds import SIZE, write_raw
from builds import objects as contents

from faults.damages import DAMAGES, LONG
from faults.works import prepare, send, started
from foveal.models.tensor_files import read
from foveal.pipeline.demo import DemoClip, write_demo
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.verify import verify

KILLS = int(os.environ.get("FOVEAL_KILLS", "200" if LONG else "5"))
SEED = int(os.environ.get("FOVEAL_SEED", "0"))
SHARES = {"build": 8, "finish": 3, "repair": 3, "training": 3, "prediction": 3}
"""Of twenty kills."""
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGSTOP][0 if LONG else 1 :]
Undisturbed = Callable[[str], tuple[Path, dict[str, Any], float]]
"""By work: a folder where it ended by itself, what it left, the seconds it took."""
IN_A_ROW = 4
"""Kills before a work may end; then it is compared."""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("kills") / "raw")


def outcome(work: str, folder: Path) -> dict[str, Any]:
    """What a work leaves that must not depend on kills."""
    if work == "training":
        run = folder / "run"
        state = read(run / "last.pt")["network"]
        found = {
            key: hashlib.sha256(each.numpy().tobytes()).hexdigest() for key, each in state.items()
        }
        return found | {"curve": (run / "curve.csv").read_text()}
    store = folder / ("small.zarr" if work == "prediction" else "store.zarr")
    statuses = open_store(store).videos["status"].to_dict()
    return {**contents(store), "statuses": statuses}


@pytest.fixture(scope="module")
def undisturbed(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    @functools.cache
    def find(work: str) -> tuple[Path, dict[str, Any], float]:
        folder = tmp_path_factory.mktemp("whole") / work
        prepare(work, folder, raw)
        for _ in range(2 if work in ("finish", "repair") else 1):  # the first one builds
            process = started(work, folder)
            began = time.monotonic()
            process.join()
            lasts = time.monotonic() - began
            assert process.exitcode == 0
        return folder, outcome(work, folder), lasts

    return find


def problems(work: str, folder: Path, truth: dict[str, Any]) -> list[str]:
    """What is visible and false."""
    store = folder / ("store.zarr" if work in ("build", "finish", "repair") else "small.zarr")
    if not (store / "zarr.json").exists():
        return []
    found = [each.message for each in verify(Location(store, read_only=True)) if not each.is_note]
    if work == "repair":  # its damage is still there
        found = []
    marked = open_store(store)
    for video in marked.videos.index:
        if marked.videos.status[video] == "complete" and work == "build":
            for name in marked.arrays(video):
                key = f"videos/{video}/{name}/zarr.json"
                content = hashlib.sha256((store / key).read_bytes()).hexdigest()
                if truth[key] != content:
                    found.append(f"{key} is complete and differs")
    return found


def hurt(folder: Path, chance: random.Random) -> None:
    """Damage a few objects of a whole store, for repairs to mend."""
    files = [path for path in sorted((folder / "store.zarr/videos").rglob("*")) if path.is_file()]
    for path in chance.sample(files, 3):
        how = chance.choice(["missing", "empty", "truncated", "flipped"])
        DAMAGES[how](path, np.random.default_rng(chance.randrange(10**6)))


@pytest.mark.parametrize("work", SHARES)
def test_a_killed_work_shows_nothing_false_and_ends_equal(
    work: str, undisturbed: Undisturbed, raw: Path, tmp_path: Path
) -> None:
    kills = max(1, round(KILLS * SHARES[work] / 20))
    chance = random.Random(f"{work} {SEED}")
    whole, truth, lasts = undisturbed(work)
    folder = tmp_path / "killed"
    landed = compared = 0
    wrong: list[str] = []
    while landed < kills:
        shutil.rmtree(folder, ignore_errors=True)
        if work in ("finish", "repair"):
            shutil.copytree(whole, folder, symlinks=True)
        else:
            prepare(work, folder, raw)
        if work == "repair":
            hurt(folder, chance)
        for _ in range(min(IN_A_ROW, kills - landed)):
            process = started(work, folder)
            time.sleep(chance.uniform(0.0, lasts))
            send(process, signal.SIGKILL)
            process.join()
            landed += process.exitcode == -signal.SIGKILL
            wrong += problems(work, folder, truth)
        process = started(work, folder)
        process.join()
        compared += 1
        if process.exitcode != 0:
            wrong.append(f"begun again it ends with {process.exitcode}")
        elif outcome(work, folder) != truth:
            wrong.append("it ends in other bytes")
        if LONG:
            print(f"{work}: {landed} of {kills} kills, {compared} compared", flush=True)
    print(f"{work}: {landed} kills (seed {SEED}), {compared} compared, {len(wrong)} wrong")
    assert wrong == []


@pytest.mark.parametrize("sent", SIGNALS, ids=lambda sent: sent.name)
@pytest.mark.parametrize("work", ["build", "training"] if LONG else ["build"])
def test_other_signals_lose_nothing_either(
    work: str, sent: signal.Signals, undisturbed: Undisturbed, raw: Path, tmp_path: Path
) -> None:
    count = 10 if LONG else 1
    chance = random.Random(f"{work} {sent} {SEED}")
    _, truth, lasts = undisturbed(work)
    for number in range(count):
        folder = tmp_path / str(number)
        prepare(work, folder, raw)
        process = started(work, folder)
        time.sleep(chance.uniform(0.0, 0.8 * lasts))
        send(process, sent)
        if sent is signal.SIGSTOP:
            time.sleep(0.3)
            assert problems(work, folder, truth) == []
            send(process, signal.SIGCONT)
        process.join()
        assert problems(work, folder, truth) == []
        if sent is signal.SIGSTOP:
            assert process.exitcode == 0
        else:
            process = started(work, folder)
            process.join()
            assert process.exitcode == 0
        assert outcome(work, folder) == truth
        shutil.rmtree(folder)
    print(f"{work}: {count} times {sent.name} (seed {SEED})")


def test_two_builds_at_once_share_the_work(
    undisturbed: Undisturbed, raw: Path, tmp_path: Path
) -> None:
    _, truth, _ = undisturbed("build")
    count = 20 if LONG else 1
    for number in range(count):
        folder = tmp_path / str(number)
        prepare("build", folder, raw)
        pair = [started("build", folder) for _ in range(2)]
        for process in pair:
            process.join()
        assert [process.exitcode for process in pair] == [0, 0]
        assert outcome("build", folder) == truth
    print(f"two builds at once: {count} pairs")


def test_sources_replaced_under_a_build_never_end_in_a_mixture(raw: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    # Other clips by the same names.
    clips = (
        DemoClip(1, 20, "shore", 2, published=True),
        DemoClip(2, 9, "autumn", 2),
        DemoClip(601, 14, "meadow", 2),
    )
    write_demo(other, clips=clips, size=SIZE, observers=3)
    prepare("build", tmp_path / "whole", other)
    process = started("build", tmp_path / "whole")
    process.join()
    truth = contents(tmp_path / "whole/store.zarr")
    chance = random.Random(SEED)
    count = 20 if LONG else 1
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copytree(raw, folder / "raw")
        process = started("build", folder)
        time.sleep(chance.uniform(0.0, 1.0))
        for path in sorted(other.rglob("*")):
            if path.is_file():
                twin = folder / "raw" / path.relative_to(other)
                twin.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, twin.with_name("replacing"))
                twin.with_name("replacing").replace(twin)
        process.join()
        # What it read of either is quarantined or built again now.
        process = started("build", folder)
        process.join()
        assert process.exitcode == 0
        assert contents(folder / "store.zarr") == truth
        assert [p for p in verify(Location(folder / "store.zarr")) if not p.is_note] == []
        shutil.rmtree(folder)
    print(f"sources replaced: {count} times (seed {SEED})")


def test_clocks_that_run_backwards_change_nothing(undisturbed: Undisturbed, tmp_path: Path) -> None:
    whole, truth, _ = undisturbed("build")
    shutil.copytree(whole, tmp_path / "whole", symlinks=True)
    store = tmp_path / "whole/store.zarr"
    table = open_store(store).videos
    rng = np.random.default_rng(SEED)
    count = 30 if LONG else 1
    for _ in range(count):
        for path in store.rglob("*"):
            when = time.time() + rng.uniform(-1e8, 1e8)
            os.utime(path, (when, when))
        opened = open_store(store).videos
        assert opened["stages"].equals(table["stages"])
        assert (opened["status"] == "complete").all()
        process = started("build", tmp_path / "whole")
        process.join()
        assert process.exitcode == 0
        assert outcome("build", tmp_path / "whole") == truth
    print(f"clocks: {count} times (seed {SEED})")
