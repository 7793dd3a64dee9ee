"""Builds on an S3 server whose replies fail, are cut off or slow: the store is whole in the end, or
one line says that it could not be reached, and the same build goes on later.

``FOVEAL_SEED`` says which requests suffer.
"""

from __future__ import annotations

import http.client
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from builds import build, recipe_values

from faults.damages import LONG
from foveal.errors import StoreUnreachable
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.location import Location
from foveal.storage.marks import read_journal
from foveal.storage.reader import open_store
from foveal.storage.verify import verify

SEED = int(os.environ.get("FOVEAL_SEED", "0"))
BUILDS = 10 if LONG else 1
SLOW_SECONDS = 0.3
SHARE = 0.15
"""Of the requests that suffer."""


class Proxy(BaseHTTPRequestHandler):
    """Hands requests on to the server behind it, or does what bad networks do."""

    protocol_version = "HTTP/1.1"
    behind = ""
    chance = random.Random()
    share = SHARE
    suffered: ClassVar[Counter[str]] = Counter()

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        how = self.chance.choice(["500", "503", "closed", "cut", "slow", "done, then closed"])
        if self.chance.random() >= self.share:
            how = ""
        self.suffered[how] += 1
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
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    s3fs.S3FileSystem.clear_instance_cache()
    yield Proxy
    server.shutdown()
    server.server_close()
    s3fs.S3FileSystem.clear_instance_cache()


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
