"""What every table of scores is compared with, and stored predictions, all scored alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveal.errors import StoreError
from foveal.models.metrics import FixatedPixels
from foveal.pipeline.learn.ground_truth import DENSITY, POINTS, Points, Truth
from foveal.pipeline.learn.inputs import choose_flow, resized_maps
from foveal.pipeline.sources.readers.points import POOLED
from foveal.pipeline.stages.density_maps import density_map
from foveal.storage.kinds import ArrayInfo
from foveal.storage.reader import Store
from foveal.storage.slices import Gatherer, Slice

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Calls a function with every item and gives the results in order: ``map``, or a cluster's."""

CENTRE_BIAS_FRAMES = 4000
"""The train mean is taken over so many frames at most, evenly spread over the videos."""


@dataclass(frozen=True)
class Contest:
    """Maps of consecutive frames and what they are to be scored against.

    Attributes
    ----------
    saliency : Tensor, float32 [n, height, width]
        On the grid of the ground truth.
    fixations : FixatedPixels
    density : Tensor, real [n, height, width]
    """

    saliency: Tensor
    fixations: FixatedPixels
    density: Tensor


Contestant = Callable[[Truth, int, int], Contest]
"""Gives the maps of frames ``start … stop - 1`` of a video and their ground truth."""


def against_all(maps: Callable[[Truth, int, int], Tensor]) -> Contestant:
    """A contestant that is scored against the gaze of all observers."""

    def contest(truth: Truth, start: int, stop: int) -> Contest:
        return Contest(
            maps(truth, start, stop), truth.fixated(start, stop), truth.density(start, stop)
        )

    return contest


def stored(array: str) -> Contestant:
    """A prediction in the store, brought to the grid of the ground truth.

    Raises
    ------
    StoreError
        When asked for a video that has none.
    """

    def maps(truth: Truth, start: int, stop: int) -> Tensor:
        if array not in truth.infos:
            raise StoreError(
                f"{truth.store.location}: video {truth.video!r} has no complete {array}; "
                "`foveal predict` writes it"
            )
        return truth.on_grid(torch.from_numpy(truth.read(array, start, stop)))

    return against_all(maps)


def uniform() -> Contestant:
    """The same value everywhere: AUC 0.5 by definition, NSS and CC undefined."""
    return against_all(lambda truth, start, stop: torch.ones(stop - start, *truth.size))


def centre_bias(mean: Tensor) -> Contestant:
    """The same map for every frame, of `mean_density`."""

    def maps(truth: Truth, start: int, stop: int) -> Tensor:
        return truth.on_grid(mean[None]).expand(stop - start, -1, -1).contiguous()

    return against_all(maps)


def mean_density(store: Store, videos: Sequence[str], each: Each = map) -> Tensor:
    """Mean of the density maps of some videos, each map scaled to a sum of 1.

    Parameters
    ----------
    store : Store
    videos : sequence of str
        Of the train split; maps of all sizes are brought to the first one's.
    each : callable
        Carries out the work on each video.

    Returns
    -------
    Tensor, float32 [height, width]

    Raises
    ------
    StoreError
        None of them has a map that is not empty, or one of them is damaged.
    """
    known = store.contents(videos)
    infos = {video: known[video].infos.get(DENSITY) for video in videos if video in known}
    maps = {video: info for video, info in infos.items() if info is not None and info.items}
    store.check_whole([video for video in videos if video not in maps], "the mean of densities")
    every = max(1, -(-sum(info.items for info in maps.values()) // CENTRE_BIAS_FRAMES))
    size = next((info.item_shape for info in maps.values()), ())
    parts = each(_DensitySum(Gatherer(store.location), every, size), list(maps.items()))
    total = sum(parts, torch.zeros(size, dtype=torch.float64))
    if not total.sum() > 0:
        raise StoreError(
            f"{store.location}: no density to take a mean of in {len(videos)} videos; name a split "
            "with ground truth for the centre bias"
        )
    return (total / total.sum()).float()


@dataclass(frozen=True)
class _DensitySum:
    """Sum of every so manieth map of a video, each brought to a size and to a sum of 1."""

    gatherer: Gatherer
    every: int
    size: tuple[int, ...]

    def __call__(self, of: tuple[str, ArrayInfo]) -> Tensor:
        video, info = of
        total = torch.zeros(self.size, dtype=torch.float64)
        for start in range(0, info.items, self.every):
            values = self.gatherer.read([Slice(video, info.name, start, start + 1)])[0]
            one = resized_maps(torch.from_numpy(values).float(), (self.size[0], self.size[1]))
            if one.sum() > 0:
                total += (one / one.sum())[0].double()
        return total


def flow_magnitude(store: Store, wanted: str | None) -> Contestant:
    """Length of each pixel's motion to the next frame, of the last frame that of the one before."""
    array = choose_flow(store, wanted)

    def maps(truth: Truth, start: int, stop: int) -> Tensor:
        pairs = truth.infos[array].items
        first = min(start, pairs - 1)
        flow = torch.from_numpy(truth.read(array, first, min(stop, pairs))).float()
        kept = (torch.arange(start, stop) - first).clamp(max=pairs - 1 - first)
        return truth.on_grid(torch.linalg.vector_norm(flow, dim=-1))[kept]

    return against_all(maps)


def other_observers(store: Store) -> Contestant:
    """`one_against_others`, where the store tells observers apart.

    Raises
    ------
    StoreError
        The first video with points has those of all observers under one name.
    """
    for video in store.select():
        if POINTS[-1] in store.infos(video):
            if store.array(video, POINTS[-1]).attrs.get("subjects") == [POOLED]:
                raise StoreError(
                    f"{store.location}: the observers of {store.dataset} are not told apart, so "
                    "none can be predicted by the others"
                )
            break
    return one_against_others


def one_against_others(truth: Truth, start: int, stop: int) -> Contest:
    """Gaze of all observers but one as the prediction of that one's: the human upper reference.

    Who is left out goes round by the frame's number, so that each observer is predicted equally
    often and a frame costs no more than any other. Frames with fewer than two observers have no
    ground truth here.
    """
    points = truth.points.between(start, stop)
    saliency = torch.zeros(stop - start, *truth.size)
    density = torch.zeros_like(saliency)
    ones = []
    for frame in range(stop - start):
        here = points.between(frame, frame + 1)
        observers = np.unique(here.subject)
        if len(observers) < 2:
            continue
        left_out = here.subject == observers[(start + frame) % len(observers)]
        one = here.only(left_out)
        saliency[frame] = _blurred(truth, here.only(~left_out))
        density[frame] = _blurred(truth, one)
        ones.append(Points(one.frame + frame, one.x, one.y, one.subject))
    kept = Points(
        *(
            np.concatenate([getattr(points, name)[:0], *(getattr(one, name) for one in ones)])
            for name in ("frame", "x", "y", "subject")
        )
    )
    return Contest(saliency, truth.pixels(kept, stop - start), density)


def _blurred(truth: Truth, points: Points) -> Tensor:
    xy = np.stack([points.x, points.y], axis=-1)
    return torch.from_numpy(density_map(xy, truth.source_size, truth.size, truth.kernel, "max"))
