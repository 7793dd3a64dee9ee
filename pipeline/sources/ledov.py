"""LEDOV: 538 videos, viewed by 32 observers.

L. Jiang, M. Xu, T. Liu, M. Qiao, Z. Wang: "DeepVS: A Deep Learning Based Video Saliency Prediction
Approach", ECCV 2018. Fixations are mapped to frames as in the authors' evaluation code. This
includes their rule that discards what each observer looked at before leaving the centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.recipe.section import DatasetSection, GazeSelection
from foveal.pipeline.sources.base import MP4_FILE, Dataset, Form, RawSource
from foveal.pipeline.sources.readers.files import check_confined, folder_names
from foveal.pipeline.sources.readers.mat import mat_names, read_mat, real_numbers
from foveal.pipeline.sources.readers.points import PointsBuilder
from foveal.pipeline.video.density_kernels import FWHM_PER_SIGMA, DensityConstants, DensityKernel
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Fixations, Video

Split = Literal["train", "val", "test"]

MAX_POINTS = 50_000_000
"""Most points that the fixations of one observer may spread over; more are refused."""

_NO_FRAME = 2**31
"""A frame number that no video reaches."""

_LIST_PREFIXES: dict[str, Split] = {"train": "train", "va": "val", "test": "test"}
"""First letters of the variables in ``namelist.mat``; the second is spelled ``vaildlist``."""


class LEDOVConfig(DatasetSection):
    """LEDOV as published: ``<video>/{<video>.mp4,Data.mat}`` and ``namelist.mat``.

    Attributes
    ----------
    splits : list of {'train', 'val', 'test'} or null
        Splits by ``namelist.mat`` (461, 36 and 41 videos; one is listed twice). Its numbers count
        the names in ``VideoNameList.mat`` from 1. Null takes all videos without a split, and needs
        no list.
    frame_rate : {'video', 'metadata'}
        The rate that turns milliseconds into frames: that of the container, or ``VideoFrameRate``
        of ``Data.mat``, which is rounded (30 for 29.97).
    centre_rule : bool
        Discard the fixations of an observer until one on the picture is farther from the centre
        than a twentieth of the height along both axes, as the authors do on purpose.
    """

    kind: Literal["ledov"]
    splits: tuple[Split, ...] | None = ("train", "val", "test")
    frame_rate: Literal["video", "metadata"] = "video"
    centre_rule: bool = True


class LEDOV(RawSource[LEDOVConfig]):
    """LEDOV as published; see `RawSource`."""

    def __init__(self, config: LEDOVConfig, fixations: GazeSelection | None) -> None:
        super().__init__(config, fixations)
        nested = self.root / "LEDOV"
        self._top = nested if nested.is_dir() else self.root

    def videos(self) -> Sequence[Video]:
        """List the videos of the wanted splits; an id is the name of the video's folder."""
        names = [
            name
            for name in folder_names(self._top)
            if any((self._top / name / one).exists() for one in (f"{name}.mp4", "Data.mat"))
        ]
        if not names:
            raise RecipeError(f"{self._top} holds no folder <video>/<video>.mp4, as LEDOV has 538")
        unlisted = [name for name in names if name not in self._splits]
        if unlisted and self.config.splits is not None:
            self.left_out = f"{len(unlisted)} videos are in no list, such as {unlisted[0]}"
        videos = [
            Video(
                id=name,
                split=split,
                path=self._top / name / f"{name}.mp4",
                annotation_paths=(self._top / name / "Data.mat",),
            )
            for name in names
            for split in [self._splits.get(name)]
            if self.config.splits is None or split in self.config.splits
        ]
        if not videos and self.config.splits:
            raise RecipeError(
                f"{self._beside('namelist.mat')} names none of the {len(names)} videos in "
                f"{self._top} for {', '.join(self.config.splits)}; fetch it again, or take all "
                "videos by dataset.splits: null"
            )
        return videos

    @cached_property
    def _splits(self) -> dict[str, Split]:
        if self.config.splits is None:
            return {}
        path = self._beside("namelist.mat")
        if not path.is_file():
            raise RecipeError(
                f"{path} is not there; it says which videos are for training. Put it "
                "there, or take all by dataset.splits: null"
            )
        try:
            return {
                name: split
                for variable in mat_names(path)
                for prefix, split in _LIST_PREFIXES.items()
                if variable.lower().startswith(prefix)
                for name in self._names(path, read_mat(path, variable))
            }
        except GazeError as error:
            raise RecipeError(f"{error}; or take all videos by dataset.splits: null") from None

    def _names(self, path: Path, listed: Any) -> list[str]:
        """Videos that a variable of ``namelist.mat`` lists, by name or by number."""
        try:
            numbers = real_numbers(listed).ravel()
        except (TypeError, ValueError):
            return _stripped(path, listed)
        name_list = self._beside("VideoNameList.mat")
        names = _stripped(name_list, read_mat(name_list, "VideoNameList", *mat_names(name_list)))
        if not all(number in range(1, len(names) + 1) for number in numbers):
            raise GazeError(f"{path} lists numbers that are not in 1 … {len(names)} of {name_list}")
        return [names[int(number) - 1] for number in numbers]

    def _beside(self, name: str) -> Path:
        """Path of a file about the whole dataset, in its root or beside the videos."""
        nested = self._top / name
        return nested if nested.is_file() else self.root / name

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Read one point per frame that a fixation spans; see `Source.fixations`."""
        check_confined(self.root, video)
        path = video.annotation_paths[0]
        data = read_mat(path, "Data")
        try:
            table = real_numbers(data["fixdata"]).reshape(-1, 5)
            rounded_rate = float(real_numbers(data["VideoFrameRate"]).ravel()[0])
            annotation_frames = int(real_numbers(data["VideoFrames"]).ravel()[0])
        except (TypeError, KeyError, ValueError, IndexError, OverflowError):
            raise GazeError(
                f"{path}: Data lacks VideoFrames, VideoFrameRate or an N x 5 fixdata"
            ) from None
        if not np.isfinite(table).all() or (table[:, 2] < 0).any():
            raise GazeError(
                f"{path}: fixdata holds durations below 0 or values that are not finite"
            )
        info = probe(video)
        fps = info.fps if self.config.frame_rate == "video" else rounded_rate
        if not 0 < fps <= 1000:
            raise GazeError(f"{path}: a frame rate of {fps}")
        builder = PointsBuilder()
        for subject, rows in _by_observer(table):
            if self.subjects == "all" or subject in self.subjects:
                kept = _kept(rows, height_px, width_px, self.config.centre_rule, builder)
                first, last = _spans(kept[:, 1], kept[:, 2], fps)
                frame, index = _spanned_frames(first, last, info.frames)
                x, y = kept[index, 3] - 1, kept[index, 4] - 1
                builder.add(subject, frame, x, y, read=len(rows), used=first)
        return builder.build(
            {
                "origin": "fixations",
                "frame_rate": fps,
                "annotation_frames": annotation_frames,
                **self._rules(),
            }
        )

    def _rules(self) -> dict[str, Any]:
        rule = "away, inside the picture" if self.config.centre_rule else False
        return {"frame_rate_of": self.config.frame_rate, "centre_rule": rule}

    def parameters(self) -> dict[str, Any]:
        """Give every setting that changes the fixations; see `Source.parameters`."""
        return {"kind": "ledov", "subjects": self.subjects, **self._rules()}


def _stripped(path: Path, names: Any) -> list[str]:
    listed = names if isinstance(names, list) else np.ravel(names).tolist()
    if not listed or not all(isinstance(name, str) for name in listed):
        raise GazeError(f"{path} holds no list of videos' names")
    return [name.strip().removesuffix(".mp4") for name in listed]


def _spans(
    start_ms: NDArray[np.float64], duration_ms: NDArray[np.float64], fps: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last frame of fixations, int64 [n] from 0: ceil(time), counted from 1."""
    frame_ms = 1000 / fps
    first, last = (np.ceil(time / frame_ms) for time in (start_ms, start_ms + duration_ms))
    first, last = (np.clip(frame, 1, _NO_FRAME).astype(np.int64) - 1 for frame in (first, last))
    return first, last


def _spanned_frames(
    first: NDArray[np.int64], last: NDArray[np.int64], frames: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every frame (from 0) that a fixation spans, up to the end, and the index of the fixation."""
    if frames is not None:
        last = np.minimum(last, frames - 1)
    counts = np.maximum(last - first + 1, 0)
    if counts.sum() > MAX_POINTS:
        raise GazeError(f"fixations span {counts.sum()} frames; more than {MAX_POINTS} are refused")
    index = np.repeat(np.arange(len(first)), counts)
    within = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
    return first[index] + within, index


def _by_observer(table: NDArray[np.float64]) -> list[tuple[str, NDArray[np.float64]]]:
    """Rows of each observer: a new observer starts where the start time decreases.

    The subject column gives the name; where two observers have the same, the second gets a suffix.
    """
    cuts = np.flatnonzero(np.diff(table[:, 1]) < 0) + 1
    found: dict[str, NDArray[np.float64]] = {}
    for rows in np.split(table, cuts):
        if len(rows):
            name = f"{rows[0, 0]:g}"
            repeats = sum(one == name or one.startswith(f"{name}.") for one in found)
            found[f"{name}.{repeats + 1}" if repeats else name] = rows
    return list(found.items())


def _kept(
    rows: NDArray[np.float64],
    height_px: int,
    width_px: int,
    centre_rule: bool,
    builder: PointsBuilder,
) -> NDArray[np.float64]:
    x, y = rows[:, 3], rows[:, 4]
    inside = (x > 0) & (x < width_px) & (y > 0) & (y < height_px)
    started = np.ones(len(rows), bool)
    if centre_rule:
        reach = np.floor(height_px / 20 + 0.5)
        away = (np.abs(x - width_px / 2) > reach) & (np.abs(y - height_px / 2) > reach)
        started = np.logical_or.accumulate(away & inside)
    builder.count("before_leaving_centre", ~started)
    builder.count("off_screen", started & ~inside)
    return rows[started & inside]


# Gaussians of peak 1 and FWHM 80 px (σ = 33.97), cut at ±100 px, summed over all points:
# make_gauss_masks4.m, called with fixsize 100 by TestLEDOV.m (Jiang et al. 2018). Every point
# counts where observers share a pixel, and the authors do not normalise the sum.
DENSITY = DensityConstants(
    DensityKernel(80.0 / FWHM_PER_SIGMA, half_width_px=100.0, binarise=False), "none"
)

FORM = Form(
    "LEDOV, as published",
    (
        (f"LEDOV/*/{MP4_FILE}", f"*/{MP4_FILE}"),
        ("LEDOV/*/Data.mat", "*/Data.mat"),
        ("namelist.mat", "LEDOV/namelist.mat"),
    ),
    videos={"train": 461, "val": 36, "test": 41},
)

DATASET = Dataset(
    "ledov",
    "LEDOV",
    LEDOVConfig,
    LEDOV,
    forms=(FORM,),
    density=DENSITY,
    citation='L. Jiang et al., "DeepVS: A Deep Learning Based Video Saliency Prediction Approach", '
    "ECCV 2018",
    terms="research (https://github.com/remega/LEDOV-eye-tracking-database)",
)
