"""Scores of many videos, streamed in batch by batch and averaged into a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.models.metrics.auc import Variant, auc_judd, auc_shuffled, check_variant
from foveal.models.metrics.maps import cc, kldiv, nss, sim
from foveal.models.metrics.pixels import FixatedPixels, MapRows, as_fixated_pixels

FIXATION_METRICS: dict[str, Callable[..., Tensor]] = {"auc_judd": auc_judd, "nss": nss}
DENSITY_METRICS: dict[str, Callable[..., Tensor]] = {"cc": cc, "sim": sim, "kldiv": kldiv}
METRICS = ("auc_judd", "auc_shuffled", "nss", "cc", "sim", "kldiv")


class ScoreTable:
    """Accumulates scores over the frames of videos; 8 bytes a frame and metric are kept.

    A score that is undefined is excluded from every average and counted by its reason, never
    scored 0 or 1: ``masked``, ``no_fixations``, ``empty_density``, ``constant_prediction``, and
    ``undefined`` for what is rarer (a constant density, no other fixations, every pixel fixated, a
    negative saliency under KL divergence).

    Parameters
    ----------
    metrics : sequence of str
        Any of `METRICS`.
    variant : {'mit', 'dhf1k', 'pysaliency'}
        Whose definitions the metrics follow.
    """

    def __init__(self, metrics: Sequence[str] = METRICS, variant: Variant = "mit") -> None:
        check_variant(variant)
        unknown = sorted(set(metrics) - set(METRICS))
        if unknown:
            raise ValueError(f"metrics {unknown} are unknown; allowed: {', '.join(METRICS)}")
        self.metrics = tuple(metrics)
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
        saliency : Tensor, real [n, h, w]
            Predictions, on the device to compute on.
        fixations : Tensor [n, h, w] or FixatedPixels
            For AUC-Judd, shuffled AUC and NSS.
        density : Tensor, real [n, h, w]
            For CC, SIM and KL divergence.
        other_fixations : Tensor [n, h, w] or [h, w], or FixatedPixels
            For shuffled AUC; see `OtherFixations`.
        mask : bool [n], optional
            Frames that count (an evaluation subset such as DIEM-Meta); the others are not scored.

        Returns
        -------
        dict of str to ndarray, float64 [n]
            The scores by metric, NaN where excluded.
        """
        n = len(saliency)
        wanted = torch.ones(n, dtype=torch.bool) if mask is None else torch.as_tensor(mask).cpu()
        if wanted.shape != (n,) or wanted.dtype != torch.bool:
            raise ValueError(
                f"mask must be bool [{n}], got {wanted.dtype} {tuple(wanted.shape)}; one value a "
                "frame of this batch"
            )
        here = wanted.to(saliency.device)
        rows = MapRows.of(_only(saliency, here))
        given: dict[str, Any] = {
            "fixations": _of_frames(fixations, here),
            "density": None if density is None else _only(density.to(here.device), here),
            "other_fixations": _of_frames(other_fixations, here),
        }
        scores: dict[str, NDArray[np.float64]] = {}
        for metric in self.metrics:
            values, no_truth, reason = self._score(metric, rows, given)
            counts = self._excluded.setdefault(video, {}).setdefault(metric, Counter())
            undefined = values.isnan()
            constant = undefined & ~no_truth & rows.is_constant()
            counts["masked"] += n - len(values)
            counts[reason] += int((undefined & no_truth).sum())
            counts["constant_prediction"] += int(constant.sum())
            counts["undefined"] += int((undefined & ~no_truth & ~constant).sum())
            of_frames = np.full(n, math.nan)
            of_frames[wanted.numpy()] = values.cpu().numpy()
            scores[metric] = of_frames
            self._scores.setdefault(video, {}).setdefault(metric, []).append(of_frames)
        return scores

    def per_frame(self, video: str) -> dict[str, NDArray[np.float64]]:
        """Scores of all frames of a video so far, float64 [frames], NaN where excluded."""
        if video not in self._scores:
            raise ValueError(f"video {video!r} has no scores; scored: {sorted(self._scores)}")
        return {metric: np.concatenate(parts) for metric, parts in self._scores[video].items()}

    def table(self) -> dict[str, Any]:
        """All averages, as plain dicts that JSON takes.

        Returns
        -------
        dict
            ``variant``; ``videos``: by name the ``frames`` given, and by metric the ``mean`` over
            its scored frames (None without any), ``scored`` frames and ``excluded`` counts;
            ``dataset``: by metric ``mean_of_videos`` (frames of a video first, then videos with a
            score: Linardos et al. 2019, Koçak et al., Tangemann et al. 2020), ``mean_of_frames``
            (flat over all scored frames: the DHF1K script), the numbers ``videos`` and ``frames``
            they rest on, and ``excluded`` counts.
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

    def _score(
        self, metric: str, rows: MapRows, given: dict[str, Any]
    ) -> tuple[Tensor, Tensor, str]:
        """Scores [n], whether the frame lacks ground truth [n], and how that is called."""
        needed = ["density"] if metric in DENSITY_METRICS else ["fixations"]
        needed += ["other_fixations"] if metric == "auc_shuffled" else []
        for name in needed:
            if given[name] is None:
                raise ValueError(f"{metric} needs {name}; give it, or leave {metric} out")
        if metric in DENSITY_METRICS:
            truth = given["density"] = MapRows.of(given["density"], "density")
            return (
                DENSITY_METRICS[metric](rows, truth, self.variant),
                truth.is_zero(),
                "empty_density",
            )
        fixations = given["fixations"] = as_fixated_pixels(given["fixations"], rows.shape)
        without = fixations.offsets().diff() == 0
        if metric == "auc_shuffled":
            values = auc_shuffled(rows, fixations, given["other_fixations"], self.variant)
        else:
            values = FIXATION_METRICS[metric](rows, fixations, self.variant)
        return values, without, "no_fixations"


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
