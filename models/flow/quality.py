"""This module measures whether a video's flow can be trusted, without knowing the true flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.models.flow.base import FlowEstimator
from foveal.models.flow.opencv import grey_frames

_BIN_PX = 1 / 64
_BINS = 1 << 16


class FlowQuality:
    """Measure the quality of the flow of one video, batch by batch.

    Parameters
    ----------
    estimator : FlowEstimator, optional
        Computes the backward flow of a sample of pairs; without it that figure is left out.
    sample_every : int
        Forward-backward inconsistency is measured on pairs 0, `sample_every`, 2 `sample_every`, ….
    """

    def __init__(self, estimator: FlowEstimator | None = None, *, sample_every: int = 64) -> None:
        if sample_every < 1:
            raise ValueError(f"sample_every must be at least 1, got {sample_every}")
        self._estimator = estimator
        self._sample_every = sample_every
        self._pairs = 0
        self._diagonal_px = 0.0
        self._non_finite = 0
        self._magnitudes = np.zeros(_BINS, np.int64)
        self._magnitude = _Mean()
        self._component = [_Mean(), _Mean()]
        self._square = [_Mean(), _Mean()]
        self._warped = _Mean()
        self._unwarped = _Mean()
        self._inconsistency = _Mean()

    def add(self, frames: NDArray[np.uint8], flow: NDArray[np.float32]) -> None:
        """Take the next pairs.

        Parameters
        ----------
        frames : ndarray, uint8 [n + 1, height, width, 3]
            RGB on the flow's grid.
        flow : ndarray, float32 [n, height, width, 2]
            Motion of frame k to k + 1.

        Raises
        ------
        ValueError
            The shapes do not fit together.
        """
        if frames.shape[1:3] != flow.shape[1:3] or len(frames) != len(flow) + 1:
            raise ValueError(f"frames {frames.shape} do not fit flow {flow.shape}")
        self._diagonal_px = float(np.hypot(*flow.shape[1:3]))
        grey = grey_frames(frames)
        for k, motion in enumerate(flow):
            finite = np.isfinite(motion).all(axis=-1)
            self._non_finite += motion.size - int(np.isfinite(motion).sum())
            self._add_magnitudes(motion[finite])
            self._add_photometric(grey[k], grey[k + 1], motion, finite)
            if self._estimator is not None and self._pairs % self._sample_every == 0:
                self._add_inconsistency(self._estimator, frames[k : k + 2], motion, finite)
            self._pairs += 1

    def summary(self) -> dict[str, Any]:
        """Return the figures so far; None where nothing could be measured.

        Returns
        -------
        dict
            ``pairs``; ``mean_magnitude_px``; ``p99_magnitude_px`` (rounded down to 1/64 px, at most
            1024);
            ``photometric_error`` and ``photometric_error_unwarped``, mean absolute difference in
            grey levels (0 … 255) of frame k and frame k + 1, with frame k + 1 warped back along the
            flow, and without; ``forward_backward_px``, mean distance after following the forward
            and then the backward flow; ``non_finite_values``; ``flags``.
        """
        return {
            "pairs": self._pairs,
            "mean_magnitude_px": self._magnitude.value,
            "p99_magnitude_px": self._p99(),
            "photometric_error": self._warped.value,
            "photometric_error_unwarped": self._unwarped.value,
            "forward_backward_px": self._inconsistency.value,
            "non_finite_values": self._non_finite,
            "flags": self._flags(),
        }

    def snapshot(self) -> dict[str, Any]:
        """Return the sums so far: plain JSON types and one array."""
        means = [[mean.total, mean.count] for mean in self._means()]
        return {
            "pairs": self._pairs,
            "diagonal_px": self._diagonal_px,
            "non_finite": self._non_finite,
            "magnitudes": self._magnitudes.copy(),
            "means": means,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, a `snapshot`."""
        self._pairs, self._non_finite = int(state["pairs"]), int(state["non_finite"])
        self._diagonal_px = float(state["diagonal_px"])
        self._magnitudes = np.array(state["magnitudes"], np.int64).reshape(_BINS)
        for mean, (total, count) in zip(self._means(), state["means"], strict=True):
            mean.total, mean.count = float(total), int(count)

    def _means(self) -> list[_Mean]:
        single = [self._magnitude, self._warped, self._unwarped, self._inconsistency]
        return [*single, *self._component, *self._square]

    def _flags(self) -> list[str]:
        """Name what is wrong.

        ``constant``: the same vector everywhere although the picture changes. ``exploding``: one
        vector in a hundred is longer than the picture's diagonal.
        """
        flags = []
        if self._non_finite:
            flags.append("non_finite")
        changes = (self._unwarped.value or 0.0) > 1.0
        if changes and max(self._spread_px()) < 1e-3:
            flags.append("constant")
        if (self._p99() or 0.0) > self._diagonal_px:
            flags.append("exploding")
        return flags

    def _spread_px(self) -> list[float]:
        return [
            float(np.sqrt(max((square.value or 0.0) - (mean.value or 0.0) ** 2, 0.0)))
            for mean, square in zip(self._component, self._square, strict=True)
        ]

    def _p99(self) -> float | None:
        total = int(self._magnitudes.sum())
        if total == 0:
            return None
        place = int(np.searchsorted(np.cumsum(self._magnitudes), 0.99 * total))
        return place * _BIN_PX

    def _add_magnitudes(self, vectors: NDArray[np.float32]) -> None:
        magnitude = np.hypot(vectors[:, 0], vectors[:, 1])
        self._magnitude.add(magnitude)
        bins = np.minimum(magnitude / _BIN_PX, _BINS - 1).astype(np.int64)
        self._magnitudes += np.bincount(bins, minlength=_BINS)
        for axis in (0, 1):
            component = vectors[:, axis].astype(np.float64)
            self._component[axis].add(component)
            self._square[axis].add(component**2)

    def _add_photometric(
        self,
        grey: NDArray[np.uint8],
        after: NDArray[np.uint8],
        motion: NDArray[np.float32],
        finite: NDArray[np.bool_],
    ) -> None:
        fetched, inside = _fetch_along(after.astype(np.float32), motion, finite)
        before = grey.astype(np.float32)
        self._warped.add(np.abs(fetched - before)[inside])
        self._unwarped.add(np.abs(after.astype(np.float32) - before))

    def _add_inconsistency(
        self,
        estimator: FlowEstimator,
        pair: NDArray[np.uint8],
        motion: NDArray[np.float32],
        finite: NDArray[np.bool_],
    ) -> None:
        backward = estimator(np.ascontiguousarray(pair[::-1]))[0]
        back, inside = _fetch_along(backward, motion, finite)
        round_trip = (motion + back)[inside]
        self._inconsistency.add(np.hypot(round_trip[:, 0], round_trip[:, 1]))


def _fetch_along(
    image: NDArray[np.float32], motion: NDArray[np.float32], finite: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return `image` at (x + u, y + v), bilinear, and whether that is inside the picture."""
    import cv2

    height, width = motion.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    to_x, to_y = x + motion[..., 0], y + motion[..., 1]
    inside = finite & (to_x >= 0) & (to_y >= 0) & (to_x <= width - 1) & (to_y <= height - 1)
    to_x, to_y = np.where(inside, to_x, 0), np.where(inside, to_y, 0)
    return np.asarray(cv2.remap(image, to_x, to_y, cv2.INTER_LINEAR), np.float32), inside


class _Mean:
    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0

    def add(self, values: NDArray[Any]) -> None:
        finite = values[np.isfinite(values)]
        self.total += float(finite.sum(dtype=np.float64))
        self.count += finite.size

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None
