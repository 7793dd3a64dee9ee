"""Prefect's API server for the time of one build, where the user has none running.

Prefect starts a temporary server by itself, but that one outlives a killed build and keeps its
standard output open. This one is the same server, started so that it dies with its parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from foveal.errors import MissingDependency

_START_SECONDS = 60
_DRAIN_SECONDS = 10
_PR_SET_PDEATHSIG = 1


@contextmanager
def prefect_server() -> Iterator[str]:
    """The API to report to: the one that is configured, else an embedded one.

    Yields
    ------
    str
        URL of the API; ``PREFECT_API_URL`` names it as long as the block runs.

    Raises
    ------
    MissingDependency
        Where the embedded server does not start.
    """
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    configured = get_current_settings().api.url
    if configured:
        yield configured
        return
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    server = _start(port)
    try:
        _await_health(server, url)
        with temporary_settings({PREFECT_API_URL: url}):
            yield url
            _drain()
    finally:
        server.terminate()
        server.wait()


def _start(port: int) -> subprocess.Popen[bytes]:
    application = ["--factory", "prefect.server.api.server:create_app"]
    address = ["--host", "127.0.0.1", "--port", str(port)]
    return subprocess.Popen(
        [sys.executable, "-m", "uvicorn", *application, *address, "--log-level", "error"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"},
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )


def _drain() -> None:
    """Let logs and events that still wait reach the server before it goes."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_DRAIN_SECONDS)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _await_health(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise MissingDependency(
        f"Prefect's embedded server did not start (exit {server.poll()}); see what "
        "`prefect server start` says, or set PREFECT_API_URL to a server that runs"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
