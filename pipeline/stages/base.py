"""The stage seam: what `pipeline.run` asks of anything that turns a stream into arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from foveal.pipeline.video.types import VideoInfo
from foveal.storage.schema import ArraySpec

Arrays = Mapping[str, NDArray[Any]]
"""New items of a stage's arrays by array name; an array without new items may be left out."""

DECODER = "decoder"
"""The feed of stages that eat decoded frames; any other feed is the name of an array."""

NO_ARRAYS: Arrays = {}


OF_THIS_RUN = "of_this_run"
"""Key of a stage's provenance for what another machine would say otherwise (threads, batches)."""


class Stage(Protocol):
    """A pure, store-free computation over one video: stream in, arrays out.

    One instance serves one video: ``outputs``, then ``push`` for each batch in order, then
    ``finish`` once. Nothing here knows of the store, of Prefect or of other stages.

    Attributes
    ----------
    name : str
        Unique in a store, e.g. ``flow_tvl1``.
    version : int
        Raised whenever the same parameters would give other numbers.
    feed : str
        `DECODER` (``push`` gets `FrameBatch`) or an array's name (``push`` gets `ArrayBatch`).
    """

    name: str
    version: int
    feed: str

    def parameters(self) -> dict[str, Any]:
        """Everything but the input that determines the numbers; enters the fingerprint."""

    def outputs(self, info: VideoInfo) -> Sequence[ArraySpec]:
        """Arrays this stage writes for a video of this geometry."""

    def push(self, batch: Any) -> Arrays:
        """Take the next batch, give what became computable."""

    def finish(self) -> Arrays:
        """Give the rest, after the last batch."""

    def provenance(self) -> dict[str, Any]:
        """What happened while computing (device, counts, quality figures); JSON-serialisable.

        Asked for after `finish`; stored with the arrays, never part of the fingerprint. What it
        holds under `OF_THIS_RUN` goes into the mark alone.
        """
