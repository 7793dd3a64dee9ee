"""This module opens Dask clusters and gives them the videos of a build as Prefect tasks.

A cluster is named by configuration: ``local:4`` (worker processes of this machine), ``local:gpus``
(one for each visible GPU), ``local:gpus+4``, or the address of a scheduler.
"""

from __future__ import annotations

import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from distributed import Client, KilledWorker, Nanny, Scheduler, SpecCluster
from prefect.client.schemas.objects import State
from prefect.states import Completed, Crashed
from prefect_dask.task_runners import PrefectDaskFuture

from foveal.errors import MissingDependency, RecipeError
from foveal.flows.elsewhere import BuildElsewhere, device_problem, leave_build_now, tasks_at_work
from foveal.flows.engine import GRACE_SECONDS, Future
from foveal.flows.server import settle_tasks
from foveal.flows.videos import task_name
from foveal.machine import available_cores
from foveal.pipeline.build.build import Build
from foveal.pipeline.build.run import VideoResult
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.meter import Meter

VARIABLE = "FOVEAL_CLUSTER"
"""Environment variable that names the cluster where nothing else does."""

GPU = "GPU"
"""Dask resource of workers that have a GPU to themselves."""

CPU = "CPU"
"""Dask resource of workers beside them, for what needs no GPU."""

_LOCAL = re.compile(r"local:(?:(?P<count>[1-9]\d*)|gpus(?:\+(?P<beside>[1-9]\d*))?)$")
_ADDRESS = re.compile(r"(?:tcp|tls|ucx|ws|wss)://.+:\d+$")
_LOOK_EVERY_SECONDS = 5.0
_WORKERLESS_SECONDS = 120.0
"""A build gives up after so long without any worker: Dask restarts its own workers sooner."""

_FEWEST_IN_FLIGHT = 8
"""So many tasks are sent even where there is no worker yet: adaptive clusters grow by them."""


def check_cluster(text: str) -> str:
    """The name of a cluster, if it is one.

    Raises
    ------
    RecipeError
    """
    if not _LOCAL.match(text) and not _ADDRESS.match(text):
        raise RecipeError(
            f"cluster {text!r} names none; give local:4 (worker processes of this machine), "
            "local:gpus (one for each GPU), local:gpus+4, or the scheduler's tcp://host:8786"
        )
    return text


@contextmanager
def open_cluster(text: str) -> Iterator[str]:
    """The scheduler's address; a local cluster lives as long as the block.

    Raises
    ------
    RecipeError
        Where the text names no cluster.
    MissingDependency
        Where there is no GPU for ``local:gpus``.
    """
    found = _LOCAL.match(check_cluster(text))
    if found is None:
        yield text
        return
    gpus = [] if found["count"] else visible_gpus()
    if not found["count"] and not gpus:
        raise MissingDependency(f"cluster {text}: this machine shows no GPU; try local:2")
    with local_cluster(int(found["count"] or found["beside"] or 0), gpus) as cluster:
        yield str(cluster.scheduler_address)


def visible_gpus() -> list[str]:
    """GPUs of this machine, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch

    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    names = [name.strip() for name in chosen.split(",")] if chosen else list(map(str, range(count)))
    return names[:count]


def local_cluster(cpus: int, gpus: Sequence[str] = ()) -> SpecCluster:
    """Start worker processes on this machine: one video at a time each, with at most one GPU.

    Parameters
    ----------
    cpus : int
        Workers without a GPU.
    gpus : sequence of str
        A worker for each, by its name in ``CUDA_VISIBLE_DEVICES``.
    """
    share = max(1, available_cores() // max(1, cpus + len(gpus)))
    # Dask would limit each worker to one thread; it assumes many worker threads per process.
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(share))

    def worker(device: str | None = None) -> dict[str, Any]:
        own = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
        options = {
            "nthreads": 1,
            "resources": {CPU if device is None else GPU: 1},
            "env": {**environment, **own},
            "memory_limit": 0,
            "preload": ["foveal.flows.elsewhere"],
            "silence_logs": "ERROR",
        }
        return {"cls": Nanny, "options": options}

    workers = {f"cpu-{k}": worker() for k in range(cpus)}
    workers |= {f"gpu-{device}": worker(device) for device in gpus}
    address = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": Scheduler, "options": address}
    return SpecCluster(  # type: ignore[no-untyped-call]
        workers, scheduler, silence_logs="ERROR", name="foveal"
    )


def takes_gpu(recipe: Recipe) -> bool:
    """Whether videos of a recipe go to workers with a GPU, where there are any."""
    if recipe.device == "auto":
        return any(section.takes_device() for section in recipe.stage_sections())
    return recipe.device != "cpu"


class Dask:
    """Worker processes of a Dask cluster, here or elsewhere.

    Parameters
    ----------
    build : Build
    recompute : sequence of str
        Stages to compute again though they are complete.
    cluster : str
        See `open_cluster`.
    most : int, optional
        Videos at a time; by default as many as the workers have threads.
    """

    in_process = False

    def __init__(
        self, build: Build, recompute: Sequence[str], cluster: str, most: int | None = None
    ) -> None:
        self.about = cluster
        self._build = build
        self._recompute = list(recompute)
        self._most = most
        self._topic = f"foveal-{uuid.uuid4().hex[:12]}"
        self._travels: Any = BuildElsewhere.of(build, self._topic)
        self._ended: dict[uuid.UUID, State[Any]] = {}
        self._looked = float("-inf")
        self._seen = time.monotonic()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        # The engine handles workers that come, go and die: users read about videos only.
        logging.getLogger("distributed").setLevel(logging.ERROR)
        with self._stack as stack:
            address = stack.enter_context(open_cluster(self.about))
            client = Client(address, set_as_default=False)  # type: ignore[no-untyped-call]
            self._client = stack.enter_context(client)
            self._client.subscribe_topic(self._topic, self._heard)
            self._look()
            self._check_device()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(Exception):  # workers leave by themselves soon
            ended = error is None
            self._client.run(leave_build_now, self._topic, on_error="ignore", wait=ended)
        settle_tasks(self._ended)
        self._stack.__exit__(kind, error, traceback)

    @property
    def at_once(self) -> int:
        return self._most or self._threads or _FEWEST_IN_FLIGHT

    @property
    def slots(self) -> int:
        if time.monotonic() > self._looked + _LOOK_EVERY_SECONDS:
            self._look()
        return self._most or max(_FEWEST_IN_FLIGHT, 2 * self._threads)

    def _look(self) -> None:
        """See which workers there are."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        offered = {kind for each in workers.values() for kind in each["resources"]}
        wanted = GPU if takes_gpu(self._build.recipe) else CPU
        device = self._build.recipe.device
        if wanted == GPU and GPU not in offered:
            if workers and device != "auto":
                raise RecipeError(
                    f"device: {device}, but no worker of {self.about} has the resource {GPU}; "
                    f"start workers with --resources {GPU}=1, or set device: auto"
                )
            wanted = CPU
        self._resources = {wanted: 1} if wanted in offered else None
        usable = {
            address: each["nthreads"]
            for address, each in workers.items()
            if self._resources is None or wanted in each["resources"]
        }
        self._usable, self._threads = list(usable), sum(usable.values())
        self._looked = time.monotonic()

    def _check_device(self) -> None:
        """See that a worker has the device that the recipe names.

        Raises
        ------
        MissingDependency
        """
        device = self._build.recipe.device
        if not self._usable or not device.startswith("cuda"):
            return
        said = self._client.run(device_problem, device, workers=self._usable)
        if all(said.values()):
            raise MissingDependency(f"worker {next(iter(said))}: {next(iter(said.values()))}")

    def submit(self, videos: Sequence[str], done: Callable[[Future], None]) -> Future:
        run = uuid.uuid4()
        wrapped = self._client.submit(
            self._travels.run_task,
            run,
            list(videos),
            self._recompute,
            key=f"{task_name(videos)}-{run.hex[:8]}",
            pure=False,
            resources=self._resources,
        )
        future: Future = PrefectDaskFuture(task_run_id=run, wrapped_future=wrapped)
        future.add_done_callback(done)
        return future

    def check(self) -> None:
        self._look()
        if self._threads:
            self._seen = time.monotonic()
        elif time.monotonic() > self._seen + _WORKERLESS_SECONDS:
            raise MissingDependency(
                f"cluster {self.about} has had no worker for {_WORKERLESS_SECONDS:.0f} s; see "
                "their logs, start some, and build again: what is complete stays"
            )

    def outcome(self, future: Future) -> list[VideoResult] | Exception:
        value: Any
        try:
            state = future.wrapped_future.result()  # type: ignore[attr-defined]
            value = state.result(raise_on_failure=False)
            if not isinstance(value, Exception):
                for result in value:
                    self._build.listener.ended(result)
        except KilledWorker as error:
            value = WorkersDied(
                f"{error.allowed_failures + 1} worker processes died in it; see their logs, and "
                "whether it needs more memory than they have"
            )
            state = Crashed(message=str(value))
        except Exception as error:
            value, state = error, Crashed(message=f"{type(error).__name__}: {error}")
        self._ended[future.task_run_id] = state if state.is_final() else Completed()
        became: list[VideoResult] | Exception = value
        return became

    def stop(self, futures: Collection[Future]) -> list[Future]:
        """Take the tasks back; processes of videos that go on nevertheless are started anew."""
        wrapped = [future.wrapped_future for future in futures]  # type: ignore[attr-defined]
        self._client.cancel(wrapped, force=True)
        deadline = time.monotonic() + GRACE_SECONDS
        while (busy := self._busy()) and time.monotonic() < deadline:
            time.sleep(0.1)
        if busy:
            self._client.restart_workers(busy, timeout=GRACE_SECONDS, raise_for_error=False)
        return list(futures)

    def _busy(self) -> list[str]:
        """Workers that are in a video of this build."""
        counts = self._client.run(tasks_at_work, self._topic, on_error="ignore")
        return [address for address, count in counts.items() if count]

    def _heard(self, event: tuple[float, dict[str, Any]]) -> None:
        """Pass a worker's message on to the listener; called from the client's own thread."""
        message = event[1]
        if message["event"] == "started":
            self._build.listener.started(message["video"])
        else:
            frames, expected, meter = message["of"]
            self._build.listener.advanced(message["video"], frames, expected, Meter.of(meter))


class WorkersDied(ChildProcessError):
    """Every worker process that began the task died in it."""
