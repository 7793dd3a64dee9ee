"""This module gives what is scored: stored predictions, and the baselines of every table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
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
"""Calls a function with every item and returns the results in order: ``map``, or a cluster's."""

CENTRE_BIAS_FRAMES = 4000
"""The train mean is taken over at most so many frames, evenly spread over the videos."""


@dataclass(frozen=True)
class Contest:
    """Maps of consecutive frames and the ground truth that they are scored against.

    Attributes
    ----------
    saliency : Tensor, float32 [n, height, width]
        On the grid of the ground truth.
    fixations : FixatedPixels
        Fixated pixels of each frame.
    density : Tensor, real [n, height, width]
        Density maps.
    """

    saliency: Tensor
    fixations: FixatedPixels
    density: Tensor


Contestant = Callable[[Truth, int, int], Contest]
"""Returns the maps of frames ``start … stop - 1`` of a video and their ground truth."""


def against_all(maps: Callable[[Truth, int, int], Tensor]) -> Contestant:
    """Return a contestant that is scored against the gaze of all observers."""

    def contest(truth: Truth, start: int, stop: int) -> Contest:
        return Contest(
            maps(truth, start, stop), truth.fixated(start, stop), truth.density(start, stop)
        )

    return contest


def stored(array: str) -> Contestant:
    """Return a stored prediction as a contestant, resized to the grid of the ground truth.

    It raises a StoreError when it is asked for a video that has no such prediction.
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
    """Return the contestant of one value everywhere: AUC 0.5, NSS and CC undefined."""
    return against_all(lambda truth, start, stop: torch.ones(stop - start, *truth.size))


def centre_bias(mean: Tensor) -> Contestant:
    """Return the contestant whose map of every frame is the one of `mean_density`."""

    def maps(truth: Truth, start: int, stop: int) -> Tensor:
        return truth.on_grid(mean[None]).expand(stop - start, -1, -1).contiguous()

    return against_all(maps)


def mean_density(store: Store, videos: Sequence[str], each: Each = map) -> Tensor:
    """Return the mean of the density maps of some videos, each map scaled to a sum of 1.

    Parameters
    ----------
    store : Store
    videos : sequence of str
        Ids, of the train split; maps are resized to the size of the first video's.
    each : callable
        Calls a function for each video, here or on a cluster.

    Returns
    -------
    Tensor, float32 [height, width]

    Raises
    ------
    StoreError
        No video has a map that is not empty, or the maps of one are damaged.
    """
    known = store.contents(videos)
    infos = {video: known[video].infos.get(DENSITY) for video in videos if video in known}
    maps = {video: info for video, info in infos.items() if info is not None and info.items}
    store.check_whole([video for video in videos if video not in maps], "the mean of densities")
    every = max(1, -(-sum(info.items for info in maps.values()) // CENTRE_BIAS_FRAMES))
    size = next((info.item_shape for info in maps.values()), ())
    parts = each(partial(_density_sum, Gatherer(store.location), every, size), list(maps.items()))
    total = sum(parts, torch.zeros(size, dtype=torch.float64))
    if not total.sum() > 0:
        raise StoreError(
            f"{store.location}: {len(videos)} videos have no density to average; name a split "
            "with ground truth for the centre bias"
        )
    return (total / total.sum()).float()


def _density_sum(
    gatherer: Gatherer, every: int, size: tuple[int, ...], of: tuple[str, ArrayInfo]
) -> Tensor:
    """Sum up every n-th map of a video, each resized and scaled to a sum of 1."""
    video, info = of
    total = torch.zeros(size, dtype=torch.float64)
    for start in range(0, info.items, every):
        values = gatherer.read([Slice(video, info.name, start, start + 1)])[0]
        one = resized_maps(torch.from_numpy(values).float(), (size[0], size[1]))
        if one.sum() > 0:
            total += (one / one.sum())[0].double()
    return total


def flow_magnitude(store: Store, wanted: str | None) -> Contestant:
    """Return the contestant whose maps are the lengths of each pixel's motion to the next frame.

    The last frame has the map of the frame before it.
    """
    array = choose_flow(store, wanted)

    def maps(truth: Truth, start: int, stop: int) -> Tensor:
        pairs = truth.infos[array].items
        first = min(start, pairs - 1)
        flow = torch.from_numpy(truth.read(array, first, min(stop, pairs))).float()
        kept = (torch.arange(start, stop) - first).clamp(max=pairs - 1 - first)
        return truth.on_grid(torch.linalg.vector_norm(flow, dim=-1))[kept]

    return against_all(maps)


def other_observers(store: Store) -> Contestant:
    """Return `one_against_others`, if the store knows which observer each point belongs to.

    Raises
    ------
    StoreError
        The first video with points has the points of all observers under one name.
    """
    for video in store.select():
        if POINTS[-1] in store.infos(video):
            if store.array(video, POINTS[-1]).attrs.get("subjects") == [POOLED]:
                raise StoreError(
                    f"{store.location}: the points of {store.dataset} do not say whose they are, "
                    "so that no observer can be predicted by the others"
                )
            break
    return one_against_others


def one_against_others(truth: Truth, start: int, stop: int) -> Contest:
    """Predict the gaze of one observer by that of all others: the human upper reference.

    The observer is chosen by the frame's number, so that each is predicted equally often and no
    frame costs more than another. Frames with fewer than two observers have no ground truth here.
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
