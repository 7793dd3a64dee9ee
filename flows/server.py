"""Run Prefect's API server for the time of one build, where the user has none running.

Prefect starts a temporary server by itself, but that one outlives a killed build and keeps its
standard output open. This one is the same server, started so that it dies with its parent.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from foveal.errors import MissingDependency

_START_SECONDS = 60
_DRAIN_SECONDS = 10
_TELL_SECONDS = 3
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
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    server = _start(port)
    try:
        await_health(server, url)
        with temporary_settings({PREFECT_API_URL: url}):
            yield url
            drain()
    finally:
        server.terminate()
        try:
            server.wait(_DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
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
        # Not in reach of Ctrl-C: the build that is interrupted has states to report.
        process_group=0,
        preexec_fn=die_with_parent if sys.platform == "linux" else None,
    )


def drain(seconds: float = _DRAIN_SECONDS) -> None:
    """Send logs and events that still wait to the server, before it or this process ends."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=seconds)


def tell_cancelled(task_runs: Sequence[UUID], flow_run: UUID | None = None) -> None:
    """Tell Prefect that these runs were cancelled; give up after some seconds."""

    def tell() -> None:
        from prefect.client.orchestration import get_client
        from prefect.states import Cancelled

        state: Any = Cancelled(message="the build was stopped")
        with contextlib.suppress(Exception), get_client(sync_client=True) as client:
            for run in task_runs:
                with contextlib.suppress(Exception):
                    client.set_task_run_state(run, state, force=True)
            if flow_run is not None:
                client.set_flow_run_state(flow_run, state, force=True)

    # Which server it is, the context knows.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(tell,), name="tell Prefect", daemon=True)
    thread.start()
    thread.join(_TELL_SECONDS)


def settle_tasks(ended: Mapping[UUID, Any]) -> None:
    """Set the final state of tasks whose worker died before it reported: none stays *Running*.

    Parameters
    ----------
    ended : mapping
        State by id of the task run.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import TaskRunFilter

    unsettled = {"any_": ["RUNNING", "PENDING", "SCHEDULED"]}
    deadline = time.monotonic() + _TELL_SECONDS
    ids = list(ended)
    with contextlib.suppress(Exception), get_client(sync_client=True) as client:
        while ids:
            wanted = TaskRunFilter.model_validate(
                {"state": {"type": unsettled}, "id": {"any_": ids}}
            )
            ids = [run.id for run in client.read_task_runs(task_run_filter=wanted)]
            if time.monotonic() > deadline:
                for run in ids:
                    client.set_task_run_state(run, ended[run], force=True)
                return
            time.sleep(0.1)


def die_with_parent() -> None:
    """Ask the kernel (Linux) for SIGTERM when the process that started this one ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def await_health(server: subprocess.Popen[bytes], url: str) -> None:
    """Wait until a server answers.

    Raises
    ------
    MissingDependency
        It ends, or says nothing for a minute.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise MissingDependency(
        f"Prefect's server did not start (exit {server.poll()}); see what "
        "`prefect server start` says, or set PREFECT_API_URL to a server that runs"
    )


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
