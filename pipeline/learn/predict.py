"""This module computes the saliency of a store's videos and stores it as one more array of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from foveal.errors import RecipeError, StoreError
from foveal.models.device import choose_device
from foveal.models.saliency import SaliencyNetwork
from foveal.pipeline.learn.inference import autocast_dtype
from foveal.pipeline.learn.inputs import arrays_read, flow_array
from foveal.pipeline.learn.saliency_stage import InnerStage, NoEstimate, SaliencyStage
from foveal.pipeline.learn.settings import Precision
from foveal.pipeline.stages.beside import write_beside
from foveal.pipeline.stages.frames import TIMELINE
from foveal.storage.claims import BESIDE
from foveal.storage.index import refresh_index
from foveal.storage.location import Location
from foveal.storage.marks import Mark, infos_of, read_journal
from foveal.storage.reader import Store, open_store
from foveal.storage.root import store_lock

PREFIX = "saliency_"

Advance = Callable[[str, int, int], None]
"""Called with a video, the number of frames done and the number of its frames."""


def check_name(name: str) -> None:
    """Refuse what is not a valid name of a prediction.

    Raises
    ------
    RecipeError
        It has other characters than lower-case letters, digits and ``_``.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name):
        raise RecipeError(
            f"prediction name {name!r}: use lower-case letters, digits and _ (salema_run2)"
        )


@dataclass(frozen=True)
class Predictor:
    """A trained network, and how its maps are computed and stored.

    Attributes
    ----------
    network : SaliencyNetwork
        See `checkpoint.load_network`.
    name : str
        The array is called ``saliency_<name>``: lower-case letters, digits and ``_``.
    flow : str or None
        Flow array; None takes the only one if the network reads flow.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    precision : {'auto', 'float32', 'bfloat16', 'float16'}
        See `foveal.pipeline.learn.inference.autocast_dtype`.
    stored_dtype : {'float16', 'float32'}
        Of the stored maps.
    trained : mapping
        How the network was trained; stored with the arrays, but no part of their fingerprint.
    inner : bool
        Whether the network's intermediate results (`SaliencyNetwork.inner`) are stored too, in
        arrays ``inner_<name>_…`` of a stage of their own: the network runs once more for them.
    """

    network: SaliencyNetwork
    name: str
    flow: str | None = None
    device: str = "auto"
    precision: Precision = "auto"
    stored_dtype: Literal["float16", "float32"] = "float16"
    trained: Mapping[str, Any] = field(default_factory=dict)
    inner: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.inner and not self.network.inner():
            raise RecipeError(
                f"{self.network.spec.name} has no intermediate results; leave --inner out"
            )

    @property
    def array(self) -> str:
        """Name of the array and of the stage."""
        return self.array_of(self.name)

    @staticmethod
    def array_of(name: str) -> str:
        """Return the array of the prediction called `name`."""
        return PREFIX + name


@dataclass(frozen=True)
class Prediction:
    """The result for one video.

    Attributes
    ----------
    video : str
        Id of the video.
    status : {'complete', 'unchanged', 'skipped'}
        What happened.
    reason : str
        Why it was skipped.
    frames : int
        Number of maps written.
    copied : int
        Of these, frames without an estimate of their own: they have the map of the nearest earlier
        estimate, or of the first.
    """

    video: str
    status: Literal["complete", "unchanged", "skipped"]
    reason: str = ""
    frames: int = 0
    copied: int = 0


def predict_store(
    predictor: Predictor,
    url: str,
    *,
    split: str | None = None,
    videos: Sequence[str] | None = None,
    advance: Advance = lambda video, done, frames: None,
) -> list[Prediction]:
    """Compute a network's maps of a store's videos and write them to the store.

    1. skip what is complete under the same fingerprint;
    2. stream each video through the network;
    3. give frames without an estimate the nearest earlier one, and frames before the first estimate
       the first one (Öztürk's LSTS at test time);
    4. mark the array complete when its last map is written, and update the index.

    Parameters
    ----------
    predictor : Predictor
        The network.
    url : str
        The store.
    split : str, optional
        Only videos of this split.
    videos : sequence of str, optional
        Only these videos.
    advance : callable
        Called with a video, the number of frames done and the number of its frames.

    Returns
    -------
    list of Prediction
        One per video.

    Raises
    ------
    StoreError, StoreLocked
        The store lacks a video or what the network reads, or a build that must be alone is at work
        on it.
    RecipeError
        The precision does not fit the network or the device.
    FovealError
        Maps are not finite or exceed the range of `stored_dtype`.
    """
    session = Session(predictor, open_store(url))

    def one(video: str, marks: Mapping[str, Mark], location: Location) -> Prediction:
        return session.predict(video, marks, location, advance)

    return predict_each(session.store, Location(url), split, videos, one)


def predict_each(
    store: Store,
    location: Location,
    split: str | None,
    videos: Sequence[str] | None,
    predict: Callable[[str, Mapping[str, Mark], Location], Prediction],
) -> list[Prediction]:
    """Write one more prediction of each video, and update the index.

    Builds and other predictions may work on the store at the same time: each video is claimed, and
    videos that another process has claimed come last.

    Parameters
    ----------
    store : Store
    location : Location
    split : str or None
        Only videos of this split, if `videos` is None.
    videos : sequence of str or None
        Only these videos.
    predict : callable
        Makes and writes the prediction of a video, from its name, its marks and the location to
        write to.

    Raises
    ------
    StoreError, StoreLocked
        The store lacks a video, or a build that must be alone is at work on it.
    """
    wanted = store.select(split) if videos is None else list(videos)

    def one(video: str, place: Location) -> Prediction:
        marks, quarantined = read_journal(place, [video])
        if video in quarantined:
            return Prediction(video, "skipped", f"quarantined: {quarantined[video].reason}")
        if TIMELINE not in marks.get(video, {}):
            raise StoreError(f"{location}: nothing of video {video!r} is complete; build it first")
        return predict(video, marks[video], place)

    with store_lock(location, BESIDE) as claims:
        results = claims.for_each(wanted, one)
        with claims.whole_store() as whole:
            refresh_index(whole, wanted, current=not claims.others())
    return results


class Session:
    """A predictor on its device, and the store that it works on."""

    def __init__(self, predictor: Predictor, store: Store) -> None:
        self.predictor, self.store = predictor, store
        spec = predictor.network.spec
        self.flow = flow_array(store, spec, predictor.flow)
        self.device = choose_device(predictor.device)
        self.dtype = autocast_dtype(predictor.precision, spec.name, self.device)
        self.network = predictor.network.to(self.device).eval()
        self.reads = arrays_read(spec, self.flow)

    def predict(
        self, video: str, marks: Mapping[str, Mark], location: Location, advance: Advance
    ) -> Prediction:
        """Write the maps of one video, unless they are complete already."""
        infos = infos_of(marks)
        missing = [name for name in self.reads if name not in infos]
        if missing:
            return Prediction(video, "skipped", f"no complete {', '.join(missing)}")
        frames = infos[TIMELINE].items
        stages = [SaliencyStage(self, video, frames)]
        if self.predictor.inner:
            stages.append(InnerStage(self, video, frames))
        try:
            made = [
                write_beside(
                    location,
                    video,
                    marks,
                    stage,
                    notes={"trained": dict(self.predictor.trained)},
                    advance=lambda done: advance(video, done, frames),
                )
                for stage in stages
            ]
        except NoEstimate as error:
            return Prediction(video, "skipped", str(error))
        if not any(made):
            return Prediction(video, "unchanged", frames=frames)
        return Prediction(video, "complete", frames=frames, copied=stages[0].copied)
