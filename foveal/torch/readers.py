"""This module reads batches ahead in threads.

Decoding and system calls release Python's lock, so threads read as fast as processes. What they
read does not pass through shared memory, which takes longer than decoding a batch of frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch.utils.data import IterableDataset

from foveal.torch.batch import Sample
from foveal.torch.clips import Clips, Draw
from foveal.torch.joined import JoinedClips


class ThreadedReader(IterableDataset[Any]):
    """Ready batches, in order; batch i is read by thread i modulo their number.

    Parameters
    ----------
    readers : sequence of Clips or JoinedClips
        One per thread; they share no state.
    batches : iterable of list of Draw
        Iterated anew for each pass.
    collate_fn : callable
        Makes a batch of samples.
    prefetch_factor : int
        Batches that each thread reads ahead.
    """

    def __init__(
        self,
        readers: Sequence[Clips | JoinedClips],
        batches: Iterable[list[Draw]],
        collate_fn: Callable[[Sequence[Sample]], Any],
        prefetch_factor: int,
    ) -> None:
        self._readers, self._batches, self._collate = readers, batches, collate_fn
        self._depth = prefetch_factor * len(readers)

    def __iter__(self) -> Iterator[Any]:
        return self._pass(list(self._batches))

    def _pass(self, batches: list[list[Draw]]) -> Iterator[Any]:
        threads = [ThreadPoolExecutor(1, f"clips-{n}") for n in range(len(self._readers))]
        reading: deque[Future[Any]] = deque()
        try:
            for number, draws in enumerate(batches):
                lane = number % len(threads)
                reading.append(threads[lane].submit(self._read, lane, draws))
                if len(reading) > self._depth:
                    yield reading.popleft().result()
            while reading:
                yield reading.popleft().result()
        finally:
            for thread in threads:
                thread.shutdown(wait=True, cancel_futures=True)

    def _read(self, lane: int, draws: list[Draw]) -> Any:
        return self._collate(self._readers[lane].__getitems__(draws))
