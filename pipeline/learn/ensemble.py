"""This module combines several predictions into one: mean, mean of logits, or maximum per pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.errors import RecipeError, StoreError
from foveal.pipeline.learn.inputs import resized_maps
from foveal.pipeline.learn.made_maps import array_name, map_spec, write_made_maps
from foveal.pipeline.learn.predict import Advance, Prediction
from foveal.pipeline.stages.base import NO_ARRAYS, Arrays, PlainStage
from foveal.pipeline.video.types import ArrayBatch
from foveal.storage.marks import Mark, infos_of
from foveal.storage.schema import ArraySpec

Mode = Literal["mean", "logit", "max"]

LOGIT_EPS = 1e-3
"""Maps are clipped to this distance from 0 and 1, where logits are infinite."""

Maps = NDArray[np.float32]


def _mean_of_logits(maps: Maps) -> Maps:
    inside = np.clip(maps, LOGIT_EPS, 1 - LOGIT_EPS)
    return np.asarray(1 / (1 + np.exp(-np.log(inside / (1 - inside)).mean(0))), np.float32)


COMBINE: Mapping[str, Callable[[Maps], Maps]] = {
    "mean": lambda maps: np.asarray(maps.mean(0)),
    "logit": _mean_of_logits,
    "max": lambda maps: np.asarray(maps.max(0)),
}
"""By mode, a function from maps [members, n, h, w] in [0, 1] to maps [n, h, w]."""


def predict_ensemble(
    url: str,
    members: Sequence[str],
    name: str,
    mode: Mode = "mean",
    *,
    split: str | None = None,
    videos: Sequence[str] | None = None,
    advance: Advance = lambda video, done, frames: None,
) -> list[Prediction]:
    """Write an ensemble of stored predictions as ``saliency_<name>``.

    Each map is resized to the grid of the first member and stretched to [0, 1] by its own minimum
    and maximum, since networks have different output scales; a constant map becomes 0.

    Parameters
    ----------
    url : str
        The store.
    members : sequence of str
        Two or more predictions; ``saliency_`` may be left out.
    name : str
        Name of the ensemble's prediction.
    mode : {'mean', 'logit', 'max'}
        Mean; mean of the logits, mapped back by the logistic function; maximum.
    split, videos, advance
        See `foveal.pipeline.learn.predict.predict_store`.

    Returns
    -------
    list of Prediction
        One per video.

    Raises
    ------
    RecipeError
        There are fewer than two members, one is named twice or is the ensemble itself, or the mode
        is unknown.
    StoreError
        No video has all members.
    """
    arrays, array = [array_name(member) for member in members], array_name(name)
    if mode not in get_args(Mode):
        raise RecipeError(f"mode {mode!r}: choose one of {', '.join(get_args(Mode))}")
    if len(arrays) < 2 or len(set(arrays)) < len(arrays) or array in arrays:
        raise RecipeError(
            f"an ensemble takes two or more different predictions, none of them {array} itself; "
            f"given: {', '.join(arrays)}"
        )

    def make(video: str, marks: Mapping[str, Mark]) -> EnsembleStage | str:
        infos = infos_of(marks)
        missing = [member for member in arrays if member not in infos]
        if missing:
            return f"no complete {', '.join(missing)}"
        height, width = infos[arrays[0]].item_shape
        return EnsembleStage(array, arrays, mode, (height, width))

    results = write_made_maps(url, make, split=split, videos=videos, advance=advance)
    if all(result.status == "skipped" for result in results):
        reasons = sorted({result.reason for result in results})
        raise StoreError(f"{url}: no video has all of {', '.join(arrays)}: {'; '.join(reasons)}")
    return results


class EnsembleStage(PlainStage):
    """The stage that writes ``saliency_<name>``: several predictions of one video combined.

    Parameters
    ----------
    array : str
    members : sequence of str
        Names of the predictions' arrays.
    mode : {'mean', 'logit', 'max'}
        How they are combined.
    size : (height, width)
    """

    def __init__(
        self, array: str, members: Sequence[str], mode: Mode, size: tuple[int, int]
    ) -> None:
        self.name = array
        self.inputs = tuple(members)
        self.arrays = (array,)
        self._mode, self._size = mode, size
        self._waiting: dict[str, list[Maps]] = {member: [] for member in members}

    def parameters(self) -> dict[str, Any]:
        return {"mode": self._mode, "members": list(self.inputs), "size": list(self._size)}

    def outputs(self) -> Sequence[ArraySpec]:
        long_name = f"{self._mode} of {', '.join(self.inputs)}"
        return [map_spec(self.name, self._size, long_name, members=list(self.inputs))]

    def push(self, batch: ArrayBatch) -> Arrays:
        self._waiting[batch.array].append(self._stretched(batch.physical))
        ready = min(sum(map(len, parts)) for parts in self._waiting.values())
        if not ready:
            return NO_ARRAYS
        taken = []
        for member, parts in self._waiting.items():
            together = np.concatenate(parts)
            taken.append(together[:ready])
            self._waiting[member] = [together[ready:]]
        return {self.name: COMBINE[self._mode](np.stack(taken)).astype(np.float16)}

    def _stretched(self, maps: NDArray[Any]) -> Maps:
        on_grid = resized_maps(torch.from_numpy(maps.astype(np.float32)), self._size).numpy()
        low = on_grid.min(axis=(1, 2), keepdims=True)
        span = on_grid.max(axis=(1, 2), keepdims=True) - low
        return np.asarray((on_grid - low) / np.where(span > 0, span, 1), np.float32)
