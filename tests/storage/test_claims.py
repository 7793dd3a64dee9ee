"""Who may write: claims that one process holds, that lapse, and that fence whoever lost them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from zarr.storage import MemoryStore

from foveal.errors import StoreLocked
from foveal.storage.claims import CLAIMS, Claims
from foveal.storage.holders import HOLDERS
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.root import create_store, store_lock
from foveal.storage.schema import ArraySpec
from foveal.storage.verify import verify
from foveal.storage.writer import VideoWriter

LEASE_SECONDS = 1.2
TIME = ArraySpec("time", ("time",), (), np.dtype("float64"), {}, 4, 4, axis="frame", kind="scalar")
FRAMES = ArraySpec(
    "frames", ("time", "y", "x"), (4, 5), np.dtype("uint8"), {}, 2, 4, axis="frame", kind="map"
)


@pytest.fixture(params=["folder", "memory", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "folder":
        return Location(tmp_path / "store.zarr")
    if request.param == "memory":
        return Location(MemoryStore())
    return Location(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")


def test_a_video_is_claimed_by_one_at_a_time(location: Location) -> None:
    with Claims(location, "w") as one, Claims(location, "w") as other:
        with one.claim("a/1"):
            assert not other.free("a/1")
            assert other.free("a")
            with pytest.raises(StoreLocked, match="a/1 is at work in process"), other.claim("a/1"):
                pass
            with pytest.raises(StoreLocked, match="this very process"), one.claim("a/1"):
                pass
            with other.claim("a"):
                pass
        with other.claim("a/1"):
            pass
    assert location.list_all("") == []


def test_who_does_something_else_is_refused(location: Location) -> None:
    with Claims(location, "w"), Claims(location, "w"):
        for work in ("x", None):
            with (
                pytest.raises(StoreLocked, match="is being built by process"),
                Claims(location, work),
            ):
                pass
    with Claims(location), pytest.raises(StoreLocked), Claims(location):
        pass
    assert location.list_all("") == []


def test_of_many_who_want_a_claim_at_once_one_gets_it(location: Location) -> None:
    at_work: list[int] = []
    most = 0

    def take(number: int) -> bool:
        nonlocal most
        with Claims(location, "w") as claims:
            try:
                with claims.claim("v"):
                    at_work.append(number)
                    most = max(most, len(at_work))
                    time.sleep(0.02)
                    at_work.remove(number)
            except StoreLocked:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(take, range(24)))
    assert any(got)
    # A store in memory has no operation that only one of several threads can do.
    assert most == 1 or isinstance(location.zarr, MemoryStore)


def test_the_whole_store_is_waited_for(location: Location) -> None:
    counted = {"n": 0}

    def add(_: int) -> None:
        with Claims(location, "w") as claims, claims.whole_store():
            before = counted["n"]
            time.sleep(0.01)
            counted["n"] = before + 1

    if isinstance(location.zarr, MemoryStore):
        pytest.skip("a store in memory belongs to one process, which has better locks")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(8)))
    assert counted["n"] == 8


def elsewhere(location: Location, holder: str, beat: int, work: str = "w") -> None:
    """A holder on another machine, and its claim of the video v."""
    about = {
        "id": holder,
        "work": work,
        "host": "far",
        "pid": 7,
        "process": "another/7@1",
        "lease_seconds": 0.5,
        "beat": beat,
    }
    location.write_json(f"{HOLDERS}/{holder}", about)
    location.write_json(f"{CLAIMS}/v.1", {"holder": holder})


def test_a_claim_lapses_when_no_beat_comes_for_its_lease(location: Location) -> None:
    with Claims(location, "w") as claims:
        for beat in range(4):
            elsewhere(location, "far", beat)
            assert not claims.free("v")
            time.sleep(0.25)
        time.sleep(0.6)
        with claims.claim("v"):
            assert location.list_folder(CLAIMS) == ["v.2"]


def test_other_work_on_another_machine_is_looked_at_before_it_is_believed(
    location: Location,
) -> None:
    elsewhere(location, "far", 1, "other work")
    started = time.monotonic()
    with Claims(location, "w"):
        assert time.monotonic() - started > 0.5
    elsewhere(location, "far", 1, "other work")
    with ThreadPoolExecutor() as pool:

        def beat() -> None:
            for number in range(2, 30):
                time.sleep(0.1)
                elsewhere(location, "far", number, "other work")

        beating = pool.submit(beat)
        with pytest.raises(StoreLocked, match="process 7 on far"), Claims(location, "w"):
            pass
        assert not beating.done()


def test_records_that_are_garbled_hold_nobody_back(location: Location) -> None:
    for name, content in enumerate([b"", b"null", b"[]", b"{\xff", b'{"holder": "../../x"}']):
        location.write(f"{CLAIMS}/v.{name + 1}", content)
        location.write(f"{HOLDERS}/h{name}", content)
    with Claims(location, "w") as claims, claims.claim("v"):
        assert claims.others() == []
    assert location.list_all("") == []


# Writers that are stopped, and wake

WRITER = """
import sys, time
import numpy as np
sys.path.insert(0, sys.argv[2])
from test_claims import LEASE_SECONDS, write_video
from foveal.errors import StoreLocked
from foveal.storage.claims import Claims
from foveal.storage.location import Location

with Claims(Location(sys.argv[1]), "w", LEASE_SECONDS) as claims:
    print("ready", flush=True)
    try:
        with claims.claim("v") as location:
            print("claimed", flush=True)
            write_video(location, 1, 0.02)
    except StoreLocked as error:
        print("lost:", error, flush=True)
    else:
        print("done", flush=True)
"""


def write_video(location: Location, value: int, pause_seconds: float = 0.0) -> None:
    """Forty frames of one value, a shard at a time."""
    writer = VideoWriter(location, "v", {"video": "v"})
    writer.invalidate(["time"], ["time", "frames"])
    stage = writer.stage("time", {"value": value}, [TIME, FRAMES])
    try:
        for start in range(0, 40, 4):
            times = np.arange(start, start + 4, dtype="f8")
            stage.append({"time": times, "frames": np.full((4, 4, 5), value, "u1")})
            time.sleep(pause_seconds)
        stage.complete({"video": {}})
    except BaseException:
        writer.abandon()
        raise


def start_writer(url: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, url, str(Path(__file__).parent)]
    writer = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    assert writer.stdout.readline() == "claimed\n"
    return writer


@pytest.mark.slow
@pytest.mark.parametrize("place", ["folder", "s3"])
@pytest.mark.parametrize("after_seconds", [0.0, 0.05, 0.15])
def test_who_wakes_after_the_lease_damages_nothing(
    place: str, after_seconds: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "store.zarr")
    if place == "s3":
        url = f"{request.getfixturevalue('bucket')}/wakes{after_seconds}"
    location = Location(url)
    create_store(location, "test", {})
    writer = start_writer(url)
    time.sleep(after_seconds)
    writer.send_signal(signal.SIGSTOP)
    try:
        # A lease that a busy machine cannot let lapse: only the other process is to lose its claim.
        with Claims(location, "w", 8 * LEASE_SECONDS) as claims:
            stopped = time.monotonic()
            while not claims.free("v"):
                assert time.monotonic() - stopped < 20
                time.sleep(0.05)
            with claims.claim("v") as mine:
                half = VideoWriter(mine, "v", {"video": "v"})
                assert half is not None
                writer.send_signal(signal.SIGCONT)
                write_video(mine, 2, 0.01)
        assert writer.wait(20) == 0
        assert writer.stdout is not None
        assert writer.stdout.read().startswith("lost: v: this process did not reach")
    finally:
        writer.kill()
        writer.wait()
        assert writer.stdout is not None
        writer.stdout.close()
    assert verify(location) == []
    video = open_store(url)["v"]
    assert (video["frames"].values == 2).all()
    assert video["frames"].shape == (40, 4, 5)


def test_who_was_killed_is_followed_at_once(tmp_path: Path) -> None:
    location = Location(tmp_path / "store.zarr")
    create_store(location, "test", {})
    writer = start_writer(str(tmp_path / "store.zarr"))
    writer.kill()
    writer.wait()
    assert writer.stdout is not None
    writer.stdout.close()
    started = time.monotonic()
    with store_lock(location) as claims, claims.claim("v") as mine:
        assert time.monotonic() - started < LEASE_SECONDS
        write_video(mine, 3)
    assert verify(location) == []
    left = [key for key in location.list_all("_foveal") if "holders" in key or "claims" in key]
    assert left == []


def test_objects_of_one_who_lost_its_claim_are_written_again(location: Location) -> None:
    create_store(location, "test", {})
    writer = VideoWriter(location, "v", {"video": "v"})
    writer.invalidate(["time"], ["time", "frames"])
    stage = writer.stage("time", {"value": 5}, [TIME, FRAMES])
    # It passed its last check, was stopped, and its write comes now.
    for key in ("videos/v/frames/c/0/0/0", "videos/v/time/zarr.json", "videos/v/time/c/0"):
        location.write(key, b"late")
    stage.append({"time": np.arange(4, dtype="f8"), "frames": np.full((4, 4, 5), 5, "u1")})
    stage.complete({"video": {}})
    assert verify(location) == []
    assert (open_store(location.zarr)["v"]["frames"].values == 5).all()


def test_a_store_without_conditional_writes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    location = Location(tmp_path / "store.zarr")

    def overwrite(key: str, content: bytes) -> bool:
        location.write(key, content)
        return True

    monkeypatch.setattr(location, "create", overwrite)
    with Claims(location, "w") as claims, claims.claim("v"):
        pass
    assert "knows no conditional writes" in caplog.text


def test_the_record_says_who_it_is(tmp_path: Path) -> None:
    location = Location(tmp_path / "store.zarr")
    with Claims(location, "w") as claims, Claims(location, "w") as other:
        (found,) = other.others()
        assert (found.id, found.work) == (claims.id, "w")
        values = json.loads(location.read(f"{HOLDERS}/{claims.id}") or b"")
        assert str(found) == f"process {values['pid']} on {values['host']}"


def test_a_store_that_another_build_makes_meanwhile_is_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = Location(tmp_path / "store.zarr")
    listed = Location.list_folder

    def made_before_the_listing(self: Location, folder: str) -> list[str]:
        monkeypatch.setattr(Location, "list_folder", listed)
        create_store(Location(tmp_path / "store.zarr"), "test", {})
        return listed(self, folder)

    monkeypatch.setattr(Location, "list_folder", made_before_the_listing)
    with store_lock(location, "build x"):
        create_store(location, "test", {})
    assert verify(location) == []
