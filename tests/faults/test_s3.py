"""Builds on an S3 server whose replies fail, are cut off or slow: the store is whole in the end, or
one line says that it could not be reached, and the same build goes on later.

``FOVEAL_SEED`` says which requests suffer.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import numpy as np
import pytest
from builds import build, recipe_values

from faults.damages import LONG
from faults.works import send, started
from foveal.errors import StoreUnreachable
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.location import Location
from foveal.storage.marks import read_journal
from foveal.storage.reader import open_store
from foveal.storage.verify import verify
from foveal.torch import ClipLoader, Clips

SEED = int(os.environ.get("FOVEAL_SEED", "0"))
BUILDS = 10 if LONG else 1
KILLS = 20 if LONG else 1
SLOW_SECONDS = 0.3
SHARE = 0.15 if LONG else 0.08
"""Of the requests that suffer."""


class Proxy(BaseHTTPRequestHandler):
    """Hands requests on to the server behind it, or does what bad networks do."""

    protocol_version = "HTTP/1.1"
    behind = ""
    chance = random.Random()
    share = SHARE
    suffered: ClassVar[Counter[str]] = Counter()
    puts: ClassVar[int] = 0
    kill_at: ClassVar[int] = 0
    kill: ClassVar[Callable[[], None] | None] = None

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        how = self.chance.choice(["500", "503", "closed", "cut", "slow", "done, then closed"])
        if self.chance.random() >= self.share:
            how = ""
        self.suffered[how] += 1
        Proxy.puts += self.command == "PUT"
        if Proxy.kill is not None and Proxy.puts == Proxy.kill_at:
            Proxy.kill()
        if how == "slow":
            time.sleep(SLOW_SECONDS)
        if how in ("500", "503"):
            self.send_response(int(how))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if how == "closed":
            self.close_connection = True
            return
        # The Host of the signature stays the proxy's: the server does not check it.
        connection = http.client.HTTPConnection(self.behind, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        if how == "done, then closed":
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = reply.getheader("Content-Length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        if how == "cut" and len(content) > 1:
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _hand_on


@pytest.fixture
def bad_network(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Proxy]]:
    import s3fs

    Proxy.behind = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc.replace("0.0.0.0", "127.0.0.1")
    Proxy.chance = random.Random(SEED)
    Proxy.suffered = Counter()
    Proxy.kill = None
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    s3fs.S3FileSystem.clear_instance_cache()
    yield Proxy
    server.shutdown()
    server.server_close()
    s3fs.S3FileSystem.clear_instance_cache()


Outcome = TypeVar("Outcome")


def on_bad_network(work: Callable[[], Outcome], tries: int = 3) -> Outcome:
    """What a work gives; where the network refuses it, it is begun again, at last on a good one."""
    share = Proxy.share
    try:
        for number in range(tries):
            Proxy.share = share if number < tries - 1 else 0.0
            with suppress(StoreUnreachable):
                return work()
    finally:
        Proxy.share = share
    raise AssertionError("refused without any fault of the network")


def problems(location: Location) -> list[Any]:
    return [problem for problem in verify(location) if not problem.is_note]


def test_a_killed_build_goes_on_is_read_verified_and_repaired(
    bad_network: type[Proxy],
    bucket: str,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    videos = ["001", "002", "601"] if LONG else ["002"]
    chance, rng = random.Random(SEED), np.random.default_rng(SEED)
    truth = {video: open_store(whole)[video].drop_vars("flow_tvl1").load() for video in videos}
    environment = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    killed = 0
    for number in range(KILLS):
        url, folder = f"{bucket}/killed-{number}", tmp_path / str(number)
        folder.mkdir()
        values = recipe_values(whole.parent / "raw", url, flow=[])
        recipe = Recipe.parse(values)
        about = {"environment": environment, "recipe": values, "only": videos}
        (folder / "build.json").write_text(json.dumps(about))
        monkeypatch.setattr(bad_network, "share", SHARE)
        monkeypatch.setattr(bad_network, "puts", 0)
        monkeypatch.setattr(bad_network, "kill_at", chance.randint(8, 8 + 12 * len(videos)))
        process = started("build there", folder)
        monkeypatch.setattr(bad_network, "kill", functools.partial(send, process, signal.SIGKILL))
        process.join()
        monkeypatch.setattr(bad_network, "kill", None)
        killed += process.exitcode == -signal.SIGKILL
        location = Location(url)

        with on_good_network():
            assert problems(location) == []  # no mark speaks of what is not there
        on_bad_network(lambda of=recipe: build(of, only=videos))

        def shuffled(store_url: str) -> dict[tuple[str, int], Any]:
            clips = Clips(store_url, frames=4, variables=["frames"], videos=videos)
            read = {}
            for batch in ClipLoader(clips, 4, seed=SEED):
                for video, start, frames in zip(
                    batch["video"], batch["frame"], batch["frames"], strict=True
                ):
                    read[video, int(start[0])] = frames.numpy()
            return read

        here, there = shuffled(str(whole)), on_bad_network(lambda of=url: shuffled(of))
        assert here.keys() == there.keys()
        assert all(np.array_equal(there[clip], here[clip]) for clip in here)
        assert on_bad_network(lambda of=location: problems(of)) == []

        with on_good_network():
            keys = [key for video in videos for key in location.list_all(f"videos/{video}")]
            for key in chance.sample([key for key in keys if "/c/" in key], 2):
                content = location.read(key) or b""
                harm(location, key, content, rng)
            location.write(f"_foveal/{videos[0]}/density.json", b"{}")
            assert problems(location) != []
        on_bad_network(lambda of=recipe: build(of, only=videos, repair=True))
        with on_good_network():
            assert problems(location) == []
            for video in videos:
                found = open_store(url)[video].load()
                assert all(found[name].equals(truth[video][name]) for name in found.variables)
    print(f"S3 (seed {SEED}): {KILLS} builds, {killed} killed, {dict(bad_network.suffered)}")


@contextmanager
def on_good_network() -> Iterator[None]:
    share, Proxy.share = Proxy.share, 0.0
    try:
        yield
    finally:
        Proxy.share = share


def harm(location: Location, key: str, content: bytes, rng: np.random.Generator) -> None:
    """Remove an object, cut it off or flip one of its bits."""
    how = rng.integers(3)
    if how == 0 or not content:
        location.delete(key)
    elif how == 1:
        location.write(key, content[: len(content) // 2])
    else:
        flipped = bytearray(content)
        flipped[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        location.write(key, bytes(flipped))


@pytest.mark.parametrize("share", [SHARE, 1.0] if LONG else [SHARE])
def test_bad_replies_lose_nothing(
    bad_network: type[Proxy],
    bucket: str,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
) -> None:
    refused = 0
    videos = ["001", "002", "601"] if LONG else ["002"]
    for number in range(BUILDS if share < 1 else 1):
        url = f"{bucket}/bad-{share}-{number}"
        values = recipe_values(whole.parent / "raw", url, flow=[])
        monkeypatch.setattr(bad_network, "share", share)
        try:
            build(Recipe.parse(values), only=videos)
        except StoreUnreachable as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert url in str(error)  # noqa: PT017
            refused += 1
        monkeypatch.setattr(bad_network, "share", 0.0)
        location = Location(url)
        for video, marks in read_journal(location)[0].items():
            # No mark speaks of what is not there.
            assert marks
            found = [problem for problem in verify(location, [video]) if not problem.is_note]
            assert found == []
        _, index = build(Recipe.parse(values), only=videos)
        assert (index["status"][videos] == "complete").all()
        assert verify(location) == []
        for video in videos:
            one, other = open_store(url)[video].load(), open_store(whole)[video].load()
            assert all(one[name].equals(other[name]) for name in one.variables)
    print(f"S3 (seed {SEED}): {BUILDS} builds, {refused} refused, {dict(bad_network.suffered)}")
