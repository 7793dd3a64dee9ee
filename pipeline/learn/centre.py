"""This module writes the centre prior: one Gaussian for every frame, fitted to the train split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import RecipeError, StoreError
from foveal.pipeline.learn.made_maps import array_name, map_spec, write_made_maps
from foveal.pipeline.learn.predict import Advance, Prediction
from foveal.pipeline.stages.base import Arrays, PlainStage
from foveal.pipeline.stages.frames import TIMELINE
from foveal.pipeline.video.types import ArrayBatch
from foveal.storage.kinds import select_arrays
from foveal.storage.marks import Mark
from foveal.storage.reader import Store, open_store
from foveal.storage.schema import ArraySpec

LONGER_SIDE_PX = 160
"""Longer side of the maps: a Gaussian needs no more, and scores and submissions resize them."""

DEFAULT_SIGMA = 0.25


@dataclass(frozen=True)
class Centre:
    """A Gaussian, in shares of the picture's width and height.

    Attributes
    ----------
    x, y : float
        Position of the peak: 0 is the left or upper edge, 1 the right or lower edge.
    sigma_x, sigma_y : float
        Standard deviations.
    points : int
        Number of fixated points that it was fitted to; 0 where it was given.
    """

    x: float = 0.5
    y: float = 0.5
    sigma_x: float = DEFAULT_SIGMA
    sigma_y: float = DEFAULT_SIGMA
    points: int = 0

    def map(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """Return its values at the centres of the pixels, peak 1, float32 [height, width].

        Parameters
        ----------
        size : (int, int)
            Height and width in pixels.
        """
        height, width = size
        x = (np.arange(width) + 0.5) / width - self.x
        y = (np.arange(height) + 0.5) / height - self.y
        exponent = (x / self.sigma_x) ** 2 + (y / self.sigma_y)[:, None] ** 2
        return np.asarray(np.exp(-exponent / 2), np.float32)


def orientation(size: tuple[int, int]) -> str:
    """Return ``vertical`` where `size` (height, width) is higher than wide, else ``landscape``."""
    return "vertical" if size[0] > size[1] else "landscape"


def fit_centre(store: Store, videos: Sequence[str]) -> dict[str, Centre]:
    """Fit a Gaussian to the fixated points of videos, for each orientation.

    It is the likeliest Gaussian: its means and deviations are those of the points; repeated points
    count.

    Parameters
    ----------
    store : Store
    videos : sequence of str
        Ids of the videos.

    Returns
    -------
    dict of str to Centre
        By `orientation`; an orientation without points has the Gaussian of all points.

    Raises
    ------
    StoreError
        No video has two different points.
    """
    found: dict[str, list[NDArray[np.float64]]] = {"landscape": [], "vertical": []}
    for video in videos:
        marks = store.marks(video)
        infos = store.infos(video)
        names = {name.rpartition("_")[2]: name for name in select_arrays(infos.values(), "points")}
        if not {"x", "y"} <= names.keys():
            continue
        height, width = marks[TIMELINE].provenance["video"]["source_size"]
        x, y = (np.asarray(store.array(video, names[axis])[:], float) for axis in "xy")
        shares = np.stack([(x + 0.5) / width, (y + 0.5) / height], axis=1)
        found[orientation((height, width))].append(shares)
    together = {key: np.concatenate([np.empty((0, 2)), *parts]) for key, parts in found.items()}
    everything = np.concatenate([*together.values()])
    if not len(everything) or not (everything.std(axis=0) > 0).all():
        raise StoreError(
            f"{store.location}: {len(everything)} fixated points in {len(videos)} videos are too "
            "few to fit a centre prior to; name a split with ground truth (--train-split)"
        )
    return {key: _fitted(points, everything) for key, points in together.items()}


def _fitted(points: NDArray[np.float64], everything: NDArray[np.float64]) -> Centre:
    if len(points) < 2 or not (points.std(axis=0) > 0).all():
        points = everything
    (x, y), (sigma_x, sigma_y) = points.mean(axis=0).tolist(), points.std(axis=0).tolist()
    return Centre(x, y, sigma_x, sigma_y, len(points))


def predict_centre(
    url: str,
    name: str = "centre",
    *,
    fit_split: str | None = None,
    sigma: float = DEFAULT_SIGMA,
    split: str | None = None,
    videos: Sequence[str] | None = None,
    advance: Advance = lambda video, done, frames: None,
) -> tuple[dict[str, Centre], list[Prediction]]:
    """Write the centre prior of a store's videos as ``saliency_<name>``.

    Parameters
    ----------
    url : str
        The store.
    name : str
        Name of the prediction.
    fit_split : str, optional
        Fit to the points of this split (``all``: of every video). Without it the Gaussian is in the
        middle and has a deviation of `sigma`.
    sigma : float
        Share of each side, above 0.
    split, videos, advance
        See `foveal.pipeline.learn.predict.predict_store`.

    Returns
    -------
    centres : dict of str to Centre
        By orientation.
    predictions : list of Prediction
        One per video.

    Raises
    ------
    RecipeError
        `sigma` is not above 0, or `name` is not valid.
    StoreError
        There are no points to fit to.
    """
    array = array_name(name)
    if not sigma > 0:
        raise RecipeError(f"sigma {sigma}: give a share of each side above 0")
    if fit_split is None:
        given = Centre(sigma_x=sigma, sigma_y=sigma)
        centres = {"landscape": given, "vertical": given}
    else:
        store = open_store(url)
        chosen = store.select(None if fit_split == "all" else fit_split)
        centres = fit_centre(store, chosen)

    def make(video: str, marks: Mapping[str, Mark]) -> CentreStage:
        height, width = marks[TIMELINE].provenance["video"]["source_size"]
        size = (int(height), int(width))
        return CentreStage(array, centres[orientation(size)], _map_size(size), fit_split)

    results = write_made_maps(url, make, split=split, videos=videos, advance=advance)
    return centres, results


def _map_size(source: tuple[int, int]) -> tuple[int, int]:
    longer = max(source)
    height, width = (max(1, round(side * LONGER_SIDE_PX / longer)) for side in source)
    return height, width


class CentreStage(PlainStage):
    """The stage that writes ``saliency_<name>``: the same Gaussian in every frame.

    Parameters
    ----------
    array : str
        Name of the array.
    centre : Centre
    size : (height, width)
        Of the maps, in pixels.
    fit_split : str or None
        The split that it was fitted to.
    """

    inputs = (TIMELINE,)

    def __init__(
        self, array: str, centre: Centre, size: tuple[int, int], fit_split: str | None
    ) -> None:
        self.name = array
        self.arrays = (array,)
        self._centre, self._size, self._fit_split = centre, size, fit_split
        self._map = centre.map(size).astype(np.float16)

    def parameters(self) -> dict[str, Any]:
        return {"centre": asdict(self._centre), "size": list(self._size)}

    def outputs(self) -> Sequence[ArraySpec]:
        fitted = f", fitted to {self._fit_split}" if self._fit_split else ""
        return [map_spec(self.name, self._size, f"centre prior{fitted}")]

    def push(self, batch: ArrayBatch) -> Arrays:
        return {self.name: np.repeat(self._map[None], len(batch), axis=0)}

    def provenance(self) -> dict[str, Any]:
        return {"fitted_to": self._fit_split}
