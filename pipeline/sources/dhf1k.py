"""DHF1K: 1000 free-viewed videos, 17 observers at 250 Hz.

W. Wang, J. Shen, F. Guo, M.-M. Cheng, A. Borji: "Revisiting Video Saliency: A Large-scale
Benchmark and a New Model", CVPR 2018. Rules of the ground truth are those of the authors'
``record_mapping.m``, except where `mapping` says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.sections import DatasetSection, FixationsSection
from foveal.pipeline.sources.files import (
    confined,
    dataset_root,
    file_names,
    folder_names,
    natural_key,
)
from foveal.pipeline.sources.pictures import PictureMaps, points_of_pictures
from foveal.pipeline.sources.points import PointsBuilder, ScreenFit, pixels_of_frames
from foveal.pipeline.sources.smi_text import read_smi_text
from foveal.pipeline.values import Fixations, Video

Split = Literal["train", "val", "test"]

FRAME_RATE = 30
"""Frames a second in the authors' mapping, whatever the container says."""

SCREEN = ScreenFit(screen_height_px=900, screen_width_px=1440)

_SPLIT_NUMBERS: dict[Split, range] = {
    "train": range(1, 601),
    "val": range(601, 701),
    "test": range(701, 1001),
}
_VIDEO = re.compile(r"(\d{3,4})\.avi", re.IGNORECASE)
_GAZE = re.compile(r"P\d+_Trail(\d{3,4})\.txt", re.IGNORECASE)
_MAP = re.compile(r"(\d{4})\.png", re.IGNORECASE)


class DHF1KConfig(DatasetSection):
    """DHF1K as published: ``video/``, ``exportdata_train/`` and, for import, ``annotation/``.

    Attributes
    ----------
    splits : list of {'train', 'val', 'test'}
        Videos 1-600, 601-700 and 701-1000; the ground truth of the last is withheld.
    ground_truth : {'regenerate', 'import'}
        Fixations and density from the raw gaze, or as published in ``annotation/``. The two
        differ: the published pictures stem from the outer product named in `FixationsSection`.
    """

    kind: Literal["dhf1k"]
    splits: tuple[Split, ...] = ("train", "val")
    ground_truth: Literal["regenerate", "import"] = "regenerate"


class DHF1K:
    """The source behind `DHF1KConfig`."""

    def __init__(self, config: DHF1KConfig, fixations: FixationsSection | None) -> None:
        self.config = config
        self.root = dataset_root(config.root)
        self.fixations_section = fixations or FixationsSection()
        self._gaze = self._find_gaze() if config.ground_truth == "regenerate" else {}
        self._observers = {name for files in self._gaze.values() for name in files}

    def videos(self) -> Sequence[Video]:
        """Videos of the wanted splits by number; ids are the file names' digits (``002``)."""
        folder = self.root / "video"
        if not folder.is_dir():
            raise RecipeError(
                f"{self.root} holds no folder video/; DHF1K has video/001.AVI … 1000.AVI"
            )
        found = []
        for name in file_names(self.root, folder):
            match = _VIDEO.fullmatch(name)
            split = _split_of(int(match[1])) if match else None
            if match and split in self.config.splits:
                found.append(self._video(folder / name, match[1], split))
        return found

    def _video(self, path: Path, number: str, split: Split) -> Video:
        if split == "test":
            return Video(id=number, split=split, path=path, has_ground_truth=False)
        if self.config.ground_truth == "import":
            maps, points = self._pictures(number)
            return Video(
                id=number,
                split=split,
                path=path,
                expected_frames=len(maps) or None,
                annotation_paths=(*maps, *points),
            )
        gaze = tuple(self._gaze.get(int(number), {}).values())
        return Video(id=number, split=split, path=path, annotation_paths=gaze)

    def _pictures(self, number: str) -> tuple[list[Path], list[Path]]:
        """Density and fixation pictures; the stray RGB picture beside their folders is no map."""
        folder = self.root / "annotation" / f"{int(number):04d}"
        maps, points = (
            [sub / name for name in file_names(self.root, sub) if _MAP.fullmatch(name)]
            for sub in (folder / "maps", folder / "fixation")
        )
        return maps, points

    def _find_gaze(self) -> dict[int, dict[str, Path]]:
        """Gaze files by video number and observer."""
        folder = self.root / "exportdata_train"
        observers = folder_names(self.root, folder)
        wanted = self.fixations_section.subjects
        unknown = [] if wanted == "all" else [one for one in wanted if one not in observers]
        if unknown:
            raise RecipeError(
                f"fixations.subjects: {', '.join(unknown)} not among the observers in {folder}: "
                f"{', '.join(observers) or 'none'}"
            )
        gaze: dict[int, dict[str, Path]] = {}
        for observer in observers if wanted == "all" else wanted:
            for name in file_names(self.root, folder / observer):
                if match := _GAZE.fullmatch(name):
                    gaze.setdefault(int(match[1]), {})[observer] = folder / observer / name
        return gaze

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Fixated pixels of all selected observers; see `Source.fixations`.

        Raises
        ------
        GazeError
            Where no observer's gaze is there, or a file is garbled.
        """
        if not video.has_ground_truth:
            raise GazeError(
                f"DHF1K withholds the ground truth of its test videos, {video.id} is one; "
                "leave fixations and density out of the recipe, or leave test out of splits"
            )
        if self.config.ground_truth == "import":
            return self._published_points(video, height_px, width_px)
        files = self._gaze.get(int(video.id), {})
        if not files:
            raise GazeError(
                f"no gaze of video {video.id}: there is no "
                f"{self.root}/exportdata_train/Pxx/Pxx_Trail{video.id}.txt"
            )
        builder = PointsBuilder()
        for observer, path in files.items():
            gaze = read_smi_text(confined(self.root, path))
            builder.excluded["blink"] += gaze.blinks
            builder.excluded["not_fixation"] += gaze.others
            ticks = gaze.time_us * FRAME_RATE
            frame, rest = np.divmod(ticks, 1_000_000)
            x, y, inside = SCREEN.to_video(gaze.x, gaze.y, height_px, width_px)
            lost = (gaze.x == 0) & (gaze.y == 0)
            on_border = ~lost & (rest == 0)
            builder.exclude("zero_position", lost)
            builder.exclude("between_frames", on_border)
            builder.exclude("off_screen", ~lost & ~on_border & ~inside)
            kept = ~lost & ~on_border & inside
            points = pixels_of_frames(frame[kept], x[kept], y[kept], self.fixations_section.mapping)
            builder.add(observer, *points, read=gaze.samples, used=int(kept.sum()))
        missing = sorted(self._observers - files.keys(), key=natural_key)
        return builder.build({"origin": "raw gaze", "observers_missing": missing, **self._rules()})

    def _published_points(self, video: Video, height_px: int, width_px: int) -> Fixations:
        maps, points = self._pictures(video.id)
        if not points:
            raise GazeError(
                f"no published fixations of video {video.id}: there is no "
                f"{self.root}/annotation/{int(video.id):04d}/fixation/0001.png"
            )
        _check_numbers(points)
        if len(maps) != len(points):
            raise GazeError(
                f"video {video.id} has {len(maps)} maps but {len(points)} fixation pictures"
            )
        return points_of_pictures(points, height_px, width_px, {})

    def published_maps(self, video: Video) -> PictureMaps | None:
        """Density pictures of ``annotation/`` where `ground_truth` is ``import``."""
        if self.config.ground_truth != "import" or not video.has_ground_truth:
            return None
        maps, _ = self._pictures(video.id)
        if not maps:
            raise GazeError(
                f"no published maps of video {video.id}: there is no "
                f"{self.root}/annotation/{int(video.id):04d}/maps/0001.png"
            )
        _check_numbers(maps)
        return PictureMaps(maps)

    def _rules(self) -> dict[str, Any]:
        return {
            "mapping": self.fixations_section.mapping,
            "frame_rate": FRAME_RATE,
            "screen_height_px": SCREEN.screen_height_px,
            "screen_width_px": SCREEN.screen_width_px,
        }

    def parameters(self) -> dict[str, Any]:
        """Every setting that changes the fixations."""
        return {
            "kind": "dhf1k",
            "ground_truth": self.config.ground_truth,
            "subjects": self.fixations_section.subjects,
            **self._rules(),
        }


def _split_of(number: int) -> Split | None:
    for split, numbers in _SPLIT_NUMBERS.items():
        if number in numbers:
            return split
    return None


def _check_numbers(paths: Sequence[Path]) -> None:
    """Pictures must be numbered 1, 2, 3 …: a gap would shift all later frames."""
    for expected, path in enumerate(paths, start=1):
        if int(path.stem) != expected:
            raise GazeError(f"{path.parent} lacks {expected:04d}.png: its frames cannot be counted")
