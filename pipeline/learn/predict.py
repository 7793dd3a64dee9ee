"""Saliency of a store's videos, written back beside them as one more array of each."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError, RecipeError, StoreError
from foveal.models.device import choose_device
from foveal.models.saliency import SaliencyNetwork
from foveal.pipeline.learn.inference import Estimates, autocast_dtype, estimate_video
from foveal.pipeline.learn.inputs import arrays_read, flow_array
from foveal.pipeline.learn.settings import Precision
from foveal.pipeline.stages.base import OF_THIS_RUN, Arrays, PlainStage, StageContext
from foveal.pipeline.stages.beside import write_beside
from foveal.pipeline.stages.frames import TIMELINE
from foveal.storage.index import refresh_index
from foveal.storage.location import Location
from foveal.storage.marks import Mark, infos_of, read_journal
from foveal.storage.reader import Store, open_store
from foveal.storage.root import store_lock
from foveal.storage.schema import ArraySpec

VERSION = 1
"""Raised whenever the same network and inputs would give other maps."""

PREFIX = "saliency_"

Advance = Callable[[str, int, int], None]
"""Called with a video, frames done and frames in it."""


@dataclass(frozen=True)
class Predictor:
    """A trained network and how its maps are kept.

    Attributes
    ----------
    network : SaliencyNetwork
        See `checkpoint.load_network`.
    name : str
        The array is called ``saliency_<name>``: lower-case letters, digits and ``_``.
    flow : str or None
        Flow array; None takes the only one where the network reads flow.
    device : str
    precision : {'auto', 'float32', 'bfloat16', 'float16'}
    stored_dtype : {'float16', 'float32'}
    trained : mapping
        How the network was trained; shown with the arrays, no part of their fingerprint.
    """

    network: SaliencyNetwork
    name: str
    flow: str | None = None
    device: str = "auto"
    precision: Precision = "auto"
    stored_dtype: Literal["float16", "float32"] = "float16"
    trained: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", self.name):
            raise RecipeError(
                f"prediction name {self.name!r}: use lower-case letters, digits and _ (salema_run2)"
            )

    @property
    def array(self) -> str:
        """Name of the array, which is the stage's too."""
        return self.array_of(self.name)

    @staticmethod
    def array_of(name: str) -> str:
        """The array of a prediction of this name."""
        return PREFIX + name


@dataclass(frozen=True)
class Prediction:
    """What became of one video.

    Attributes
    ----------
    video : str
    status : {'complete', 'unchanged', 'skipped'}
    reason : str
        Why it was skipped.
    frames : int
        Maps written.
    copied : int
        Of these, frames without an estimate of their own: they got the nearest earlier one, or the
        first.
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
    """Write a network's maps of a store's videos into it.

    1. leave alone what is complete under the same fingerprint;
    2. stream each video through the network;
    3. give frames without an estimate the nearest earlier one, and those before the first estimate
       the first (Öztürk's LSTS at test time);
    4. mark the array complete as its last map is written, and bring the index up to date.

    Parameters
    ----------
    predictor : Predictor
    url : str
        The store.
    split : str, optional
        Only videos of this split.
    videos : sequence of str, optional
        Only these.
    advance : callable

    Raises
    ------
    StoreError, StoreLocked
        The store lacks a video or what the network reads, or another build is writing it.
    RecipeError
        The precision does not go with the network or the device.
    FovealError
        Maps are not finite or leave the range of `stored_dtype`.
    """
    session = _Session(predictor, open_store(url), Location(url))
    wanted = session.store.select(split) if videos is None else list(videos)
    results = []
    with store_lock(session.location):
        marks, quarantined = read_journal(session.location, wanted)
        for video in wanted:
            if video in quarantined:
                reason = f"quarantined: {quarantined[video].reason}"
                results.append(Prediction(video, "skipped", reason))
            elif TIMELINE not in marks.get(video, {}):
                raise StoreError(f"{url}: nothing of video {video!r} is complete; build it first")
            else:
                results.append(session.predict(video, marks[video], advance))
        refresh_index(session.location, [result.video for result in results])
    return results


class _Session:
    """A predictor on its device, and the store it works on."""

    def __init__(self, predictor: Predictor, store: Store, location: Location) -> None:
        self.predictor, self.store, self.location = predictor, store, location
        spec = predictor.network.spec
        self.flow = flow_array(store, spec, predictor.flow)
        self.device = choose_device(predictor.device)
        self.dtype = autocast_dtype(predictor.precision, spec.name, self.device)
        self.network = predictor.network.to(self.device).eval()
        self.reads = arrays_read(spec, self.flow)

    def predict(self, video: str, marks: Mapping[str, Mark], advance: Advance) -> Prediction:
        """Maps of one video, unless they are complete already."""
        infos = infos_of(marks)
        missing = [name for name in self.reads if name not in infos]
        if missing:
            return Prediction(video, "skipped", f"no complete {', '.join(missing)}")
        frames = infos[TIMELINE].items
        stage = SaliencyStage(self, video, frames)
        try:
            mark = write_beside(
                self.location,
                video,
                marks,
                stage,
                notes={"trained": dict(self.predictor.trained)},
                advance=lambda done: advance(video, done, frames),
            )
        except NoEstimate as error:
            return Prediction(video, "skipped", str(error))
        if mark is None:
            return Prediction(video, "unchanged", frames=frames)
        return Prediction(video, "complete", frames=frames, copied=stage.copied)


class NoEstimate(StoreError):
    """The network can estimate no frame of a video: it is too short for a window, say."""


class SaliencyStage(PlainStage):
    """``saliency_<name>``: a network's map of each frame of one video.

    It reads clips of the store by itself, as training does, and gives maps as they are computed.
    """

    version = VERSION
    inputs = ()

    def __init__(self, session: _Session, video: str, frames: int) -> None:
        self._session, self._video, self._frames = session, video, frames
        self._predictor = session.predictor
        self.name = session.predictor.array
        self.arrays = (self.name,)
        self.reads = tuple(session.reads)
        self.copied = 0

    def parameters(self) -> dict[str, Any]:
        network, dtype = self._predictor.network, self._session.dtype
        return {
            "network": network.spec.name,
            "options": dict(network.spec.options),
            "weights": dict(network.provenance),
            "flow": self._session.flow,
            "precision": "float32" if dtype is None else str(dtype).split(".")[-1],
            "dtype": self._predictor.stored_dtype,
        }

    def prepare(self, context: StageContext) -> None:
        session = self._session
        estimates = estimate_video(
            session.network,
            session.store,
            self._video,
            flow=session.flow,
            device=session.device,
            dtype=session.dtype,
        )
        try:
            first = next(estimates)
        except StoreError as error:
            raise NoEstimate(str(error)) from None
        self._estimates = itertools.chain([first], estimates)

    def outputs(self) -> Sequence[ArraySpec]:
        spec = self._predictor.network.spec
        about = {"units": "1", "paper": spec.paper}
        return [
            ArraySpec(
                self.name,
                ("time", f"{self.name}_y", f"{self.name}_x"),
                spec.output_size,
                np.dtype(self._predictor.stored_dtype),
                {"long_name": f"saliency estimated by {spec.name}", **about},
                axis="frame",
                kind="map",
                role="prediction",
            )
        ]

    def finish(self) -> Iterator[Arrays]:
        for start, values, copies in _in_order(self._estimates, self._frames):
            self.copied += copies
            yield {self.name: self._stored(start, values)}

    def provenance(self) -> dict[str, Any]:
        return {"copied_frames": self.copied, OF_THIS_RUN: {"device": str(self._session.device)}}

    def _stored(self, start: int, maps: NDArray[np.float32]) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            values = maps.astype(self._predictor.stored_dtype)
        finite = np.isfinite(values).all(axis=(1, 2))
        if not finite.all():
            advice = (
                "store them as float32"
                if np.isfinite(maps).all()
                else "the network diverged: train it with a lower learning rate"
            )
            frame = start + int(np.argmin(finite))
            raise FovealError(
                f"{self._video}: the map of frame {frame} is not finite in "
                f"{self._predictor.stored_dtype}; {advice}"
            )
        return values


def _in_order(
    estimates: Iterable[Estimates], frames: int
) -> Iterator[tuple[int, NDArray[np.float32], int]]:
    """Maps of every frame: first frame, maps [n, h, w], and how many of them are copies."""
    following = 0
    latest: NDArray[np.float32] | None = None
    for batch in estimates:
        maps = batch.maps.cpu().numpy()
        for frame, one in zip(batch.frames.tolist(), maps, strict=True):
            latest = one[None] if latest is None else latest
            if frame > following:
                yield following, np.repeat(latest, frame - following, axis=0), frame - following
            latest = one[None]
            yield frame, latest, 0
            following = frame + 1
    if latest is not None and following < frames:
        yield following, np.repeat(latest, frames - following, axis=0), frames - following
