"""Saliency of a store's videos, written back beside them as one more array of each."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError, RecipeError, StoreError
from foveal.models.saliency import SaliencyNetwork
from foveal.pipeline.learn.inference import Estimates, autocast_dtype, choose_device, stream_video
from foveal.pipeline.learn.inputs import flow_array, variables_for
from foveal.pipeline.learn.settings import Precision
from foveal.storage.index import index_row, read_index, write_index
from foveal.storage.location import Location
from foveal.storage.marks import Mark, fingerprint, read_journal
from foveal.storage.reader import Store, open_store
from foveal.storage.root import store_lock
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter
from foveal.torch.variables import make_variable

VERSION = 1
"""Raised whenever the same network and inputs would give other maps."""

PREFIX = "saliency_"

_OF_ALL_STAGES = (
    "random_weights",
    "stages",
    "fingerprints",
    "stored_bytes",
    "compute_seconds",
    "completed_at",
)

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
        return PREFIX + self.name


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
            elif "time" not in marks.get(video, {}):
                raise StoreError(f"{url}: nothing of video {video!r} is complete; build it first")
            else:
                results.append(session.predict(video, marks[video], advance))
        _update_index(session.location, [result.video for result in results])
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
        variables = variables_for(spec, self.flow, targets=False)
        self.reads = [array for each in variables for array in make_variable(each).arrays]

    def predict(self, video: str, marks: Mapping[str, Mark], advance: Advance) -> Prediction:
        """Maps of one video, unless they are complete already."""
        array = self.predictor.array
        stages = {name: stage for stage, mark in marks.items() for name in mark.arrays}
        missing = [name for name in self.reads if name not in stages]
        if missing:
            return Prediction(video, "skipped", f"no complete {', '.join(missing)}")
        frames = int(marks["time"].arrays["time"]["shape"][0])
        upstream = {stages[name]: marks[stages[name]].fingerprint for name in self.reads}
        identity = {
            "stage": array,
            "version": VERSION,
            "parameters": self.parameters(),
            "upstream": upstream,
        }
        if array in marks and marks[array].fingerprint == fingerprint(identity):
            return Prediction(video, "unchanged", frames=frames)
        estimates = stream_video(
            self.network,
            self.store,
            video,
            flow=self.flow,
            device=self.device,
            dtype=self.dtype,
        )
        began = time.monotonic()
        try:
            first = next(estimates)
        except StoreError as error:
            return Prediction(video, "skipped", str(error))
        writer = VideoWriter(self.location, video, marks["time"].provenance["video"])
        writer.invalidate([array] if array in marks else [], [array])
        stage = writer.stage(array, identity, [self._spec()])
        copied = 0
        for start, values, copies in _in_order(first, estimates, frames):
            stage.append({array: self._stored(video, start, values)})
            copied += copies
            advance(video, start + len(values), frames)
        provenance = {
            "parameters": self.parameters(),
            "trained": dict(self.predictor.trained),
            "upstream": upstream,
            "copied_frames": copied,
        }
        seconds = round(time.monotonic() - began, 3)
        of_this_run = {"compute_seconds": seconds, "wall_seconds": seconds}
        stage.complete(provenance, {"device": str(self.device), **of_this_run})
        return Prediction(video, "complete", frames=frames, copied=copied)

    def parameters(self) -> dict[str, Any]:
        """Everything but the store's content that determines the maps."""
        network = self.predictor.network
        return {
            "network": network.spec.name,
            "options": dict(network.spec.options),
            "weights": dict(network.provenance),
            "flow": self.flow,
            "precision": "float32" if self.dtype is None else str(self.dtype).split(".")[-1],
            "dtype": self.predictor.stored_dtype,
        }

    def _spec(self) -> ArraySpec:
        array = self.predictor.array
        spec = self.predictor.network.spec
        return ArraySpec(
            array,
            ("time", f"{array}_y", f"{array}_x"),
            spec.output_size,
            np.dtype(self.predictor.stored_dtype),
            {"long_name": f"saliency estimated by {spec.name}", "units": "1", "paper": spec.paper},
            axis="frame",
            kind="map",
            role="prediction",
        )

    def _stored(self, video: str, start: int, maps: NDArray[np.float32]) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            values = maps.astype(self.predictor.stored_dtype)
        finite = np.isfinite(values).all(axis=(1, 2))
        if not finite.all():
            advice = (
                "store them as float32"
                if np.isfinite(maps).all()
                else "the network diverged: train it with a lower learning rate"
            )
            raise FovealError(
                f"{video}: the map of frame {start + int(np.argmin(finite))} is not finite in "
                f"{self.predictor.stored_dtype}; {advice}"
            )
        return values


def _in_order(
    first: Estimates, rest: Iterator[Estimates], frames: int
) -> Iterator[tuple[int, NDArray[np.float32], int]]:
    """Maps of every frame: first frame, maps [n, h, w], and how many of them are copies."""
    following = 0
    latest = first.maps[:1].cpu().numpy()
    for estimates in _chain(first, rest):
        maps = estimates.maps.cpu().numpy()
        for frame, one in zip(estimates.frames.tolist(), maps, strict=True):
            if frame > following:
                yield following, np.repeat(latest, frame - following, axis=0), frame - following
            latest = one[None]
            yield frame, latest, 0
            following = frame + 1
    if following < frames:
        yield following, np.repeat(latest, frames - following, axis=0), frames - following


def _chain(first: Estimates, rest: Iterator[Estimates]) -> Iterator[Estimates]:
    yield first
    yield from rest


def _update_index(location: Location, videos: Sequence[str]) -> None:
    """Bring the rows of these videos up to date; a store that is being built has no index yet."""
    table = read_index(location)
    if table is None:
        return
    marks, quarantined = read_journal(location, videos)
    rows = []
    for record in table.to_dict("records"):
        row = {str(column): value for column, value in record.items()}
        video = str(row["video"])
        if video in marks and video not in quarantined:
            now = index_row(video, row["split"], marks[video], None)
            row |= {column: now[column] for column in _OF_ALL_STAGES}
        rows.append(row)
    write_index(location, rows)
