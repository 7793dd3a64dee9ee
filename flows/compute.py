"""Run work on every video of a store on a Dask cluster: statistics, evaluations."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import cloudpickle
from distributed import Client, KilledWorker

from foveal.errors import FovealError, MissingDependency
from foveal.flows.cluster import CPU, GPU, open_cluster

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def on_cluster(text: str) -> Iterator[Client]:
    """Have what Dask computes in the block computed by a cluster.

    Parameters
    ----------
    text : str
        See `foveal.flows.cluster.open_cluster`.

    Raises
    ------
    RecipeError
        Where the text names no cluster.
    FovealError
        Where no worker can be reached, or several died in the same work.
    """
    logging.getLogger("distributed").setLevel(logging.ERROR)
    try:
        with (
            open_cluster(text) as address,
            Client(address) as client,  # type: ignore[no-untyped-call]
        ):
            yield client
    except KilledWorker as error:
        raise FovealError(
            f"cluster {text}: {error.allowed_failures + 1} worker processes died in the same work; "
            "see their logs, and whether it needs more memory than they have"
        ) from None
    except OSError as error:
        if isinstance(error, FovealError):
            raise
        raise FovealError(
            f"cluster {text} cannot be reached: {error}; see whether its scheduler runs"
        ) from error


class Each:
    """Calls a function with every item, by the workers of a cluster; results come in order.

    Parameters
    ----------
    client : Client
    device : str
        What computes; anything but ``cpu`` goes to workers that have the resource GPU, where there
        are any.
    """

    def __init__(self, client: Client, device: str = "cpu") -> None:
        self._client = client
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        kind = CPU if device == "cpu" else GPU
        offered = any(kind in each["resources"] for each in workers)
        self._resources = {kind: 1} if offered else None

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        # The function is sent once, for it may hold the fixations of a whole dataset; and by a
        # task, which Dask repeats where a worker dies with the result, as it does not for scattered
        # data. It travels as bytes: a worker that lacks one of its modules would else lose its
        # connection over it, and the client would wait for ever.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            shared: Any = self._client.submit(
                cloudpickle.loads, cloudpickle.dumps(function), pure=False
            )
        submitted = [
            self._client.submit(_call, shared, item, pure=False, resources=self._resources)
            for item in items
        ]
        submitted.reverse()
        while submitted:
            try:
                yield submitted.pop().result()
            except ModuleNotFoundError as error:
                raise MissingDependency(
                    f"a worker of the cluster has no module {error.name}; install on its machine "
                    "the packages that this one has"
                ) from error


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)
