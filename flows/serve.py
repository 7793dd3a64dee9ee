"""A lab's server on one machine: Prefect's server, a work pool, its worker and the deployments.

``make serve`` runs it in the clone; ``prefect.yaml`` there lists the deployments.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import foveal.flows  # noqa: F401  sets the environment, before Prefect is imported
from foveal.errors import FovealError, MissingDependency, RecipeError
from foveal.flows.server import await_health, die_with_parent
from foveal.pipeline.recipe.yaml_files import read_mapping

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

POOL = "foveal"
"""Work pool of this machine's worker; deployments of other pools are left to other workers."""

_STOP_SECONDS = 30.0
_LOOK_EVERY_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m foveal.flows.serve``; gives the exit status."""
    parser = argparse.ArgumentParser("python -m foveal.flows.serve", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="this machine's name or address")
    parser.add_argument("--port", type=int, default=4200)
    parser.add_argument("--runs", type=int, default=2, help="runs at a time; others wait")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    # Whoever starts this in the background may ignore Ctrl-C, and children inherit that.
    signal.signal(signal.SIGINT, _interrupt)
    try:
        with serving(given.host, given.port, given.runs) as ended:
            while (who := ended()) is None:
                time.sleep(_LOOK_EVERY_SECONDS)
        print(f"{who} has ended; the others were stopped", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; stores are whole, and a build that is started again goes on")
        return 130
    except FovealError as error:
        print(f"serve: {error}", file=sys.stderr)
    return 1


def _interrupt(_number: int, _frame: object) -> None:
    # Once: what is being stopped is not left half stopped by a second.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def serving(host: str, port: int, runs: int, folder: Path | None = None) -> Iterator[Any]:
    """Server, work pool, worker and deployments as long as the block runs; all end with it.

    Parameters
    ----------
    host : str
        Name or address of this machine that the server listens on, and that others reach it by.
    port : int
    runs : int
        Runs at a time, the work pool's limit.
    folder : Path, optional
        Of ``prefect.yaml``; by default the current one.

    Yields
    ------
    callable
        Gives the name of what has ended by itself, None as long as all are there.

    Raises
    ------
    RecipeError
        There is no such ``prefect.yaml``, or something listens on the port already.
    MissingDependency
        A part does not start.
    """
    folder = folder or Path.cwd()
    names = deployments(folder / "prefect.yaml")
    if runs < 1:
        raise RecipeError(f"runs at a time: {runs}; 1 or more")
    _check_free(host, port)
    site = f"http://{host}:{port}"
    environment = {
        **os.environ,
        "PREFECT_API_URL": f"{site}/api",
        "PREFECT_UI_API_URL": f"{site}/api",
        "PREFECT_LOGGING_LEVEL": os.environ.get("PREFECT_LOGGING_LEVEL", "INFO"),
    }
    address = ["--host", host, "--port", str(port)]
    with ExitStack() as stack:
        quiet = {**environment, "PREFECT_LOGGING_LEVEL": "ERROR"}
        server = stack.enter_context(
            _process(["server", "start", *address], quiet, folder, stdout=subprocess.DEVNULL)
        )
        await_health(server, f"{site}/api")
        _make_pool(f"{site}/api", runs)
        chosen = [word for name in names for word in ("--name", name)]
        _deploy(["--no-prompt", "deploy", *chosen], quiet, folder)
        start = ["worker", "start", "--pool", POOL, "--type", "process", "--name", host]
        worker = stack.enter_context(_process(start, environment, folder))
        stack.callback(_cancel_runs, f"{site}/api", (server, worker))
        print(f"{site} has the runs, their logs and the forms to start some", flush=True)
        print(f"deployments: {', '.join(names)}; {runs} runs at a time", flush=True)
        print(f"elsewhere: export PREFECT_API_URL={site}/api", flush=True)
        parts = {"Prefect's server": server, "its worker": worker}
        yield lambda: next((who for who, one in parts.items() if one.poll() is not None), None)


def deployments(file: Path) -> list[str]:
    """Names of the deployments in a ``prefect.yaml`` that this machine's work pool carries out.

    Raises
    ------
    RecipeError
        There is no such file, or it names none.
    """
    if not file.is_file():
        raise RecipeError(f"there is no {file}: run this in a clone of foveal")
    found = [
        str(one["name"])
        for one in read_mapping(file).get("deployments") or ()
        if one["work_pool"]["name"] == POOL
    ]
    if not found:
        raise RecipeError(f"{file} has no deployment of the work pool {POOL}")
    return found


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise RecipeError(
                f"{host}:{port} cannot be listened on ({error}): stop what does, or choose "
                "another port (make serve PORT=4201) or this machine's name (HOST=…)"
            ) from None


@contextmanager
def _client(api: str) -> Iterator[SyncPrefectClient]:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        yield client


def _make_pool(api: str, runs: int) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.process import ProcessWorker

    pool = WorkPoolCreate(
        name=POOL,
        type="process",
        description="This machine; runs above the limit wait.",
        base_job_template=ProcessWorker.get_default_base_job_template(),
        concurrency_limit=runs,
    )
    with _client(api) as client:
        client.create_work_pool(pool, overwrite=True)


def _cancel_runs(api: str, parts: Sequence[subprocess.Popen[bytes]]) -> None:
    """Stop the runs at work as the UI's cancel does: the worker reports their end.

    Those that wait are left for the next time.
    """
    from prefect.client.schemas.actions import WorkPoolUpdate
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
    from prefect.states import Cancelling

    at_work = FlowRunFilter.model_validate(
        {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
    )
    here = WorkPoolFilter.model_validate({"name": {"any_": [POOL]}})
    deadline = time.monotonic() + _STOP_SECONDS
    asked: set[UUID] = set()
    # Whatever the server answers, the processes are ended next.
    with suppress(Exception), _client(api) as client:
        client.update_work_pool(POOL, WorkPoolUpdate(is_paused=True))
        while all(part.poll() is None for part in parts) and time.monotonic() < deadline:
            runs = client.read_flow_runs(flow_run_filter=at_work, work_pool_filter=here)
            if not runs:
                return
            for run in runs:
                if run.id not in asked:
                    client.set_flow_run_state(run.id, Cancelling(message="the server was stopped"))
                    asked.add(run.id)
            time.sleep(_LOOK_EVERY_SECONDS)


def _deploy(arguments: Sequence[str], environment: dict[str, str], folder: Path) -> None:
    command = [sys.executable, "-m", "prefect", *arguments]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())
        raise MissingDependency(f"the deployments could not be registered: {said[-1000:]}")


@contextmanager
def _process(
    arguments: Sequence[str], environment: dict[str, str], folder: Path, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A Prefect command and all that it starts, which end with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", *arguments],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        # Not in reach of Ctrl-C: the runs that it ends have states to report to the server.
        start_new_session=True,
        preexec_fn=die_with_parent if sys.platform == "linux" else None,
        **options,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the whole group, SIGKILL to what is left of it in the end."""
    deadline = time.monotonic() + _STOP_SECONDS
    _signal_group(process, signal.SIGTERM)
    while _signal_group(process, 0) and time.monotonic() < deadline:
        process.poll()
        time.sleep(0.1)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to a group; gives whether there is anybody in it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
