"""This module defines a stage: what a build asks of anything that makes arrays of a video."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from foveal.pipeline.video.types import Fixations, Video, VideoInfo
from foveal.storage.schema import ArraySpec

if TYPE_CHECKING:
    from foveal.pipeline.recipe.recipe import Recipe
    from foveal.pipeline.sources.base import PublishedMaps, Source

Arrays = Mapping[str, NDArray[Any]]
"""New items of a stage's arrays by array name; an array without new items may be left out."""

Made = TypeVar("Made")

NO_ARRAYS: Arrays = {}
"""What a stage returns when it has no new items."""

DECODE = "decode"
"""Input of the timeline only: the decode itself. ``push`` gets `FrameBatch`."""

FRAMES = "decoded frames"
"""Input: ``push`` gets `FrameBatch`."""

AUDIO = "audio samples"
"""Input: ``push`` gets `AudioBatch`; nothing for a video without sound."""

ANNOTATION = "annotation"
"""Input: fixations or published maps, which ``prepare`` asks `StageContext` for."""

OF_THIS_RUN = "of_this_run"
"""Key in a stage's provenance for what differs between machines (threads, batches)."""


@dataclass(frozen=True)
class Cost:
    """What the cost of a stage depends on, for the forecast of a dry run.

    Attributes
    ----------
    items : callable
        Takes a number of frames, returns the units of work in such a video (windows for I3D,
        otherwise frames).
    sample_frames : int
        Frames that a trial needs to measure the cost of one unit.
    whole : bool
        Whether the time is the same for any number of frames, as for a recording that is always
        read completely.
    """

    items: Callable[[int], int] = lambda frames: frames
    sample_frames: int = 33
    whole: bool = False


@dataclass(frozen=True)
class StageRequest:
    """What a section of the recipe makes the stages of one video from.

    Attributes
    ----------
    recipe : Recipe
        The whole recipe.
    source : Source
        The dataset.
    video : Video
        The video that the stages are for.
    shared : Shared
        Networks and other objects that all videos of a build use.
    """

    recipe: Recipe
    source: Source
    video: Video
    shared: Shared


@dataclass(frozen=True)
class StageContext:
    """What a stage is prepared with.

    Attributes
    ----------
    info : VideoInfo
        Size and frame rate of the video.
    fixations : callable
        Returns the video's fixations, not yet clipped to its length; they are read only once.
    published_maps : callable
        Returns the dataset's own density pictures, or None if it has none.
    """

    info: VideoInfo
    fixations: Callable[[], Fixations]
    published_maps: Callable[[], PublishedMaps | None]


class Stage(Protocol):
    """A computation over one video: it takes batches and returns arrays.

    One instance serves one video: ``prepare`` once, ``outputs``, ``push`` for each batch of each
    input, ``finish`` once, ``provenance``. A stage knows nothing about the store, Prefect or other
    stages.

    Attributes
    ----------
    name : str
        Unique in a store, e.g. ``flow_tvl1``.
    version : int
        Raised whenever the same parameters would give other numbers.
    inputs : tuple of str
        `FRAMES`, `ANNOTATION` and names of arrays that this build or a former one makes. Batches
        of one input come in order; those of several inputs come in step with the frames.
    arrays : tuple of str
        Names of the arrays that the stage makes.
    cost : Cost
        What its cost depends on.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def inputs(self) -> tuple[str, ...]: ...

    @property
    def arrays(self) -> tuple[str, ...]: ...

    @property
    def cost(self) -> Cost: ...

    def parameters(self) -> dict[str, Any]:
        """Return everything but the input that determines the numbers, for the fingerprint."""

    def prepare(self, context: StageContext) -> None:
        """Get ready for one video; read the annotation if it is an input.

        Parameters
        ----------
        context : StageContext
            Size and frame rate of the video, and access to its annotation.

        Raises
        ------
        InputError
            The annotation is unusable; nothing has been decoded or written by then.
        """

    def outputs(self) -> Sequence[ArraySpec]:
        """Describe the arrays; called after ``prepare``."""

    def push(self, batch: Any) -> Arrays:
        """Take the next `batch` of an input; return the items that could be computed with it.

        It is a `FrameBatch`, an `AudioBatch`, or an `ArrayBatch`, which names its array.
        """

    def finish(self) -> Iterable[Arrays]:
        """Return the remaining items after the last batch, in parts that fit into memory."""

    def provenance(self) -> dict[str, Any]:
        """Return what happened while computing (device, counts, quality); JSON-serialisable.

        Called after `finish`; stored with the arrays, never part of the fingerprint. What is under
        `OF_THIS_RUN` goes only into the mark.
        """


@runtime_checkable
class Resumable(Protocol):
    """A stage that can continue in the middle of a video after a kill.

    Everything that it returned before is kept, and it gets every later batch. A stage with a large
    state, or with numbers that depend on how batches are cut, is not resumable: it starts again.
    """

    def snapshot(self) -> Mapping[str, Any]:
        """Return what the stage needs to continue: plain JSON types and arrays."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, a `snapshot`; called after ``prepare``, before ``push``."""


class PlainStage:
    """Defaults that most stages use; a stage need not derive from this class."""

    name: str
    inputs: tuple[str, ...]
    arrays: tuple[str, ...]
    version = 1
    cost = Cost()

    def parameters(self) -> dict[str, Any]:
        return {}

    def prepare(self, context: StageContext) -> None:
        """Nothing to prepare."""

    def push(self, batch: Any) -> Arrays:
        return NO_ARRAYS

    def finish(self) -> Iterable[Arrays]:
        return ()

    def provenance(self) -> dict[str, Any]:
        return {}

    def former_parameters(self) -> Sequence[Mapping[str, Any]]:
        """Return parameters of former implementations whose stored arrays stay valid."""
        return ()


def numbers_spec(
    name: str,
    dim: str,
    long_name: str,
    axis: str,
    chunk_items: int,
    *,
    starts: str | None = None,
    source_frames: str | None = None,
) -> ArraySpec:
    """Describe an array of whole numbers, int64 [n], such as starts of windows or offsets.

    Parameters
    ----------
    name, dim, long_name, axis, starts, source_frames
        See `ArraySpec`; `dim` is its only dimension.
    chunk_items : int
        Items of a chunk and of a shard.
    """
    return ArraySpec(
        name,
        (dim,),
        (),
        np.dtype("int64"),
        {"long_name": long_name},
        chunk_items,
        chunk_items,
        axis=axis,
        kind="scalar",
        starts=starts,
        source_frames=source_frames,
    )


@dataclass
class Shared:
    """Objects that are made once and used by all videos of a build: networks, estimators."""

    _made: dict[Any, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def once(self, key: Any, make: Callable[[], Made]) -> Made:
        """Return the object of a `key`; `make` it if this is the first request."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            found: Made = self._made[key]
            return found
