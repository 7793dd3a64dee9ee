"""This module holds the stages that run a network over one video: maps and intermediate results."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from foveal.errors import FovealError, StoreError
from foveal.models.saliency import Inner
from foveal.pipeline.learn.inference import Estimates, estimate_video
from foveal.pipeline.stages.base import OF_THIS_RUN, Arrays, PlainStage, StageContext
from foveal.storage.schema import ArraySpec

if TYPE_CHECKING:
    from foveal.pipeline.learn.predict import Session

VERSION = 1
"""Goes up whenever the same network and inputs would give other maps."""

INNER_PREFIX = "inner_"


class NoEstimate(StoreError):
    """The network can estimate no frame of a video, for example because it is too short."""


class SaliencyStage(PlainStage):
    """The stage that writes ``saliency_<name>``: a network's map of each frame of one video.

    It reads clips of the store itself, as training does, and yields maps as they are computed.
    """

    version = VERSION
    inputs = ()

    def __init__(self, session: Session, video: str, frames: int) -> None:
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
            inner=self._inner(),
        )
        try:
            first = next(estimates)
        except StoreError as error:
            raise NoEstimate(str(error)) from None
        self._first = first
        self._estimates = itertools.chain([first], estimates)

    def _inner(self) -> tuple[Inner, ...]:
        return ()

    def _items(self, estimates: Estimates) -> Mapping[str, Tensor]:
        """Return the items of each array, one per estimated frame."""
        return {self.name: estimates.maps}

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
        parts = ((part.frames, self._items(part)) for part in self._estimates)
        for start, arrays, copies in _in_order(parts, self._frames):
            self.copied += copies
            yield {name: self._stored(start, values) for name, values in arrays.items()}

    def provenance(self) -> dict[str, Any]:
        return {"copied_frames": self.copied, OF_THIS_RUN: {"device": str(self._session.device)}}

    def _stored(self, start: int, maps: NDArray[np.float32]) -> NDArray[Any]:
        with np.errstate(over="ignore"):
            values = maps.astype(self._predictor.stored_dtype)
        finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
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


class InnerStage(SaliencyStage):
    """The stage that writes ``inner_<name>_…``: the intermediate results for each map."""

    def __init__(self, session: Session, video: str, frames: int) -> None:
        super().__init__(session, video, frames)
        self.name = INNER_PREFIX + self._predictor.name
        self.arrays = tuple(f"{self.name}_{each.name}" for each in self._inner())

    def _inner(self) -> tuple[Inner, ...]:
        return self._predictor.network.inner()

    def _items(self, estimates: Estimates) -> Mapping[str, Tensor]:
        return {f"{self.name}_{name}": values for name, values in estimates.inner.items()}

    def outputs(self) -> Sequence[ArraySpec]:
        spec = self._predictor.network.spec
        specs = []
        for each in self._inner():
            name = f"{self.name}_{each.name}"
            shape = tuple(self._first.inner[each.name].shape[1:])
            sides = ("y", "x") if each.kind == "map" else tuple(map(str, range(len(shape))))
            if each.kind == "features" and len(shape) == 3:
                sides = ("feature", "y", "x")
            specs.append(
                ArraySpec(
                    name,
                    ("time", *(f"{name}_{side}" for side in sides)),
                    shape,
                    np.dtype(self._predictor.stored_dtype),
                    {"long_name": f"{spec.name}: {each.about}", "units": "1", "paper": spec.paper},
                    axis="frame",
                    kind=each.kind,
                    role="inner",
                )
            )
        return specs


def _in_order(
    parts: Iterable[tuple[NDArray[np.int64], Mapping[str, Tensor]]], frames: int
) -> Iterator[tuple[int, dict[str, NDArray[Any]], int]]:
    """Yield the items of every frame: first frame, items [n, …] by name, number of copies."""
    following = 0
    latest: dict[str, NDArray[Any]] = {}

    def copies(count: int) -> dict[str, NDArray[Any]]:
        return {name: np.repeat(one, count, axis=0) for name, one in latest.items()}

    for numbers, tensors in parts:
        arrays = {name: values.float().cpu().numpy() for name, values in tensors.items()}
        for row, frame in enumerate(numbers.tolist()):
            one = {name: values[row : row + 1] for name, values in arrays.items()}
            latest = latest or one
            if frame > following:
                yield following, copies(frame - following), frame - following
            latest = one
            yield frame, latest, 0
            following = frame + 1
    if latest and following < frames:
        yield following, copies(frames - following), frames - following
