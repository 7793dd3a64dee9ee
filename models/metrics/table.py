"""This module collects the scores of many videos, batch by batch, and averages them in a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.errors import RecipeError
from foveal.models.metrics import challenge
from foveal.models.metrics.base import SCORED_BY, Variant, find_metric, metrics_of
from foveal.models.metrics.pixels import FixatedPixels, MapRows, as_fixated_pixels


class ScoreTable:
    """Collect scores over the frames of videos, with 8 bytes per frame and metric.

    An undefined score is never 0 or 1: it is left out of every average and counted by its reason:
    ``masked``, ``no_fixations``, ``empty_density``, ``constant_prediction``, and ``undefined`` for
    rarer ones (a constant density, no other fixations, every pixel fixated, a negative saliency
    with KL divergence).

    Parameters
    ----------
    metrics : sequence of str, optional
        Registered names; by default all that the variant defines.
    variant : {'mit', 'dhf1k', 'pysaliency', 'ntire2026'}
        Whose definitions the metrics follow; ``ntire2026`` defines CC, SIM, NSS and AUC-Judd.

    Attributes
    ----------
    metrics : tuple of str
        Names of the metrics.
    variant : str
        Whose definitions they follow.

    Raises
    ------
    RecipeError
        A metric is unknown, or the variant does not define it.
    """

    def __init__(self, metrics: Sequence[str] | None = None, variant: Variant = "mit") -> None:
        defined = metrics_of(variant)
        self.metrics = defined if metrics is None else tuple(metrics)
        if variant in SCORED_BY and (others := set(self.metrics) - set(defined)):
            raise RecipeError(
                f"{variant} defines {', '.join(defined)}, not {min(others)}; leave it out"
            )
        self._registered = {name: find_metric(name) for name in self.metrics}
        self.variant = variant
        self._scores: dict[str, dict[str, list[NDArray[np.float64]]]] = {}
        self._excluded: dict[str, dict[str, Counter[str]]] = {}

    def update(
        self,
        video: str,
        saliency: Tensor,
        fixations: Tensor | FixatedPixels | None = None,
        density: Tensor | None = None,
        other_fixations: Tensor | FixatedPixels | None = None,
        mask: Tensor | NDArray[np.bool_] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Score the next frames of a video.

        Parameters
        ----------
        video : str
            Id of the video.
        saliency : Tensor, real [n, h, w]
            Predictions, on the device that computes.
        fixations : Tensor [n, h, w] or FixatedPixels
            For AUC-Judd, shuffled AUC and NSS.
        density : Tensor, real [n, h, w]
            For CC, SIM and KL divergence.
        other_fixations : Tensor [n, h, w] or [h, w], or FixatedPixels
            For shuffled AUC; see `OtherFixations`.
        mask : bool [n], optional
            Frames that are scored (a part such as DIEM-Meta).

        Returns
        -------
        dict of str to ndarray, float64 [n]
            The scores by metric, NaN where excluded.

        Raises
        ------
        ValueError
            Shapes do not fit, or a metric lacks its ground truth.
        """
        n = len(saliency)
        wanted = torch.ones(n, dtype=torch.bool) if mask is None else torch.as_tensor(mask).cpu()
        if wanted.shape != (n,) or wanted.dtype != torch.bool:
            raise ValueError(
                f"mask must be bool [{n}], got {wanted.dtype} {tuple(wanted.shape)}; give one "
                "value per frame of this batch"
            )
        here = wanted.to(saliency.device)
        rows = MapRows.of(_only(saliency, here))
        given: dict[str, Any] = {
            "fixations": _of_frames(fixations, here),
            "density": None if density is None else _only(density.to(here.device), here),
            "other_fixations": _of_frames(other_fixations, here),
        }
        scores: dict[str, NDArray[np.float64]] = {}
        for name in self.metrics:
            values = self._score(name, rows, given)
            counts = self._excluded.setdefault(video, {}).setdefault(name, Counter())
            counts["masked"] += n - len(values)
            undefined = values.isnan()
            for reason, holds in self._reasons(name, rows, given):
                counts[reason] += int((undefined & holds).sum())
                undefined = undefined & ~holds
            counts["undefined"] += int(undefined.sum())
            of_frames = np.full(n, math.nan)
            of_frames[wanted.numpy()] = values.cpu().numpy()
            scores[name] = of_frames
            self._scores.setdefault(video, {}).setdefault(name, []).append(of_frames)
        return scores

    def join(self, other: ScoreTable) -> None:
        """Add the scores of other videos from `other`, a table with the same metrics."""
        self._scores |= other._scores
        self._excluded |= other._excluded

    def per_frame(self, video: str) -> dict[str, NDArray[np.float64]]:
        """Return the scores of all frames of a video so far, by metric.

        Parameters
        ----------
        video : str
            Id of the video.

        Returns
        -------
        dict of str to ndarray, float64 [frames]
            NaN where excluded.

        Raises
        ------
        ValueError
            The video has no scores.
        """
        if video not in self._scores:
            raise ValueError(f"video {video!r} has no scores; scored: {sorted(self._scores)}")
        return {metric: np.concatenate(parts) for metric, parts in self._scores[video].items()}

    def table(self) -> dict[str, Any]:
        """Return all averages as plain JSON types.

        Returns
        -------
        dict
            ``variant``; ``videos``: by name the number of ``frames``, and by metric the ``mean``
            over its scored frames (None without any), ``scored`` frames and ``excluded`` counts;
            ``dataset``: by metric ``mean_of_videos`` (first over the frames of each video, then
            over videos with a score: Linardos et al. 2019, Koçak et al., Tangemann et al. 2020),
            ``mean_of_frames`` (over all scored frames: the DHF1K script), their numbers of
            ``videos`` and ``frames``, and ``excluded`` counts.
        """
        videos: dict[str, Any] = {}
        dataset: dict[str, Any] = {}
        for video in self._scores:
            per_frame = self.per_frame(video)
            of_video: dict[str, Any] = {}
            for metric, values in per_frame.items():
                scored = values[~np.isnan(values)]
                of_video[metric] = {
                    "mean": _mean(scored.tolist()),
                    "scored": len(scored),
                    "excluded": _counted(self._excluded[video][metric]),
                }
            videos[video] = {"frames": len(next(iter(per_frame.values()), [])), "metrics": of_video}
        for metric in self.metrics:
            entries = {video: entry["metrics"][metric] for video, entry in videos.items()}
            means: list[float] = [entry["mean"] for entry in entries.values() if entry["scored"]]
            frames = [
                score
                for video in entries
                for part in self._scores[video][metric]
                for score in part[~np.isnan(part)].tolist()
            ]
            excluded = sum((self._excluded[video][metric] for video in entries), Counter[str]())
            dataset[metric] = {
                "mean_of_videos": _mean(means),
                "mean_of_frames": _mean(frames),
                "videos": len(means),
                "frames": len(frames),
                "excluded": _counted(excluded),
            }
        return {"variant": self.variant, "dataset": dataset, "videos": videos}

    def _score(self, name: str, rows: MapRows, given: dict[str, Any]) -> Tensor:
        """Return scores [n]; ground truth is converted to the form of metrics only once."""
        for need in self._registered[name].needs:
            if given[need] is None:
                raise ValueError(f"{name} needs {need}; give it, or leave {name} out")
            if need == "density":
                exact = self.variant == challenge.NAME
                maps = given[need]
                given[need] = challenge.density_rows(maps) if exact else MapRows.of(maps, "density")
            else:
                shared = need == "other_fixations"
                given[need] = as_fixated_pixels(given[need], rows.shape, shared=shared)
        truth = [given[need] for need in self._registered[name].needs]
        return self._registered[name].score(rows, *truth, self.variant)

    def _reasons(
        self, name: str, rows: MapRows, given: dict[str, Any]
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield reasons why a frame has no score, and whether each is true, bool [n]."""
        for need in self._registered[name].needs:
            if need == "density":
                yield "empty_density", given[need].is_zero()
            elif need == "fixations":
                yield "no_fixations", given[need].offsets().diff() == 0
        yield "constant_prediction", rows.is_constant()


def _only(maps: Tensor, wanted: Tensor) -> Tensor:
    return maps if bool(wanted.all()) else maps[wanted]


def _of_frames(fixations: Tensor | FixatedPixels | None, wanted: Tensor) -> FixatedPixels | None:
    if fixations is None:
        return None
    if not isinstance(fixations, FixatedPixels):
        fixations = FixatedPixels.from_maps(fixations[None] if fixations.ndim == 2 else fixations)
    fixations = fixations.to(wanted.device)
    shared = fixations.shape[0] == 1 != len(wanted)
    return fixations if shared or bool(wanted.all()) else fixations.frames(wanted)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _counted(counts: Counter[str]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(counts.items()) if count}
