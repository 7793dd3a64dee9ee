"""The stage seam: what a build asks of anything that makes arrays of a video."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

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

DECODE = "decode"
"""Input of the timeline alone: the decode itself. ``push`` gets `FrameBatch`."""

FRAMES = "decoded frames"
"""Input: ``push`` gets `FrameBatch`."""

AUDIO = "audio samples"
"""Input: ``push`` gets `AudioBatch`; nothing for a video without sound."""

ANNOTATION = "annotation"
"""Input: fixations or published maps, asked of `StageContext` in ``prepare``."""

OF_THIS_RUN = "of_this_run"
"""Key of a stage's provenance for what another machine would say otherwise (threads, batches)."""


@dataclass(frozen=True)
class Cost:
    """What the cost of a stage follows, for the forecast of a dry run.

    Attributes
    ----------
    items : callable
        Units of work in a video of so many frames (windows of I3D; frames else).
    sample_frames : int
        Frames that a trial needs to show what one unit costs.
    whole : bool
        Whether the time does not follow the frames it is tried on, as a recording is read whole.
    """

    items: Callable[[int], int] = lambda frames: frames
    sample_frames: int = 33
    whole: bool = False


@dataclass(frozen=True)
class StageRequest:
    """What a section makes stages from.

    Attributes
    ----------
    recipe : Recipe
    source : Source
    video : Video
    shared : Shared
        Networks and the like that all videos of a build use.
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
        Geometry of the video.
    fixations : callable
        The video's fixations, not yet clipped to its length; read once however many stages ask.
    published_maps : callable
        The dataset's own density pictures, None where it has none.
    """

    info: VideoInfo
    fixations: Callable[[], Fixations]
    published_maps: Callable[[], PublishedMaps | None]


class Stage(Protocol):
    """A pure, store-free computation over one video: batches in, arrays out.

    One instance serves one video: ``prepare`` once, ``outputs``, ``push`` for each batch of each
    input, ``finish`` once, ``provenance``. Nothing here knows of the store, of Prefect or of other
    stages.

    Attributes
    ----------
    name : str
        Unique in a store, e.g. ``flow_tvl1``.
    version : int
        Raised whenever the same parameters would give other numbers.
    inputs : tuple of str
        `FRAMES`, `ANNOTATION` and names of arrays, made by this build or by a former one. Batches
        of one input come in order; those of several come in step with the frames.
    arrays : tuple of str
        Names of the arrays it makes.
    cost : Cost
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
        """Everything but the input that determines the numbers; enters the fingerprint."""

    def prepare(self, context: StageContext) -> None:
        """Take what the video is; read the annotation where it is an input.

        Raises
        ------
        InputError
            The annotation is unusable; nothing has been decoded or written then.
        """

    def outputs(self) -> Sequence[ArraySpec]:
        """The arrays, in full; asked for after ``prepare``."""

    def push(self, batch: Any) -> Arrays:
        """Take the next batch of an input, give what became computable.

        Parameters
        ----------
        batch : FrameBatch or ArrayBatch
            An `ArrayBatch` says which array it is of.
        """

    def finish(self) -> Iterable[Arrays]:
        """Give the rest, in as many parts as memory asks for, after the last batch."""

    def provenance(self) -> dict[str, Any]:
        """What happened while computing (device, counts, quality figures); JSON-serialisable.

        Asked for after `finish`; stored with the arrays, never part of the fingerprint. What it
        holds under `OF_THIS_RUN` goes into the mark alone.
        """


@runtime_checkable
class Resumable(Protocol):
    """A stage that can go on in the middle of a video, after a kill.

    All that it has given by then is kept, and it is given every later batch. A stage whose state is
    large, or whose numbers depend on how batches were cut, does without: it begins anew.
    """

    def snapshot(self) -> Mapping[str, Any]:
        """What it needs to go on after the batches it has had: plain JSON types and arrays."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `snapshot`; called after ``prepare``, before the first ``push``."""


class PlainStage:
    """What most stages have in common; a stage need not derive from it."""

    name: str
    inputs: tuple[str, ...]
    arrays: tuple[str, ...]
    version = 1
    cost = Cost()

    def parameters(self) -> dict[str, Any]:
        return {}

    def prepare(self, context: StageContext) -> None:
        """Nothing to take from the video."""

    def push(self, batch: Any) -> Arrays:
        return NO_ARRAYS

    def finish(self) -> Iterable[Arrays]:
        return ()

    def provenance(self) -> dict[str, Any]:
        return {}

    def former_parameters(self) -> Sequence[Mapping[str, Any]]:
        """Parameters of former implementations whose stored arrays stay valid under this name."""
        return ()


@dataclass
class Shared:
    """Made once and used by all videos of a build: networks, estimators."""

    _made: dict[Any, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def once(self, key: Any, make: Callable[[], Made]) -> Made:
        """What was made under this key, making it now where it is the first time."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            found: Made = self._made[key]
            return found
