"""Steps from gaze in screen pixels to fixated points that all datasets of raw gaze share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foveal.errors import RecipeError
from foveal.pipeline.recipe.section import GazeSelection
from foveal.pipeline.video.types import Fixations

GazeMapping = Literal["pairwise", "authors"]

POOLED = "all"
"""Observer id of points where a dataset does not publish who looked."""


def only_pairwise(fixations: GazeSelection | None) -> None:
    """Refuse `fixations` with ``mapping: authors``, an error in DHF1K's script, by RecipeError."""
    if fixations is not None and fixations.mapping != "pairwise":
        raise RecipeError(
            f"fixations.mapping: {fixations.mapping} is for DHF1K only; write pairwise"
        )


def round_half_away(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round `values`, halves away from zero as MATLAB's ``round`` (NumPy rounds them to even)."""
    return np.copysign(np.floor(np.abs(values) + 0.5), values)


@dataclass(frozen=True)
class ScreenFit:
    """A video shown at the full width of a screen, centred vertically.

    Attributes
    ----------
    screen_height_px, screen_width_px : int
        Size of the screen that gaze is measured on.
    """

    screen_height_px: int
    screen_width_px: int

    def to_video(
        self,
        x_screen: NDArray[np.float64],
        y_screen: NDArray[np.float64],
        height_px: int,
        width_px: int,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Map screen pixels to pixels of the video.

        The rule of DHF1K's ``record_mapping.m``: scale to the width, subtract the upper border,
        round half away from zero, keep 0 < x < width and 0 < y < height (counted from 1).

        Parameters
        ----------
        x_screen, y_screen : ndarray, float64 [n]
            Pixels of the screen.
        height_px, width_px : int
            Size of the video.

        Returns
        -------
        x, y : ndarray, float64 [n]
            Pixels of the video, counted from 0.
        inside : ndarray, bool [n]
            Whether the pixel is on the video.
        """
        scale = width_px / self.screen_width_px
        border = (self.screen_height_px - height_px / scale) / 2
        x = round_half_away(scale * x_screen)
        y = round_half_away(scale * (y_screen - border))
        inside = (x > 0) & (x < width_px) & (y > 0) & (y < height_px)
        return x - 1, y - 1, inside


class PointsBuilder:
    """Collects the points of all observers, and counts what is left out by reason.

    Attributes
    ----------
    excluded : Counter
        Samples left out, by reason.
    samples_read : int
        Samples of all observers, including those left out.
    """

    def __init__(self) -> None:
        self.excluded: Counter[str] = Counter()
        self.samples_read = 0
        self._subjects: list[str] = []
        self._used: list[NDArray[np.int32]] = []
        self._columns: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []

    def count(self, reason: str, left_out: int | NDArray[np.bool_]) -> None:
        """Count samples that are left out.

        Parameters
        ----------
        reason : str
            Why they are left out.
        left_out : int or ndarray, bool [n]
            Number of samples, or a mask whose True values count.
        """
        self.excluded[reason] += int(np.sum(left_out))

    def add(
        self,
        subject: str,
        frame: NDArray[Any],
        x: NDArray[Any],
        y: NDArray[Any],
        *,
        read: int,
        used: NDArray[Any],
    ) -> None:
        """Add the points of one observer.

        Parameters
        ----------
        subject : str
            Observer id.
        frame, x, y : ndarray [n]
            Frame and pixel of each point, counted from 0.
        read : int
            Samples of this observer, including those left out.
        used : ndarray [m]
            Frame of each sample that the points come from.
        """
        self._subjects.append(subject)
        self._columns.append((_frames(frame), x, y))
        self._used.append(_frames(used))
        self.samples_read += read

    def build(self, attributes: Mapping[str, Any]) -> Fixations:
        """Sort all points by frame, then by order of `add`; store `attributes` with them."""
        empty = (np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.float32))
        columns = list(zip(*(self._columns or [empty]), strict=True))
        frame = np.concatenate(columns[0])
        used = np.concatenate([empty[0], *self._used])
        subject = np.repeat(
            np.arange(len(self._subjects), dtype=np.int16),
            [len(points[0]) for points in self._columns],
        )
        order = np.argsort(frame, kind="stable")
        return Fixations(
            frame=frame[order],
            x=np.concatenate(columns[1]).astype(np.float32)[order],
            y=np.concatenate(columns[2]).astype(np.float32)[order],
            subject=subject[order],
            subjects=tuple(self._subjects),
            excluded={reason: count for reason, count in sorted(self.excluded.items()) if count},
            attributes={
                "samples_read": self.samples_read,
                "samples_used": len(used),
                **attributes,
            },
            sample_frame=used,
        )


def _frames(values: NDArray[Any]) -> NDArray[np.int32]:
    """Frames as int32; numbers beyond its range become its largest value."""
    return np.asarray(np.clip(values, -1, np.iinfo(np.int32).max), np.int32)


def pixels_of_frames(
    frame: NDArray[Any], x: NDArray[Any], y: NDArray[Any], mapping: GazeMapping
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Find the distinct pixels that one observer fixated in each frame.

    Parameters
    ----------
    frame, x, y : ndarray [n]
        Whole numbers from 0, one per sample.
    mapping : {'pairwise', 'authors'}
        ``pairwise``: each sample's own (x, y). ``authors``: every x of a frame with every y of it,
        because DHF1K's ``record_mapping.m`` indexes a matrix with two vectors.

    Returns
    -------
    frame, x, y : ndarray, int32 [m]
        Sorted by frame, then y, then x; no pixel twice in a frame.
    """
    if not len(frame):
        empty = np.empty(0, np.int32)
        return empty, empty, empty
    frame, x, y = (np.asarray(values, np.int64) for values in (_frames(frame), x, y))
    width, height = int(x.max()) + 1, int(y.max()) + 1
    if mapping == "pairwise":
        key = _distinct((frame * height + y) * width + x)
    else:
        rows = _distinct(frame * height + y)
        columns = _distinct(frame * width + x)
        per_frame = np.bincount(columns // width)
        first = np.concatenate([[0], np.cumsum(per_frame)])
        repeats = per_frame[rows // height]
        start = np.repeat(first[rows // height], repeats)
        within = np.arange(len(start)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        key = np.repeat(rows, repeats) * width + columns[start + within] % width
    row = key // width
    frame = row // height
    x, y = key - row * width, row - frame * height
    return frame.astype(np.int32), x.astype(np.int32), y.astype(np.int32)


def _distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted distinct values; `values` itself is sorted (`np.unique` takes six times as long)."""
    values.sort()
    first = np.concatenate([[True], values[1:] != values[:-1]])
    return np.asarray(values[first])
