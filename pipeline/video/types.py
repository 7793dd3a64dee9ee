"""This module defines what the pipeline passes on: videos, fixations, batches of frames and arrays.

Conventions, everywhere: frames are counted from 0; intervals are half-open; sizes are (height,
width). Pixel coordinates are 0-based, x to the right and y down, with (0, 0) at the centre of the
upper left pixel of the *upright, square-pixel* picture that the decoder yields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.storage.cf import Scale, physical


@dataclass(frozen=True)
class Video:
    """One video of a dataset, as its source lists it before anything is decoded.

    Attributes
    ----------
    id : str
        Name of the video in the store; unique in its dataset.
    split : str or None
        ``train``, ``val``, ``test``, or None where the dataset has no splits.
    path : Path
        The video file, or the folder of frame images where `image_names` is given.
    image_names : tuple of str, optional
        File names inside `path`, in frame order.
    fps : float, optional
        Frame rate of a folder of images; video files carry their own.
    max_frames : int, optional
        Number of leading frames that belong to the dataset, where not all do (DIEM's test videos:
        300).
    expected_frames : int, optional
        Number of frames according to the dataset; another decoded count is an input error unless
        the recipe names a reconciliation rule.
    annotation_paths : tuple of Path
        Every file that the ground truth of this video is read from; their content enters the
        fingerprint of fixations and density.
    has_ground_truth : bool
        False where the ground truth is withheld (DHF1K's test split).
    notes : tuple of str
        What a person should know about this video: frames left out by a reconciliation rule, gaps
        in its numbering. None of it stops a build.
    """

    id: str
    split: str | None
    path: Path
    image_names: tuple[str, ...] | None = None
    fps: float | None = None
    max_frames: int | None = None
    expected_frames: int | None = None
    annotation_paths: tuple[Path, ...] = ()
    has_ground_truth: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself before its frames are decoded.

    Attributes
    ----------
    height_px, width_px : int
        Size of the upright picture with square pixels, as the decoder will yield it.
    fps : float
        Nominal frame rate (the container's average); the presentation times are exact.
    frames : int or None
        Frame count that the container declares (exact once decoded); None if it declares none.
    duration_seconds : float or None
        Duration of the video stream as declared.
    time_base : Fraction
        Seconds in which the container counts presentation times.
    """

    height_px: int
    width_px: int
    fps: float
    frames: int | None = None
    duration_seconds: float | None = None
    time_base: Fraction = Fraction(1, 1_000_000)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height_px, self.width_px


@dataclass(frozen=True)
class FrameBatch:
    """Consecutive decoded frames: pixels and presentation times together.

    Attributes
    ----------
    start : int
        Index of the first frame.
    frames : ndarray, uint8 [n, height, width, 3]
        RGB pixels.
    pts_seconds : ndarray, float64 [n]
        Presentation times of these frames, from the same decode, strictly increasing.
    """

    start: int
    frames: NDArray[np.uint8]
    pts_seconds: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[3] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(
                f"frames must be uint8 [n, h, w, 3], got {self.frames.dtype} {self.frames.shape}"
            )
        if self.pts_seconds.shape != self.frames.shape[:1]:
            raise ValueError(
                f"{len(self.frames)} frames came with {self.pts_seconds.shape} presentation times"
            )

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def stop(self) -> int:
        """Index of the frame after the last one."""
        return self.start + len(self.frames)


@dataclass(frozen=True)
class AudioBatch:
    """Consecutive samples of a video's sound, mixed down to one channel.

    Attributes
    ----------
    start : int
        Index of the first sample.
    samples : ndarray, float32 [n]
        In [-1, 1].
    rate_hz : int
        Samples per second in the file.
    start_seconds : float
        Time of the first sample of this batch, on the clock of the frames: 0 is the first frame.
    """

    start: int
    samples: NDArray[np.float32]
    rate_hz: int
    start_seconds: float

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True)
class ArrayBatch:
    """Consecutive items of an array along its leading axis.

    Attributes
    ----------
    array : str
        Name of the array.
    start : int
        Index of the first item.
    values : ndarray [n, ...]
        The items as stored.
    scale : Scale, optional
        What stored integers mean, see `physical`.
    """

    array: str
    start: int
    values: NDArray[Any]
    scale: Scale | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def stop(self) -> int:
        """Index of the item after the last one."""
        return self.start + len(self.values)

    @property
    def physical(self) -> NDArray[Any]:
        """The values in their unit: float32 where they are stored as scaled integers."""
        return physical(self.values, self.scale)


@dataclass(frozen=True)
class Fixations:
    """Fixated points of all observers of one video, sorted by frame: none to many per frame.

    Attributes
    ----------
    frame : ndarray, int32 [n]
        Frame of each point, non-decreasing. It may exceed the video's length until `clipped`.
    x, y : ndarray, float32 [n]
        0-based pixel coordinates in the source video's upright picture.
    subject : ndarray, int16 [n]
        Index into `subjects`.
    subjects : tuple of str
        Observer ids as the dataset names them.
    excluded : mapping of str to int
        Number of samples left out, by reason (``off_screen``, ``blink``, …).
    attributes : mapping
        How the points were made (mapping, rules, screen), JSON-serialisable; stored with them.
        ``samples_read`` is ``samples_used`` plus all of `excluded`.
    sample_frame : ndarray, int32 [samples used], optional
        Frame of each sample that the points were made from (one sample may give several points,
        several samples one point); None where the points are the samples.
    """

    frame: NDArray[np.int32]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    subject: NDArray[np.int16]
    subjects: tuple[str, ...]
    excluded: Mapping[str, int] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    sample_frame: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.frame), len(self.x), len(self.y), len(self.subject)}
        if len(lengths) != 1:
            raise ValueError(f"frame, x, y and subject differ in length: {sorted(lengths)}")
        if len(self.frame) and (np.diff(self.frame) < 0).any():
            raise ValueError("fixations must be sorted by frame")
        if not (np.isfinite(self.x).all() and np.isfinite(self.y).all()):
            raise ValueError("fixation coordinates must be finite")

    def __len__(self) -> int:
        return len(self.frame)

    def clipped(self, frames: int) -> Fixations:
        """Return these fixations without those outside frames [0, `frames`).

        Their samples no longer count as ``samples_used`` but as excluded, under ``out_of_time``.
        """
        inside = (self.frame >= 0) & (self.frame < frames)
        sample_frame = self.frame if self.sample_frame is None else self.sample_frame
        in_time = (sample_frame >= 0) & (sample_frame < frames)
        used, late = int(in_time.sum()), int((~in_time).sum())
        out_of_time = self.excluded.get("out_of_time", 0) + late
        return replace(
            self,
            frame=self.frame[inside],
            x=self.x[inside],
            y=self.y[inside],
            subject=self.subject[inside],
            excluded={**self.excluded, "out_of_time": out_of_time},
            attributes={**self.attributes, "samples_used": used},
            sample_frame=sample_frame[in_time],
        )

    def offsets(self, frames: int) -> NDArray[np.int64]:
        """Return the row range of each frame: frame k has rows ``[offsets[k], offsets[k + 1])``.

        Parameters
        ----------
        frames : int
            Length of the video.

        Returns
        -------
        ndarray, int64 [frames + 1]
        """
        return np.searchsorted(self.frame, np.arange(frames + 1)).astype(np.int64)
