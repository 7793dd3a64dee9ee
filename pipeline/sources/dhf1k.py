"""DHF1K: 1000 videos, viewed freely by 17 observers and recorded at 250 Hz.

W. Wang, J. Shen, F. Guo, M.-M. Cheng, A. Borji: "Revisiting Video Saliency: A Large-scale
Benchmark and a New Model", CVPR 2018. Gaze is mapped to frames and pixels as in the authors'
``record_mapping.m``, except where `GazeSelection.mapping` asks for another rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from foveal.errors import GazeError, InputError, RecipeError
from foveal.pipeline.recipe.section import GazeSelection
from foveal.pipeline.sources.base import AVI_FILE, PICTURE_FILE, Dataset, Form
from foveal.pipeline.sources.readers.clips import Clip, ClipSource, GroundTruthSection
from foveal.pipeline.sources.readers.files import (
    check_confined,
    dataset_root,
    file_names,
    folder_names,
    left_out,
    natural_key,
    numbered_files,
)
from foveal.pipeline.sources.readers.pictures import (
    PICTURE_SUFFIXES,
    PictureMaps,
    points_of_pictures,
)
from foveal.pipeline.sources.readers.points import PointsBuilder, ScreenFit, pixels_of_frames
from foveal.pipeline.sources.readers.smi_text import read_smi_text
from foveal.pipeline.video.density_kernels import FWHM_PER_SIGMA, DensityConstants, DensityKernel
from foveal.pipeline.video.types import Fixations, Video

Split = Literal["train", "val", "test"]

FRAME_RATE = 30
"""Frames per second in the authors' mapping, whatever the container says."""

SCREEN = ScreenFit(screen_height_px=900, screen_width_px=1440)

_SPLIT_NUMBERS: dict[Split, range] = {
    "train": range(1, 601),
    "val": range(601, 701),
    "test": range(701, 1001),
}
_VIDEO = re.compile(r"(\d{3,4})\.avi", re.IGNORECASE)
_GAZE = re.compile(r"P\d+_Trail(\d{3,4})\.txt", re.IGNORECASE)


class DHF1KConfig(GroundTruthSection):
    """DHF1K, as published or with its frames extracted.

    Attributes
    ----------
    form : {'raw', 'frames'}
        ``raw``: ``video/001.AVI`` with ``exportdata_train/`` (to import maps: ``annotation/``).
        ``frames``: ``annotation/0001/{maps,fixation}`` with frames in ``annotation/0001/images``
        or ``frames/0001``.
    splits : list of {'train', 'val', 'test'}
        Videos 1-600, 601-700 and 701-1000; the ground truth of the last is withheld.
    ground_truth : {'regenerate', 'import'}
        The two differ: the authors made the published maps by the outer product that
        `GazeSelection.mapping` calls ``authors``.
    fps : float
        Frame rate of the form ``frames``.
    """

    kind: Literal["dhf1k"]
    form: Literal["raw", "frames"] = "raw"
    splits: tuple[Split, ...] = ("train", "val")
    fps: Annotated[float, Field(gt=0, le=1000)] = 30.0


def _open(config: DHF1KConfig, fixations: GazeSelection | None) -> DHF1K | ClipSource:
    root = dataset_root(config.root)
    if config.form == "raw":
        return DHF1K(config, fixations)
    return ClipSource(config, fixations, _clips(root, config))


class DHF1K:
    """DHF1K as published; see `Source`. `config` and `fixations` are sections of the recipe."""

    def __init__(self, config: DHF1KConfig, fixations: GazeSelection | None) -> None:
        self.config = config
        self.left_out = ""
        self.root = dataset_root(config.root)
        self.fixations_section = fixations or GazeSelection()
        self._imports = config.ground_truth == "import"
        self._gaze = {} if self._imports else self._find_gaze()
        self._observers = {name for files in self._gaze.values() for name in files}

    def videos(self) -> Sequence[Video]:
        """List the videos of the wanted splits by number; an id is the name's digits (``002``)."""
        folder = self.root / "video"
        if not folder.is_dir():
            raise RecipeError(
                f"{self.root} holds no folder video/; DHF1K has video/001.AVI … 1000.AVI"
            )
        names = {name: _VIDEO.fullmatch(name) for name in file_names(folder)}
        self.left_out = left_out(folder, [name for name, match in names.items() if match])
        found = []
        for name, match in names.items():
            split = _split_of(int(match[1])) if match else None
            if match and split in self.config.splits:
                found.append(self._video(folder / name, match[1], split))
        return found

    def _video(self, path: Path, number: str, split: Split) -> Video:
        if split == "test":
            return Video(id=number, split=split, path=path, has_ground_truth=False)
        if not self._imports:
            gaze = tuple(self._gaze.get(int(number), {}).values())
            return Video(id=number, split=split, path=path, annotation_paths=gaze)
        try:
            maps, points = self._pictures(number, "maps"), self._pictures(number, "fixation")
        except InputError as error:  # raised again when they are read
            return Video(id=number, split=split, path=path, notes=(str(error),))
        return Video(
            id=number,
            split=split,
            path=path,
            expected_frames=len(maps) or None,
            annotation_paths=(*maps, *points),
        )

    def _find_gaze(self) -> dict[int, dict[str, Path]]:
        """Find the gaze files by video number and observer."""
        folder = self.root / "exportdata_train"
        observers = folder_names(folder)
        wanted = self.fixations_section.subjects
        unknown = [] if wanted == "all" else [one for one in wanted if one not in observers]
        if unknown:
            raise RecipeError(
                f"fixations.subjects: {', '.join(unknown)} not among the observers in {folder}: "
                f"{', '.join(observers) or 'none'}"
            )
        gaze: dict[int, dict[str, Path]] = {}
        for observer in observers if wanted == "all" else wanted:
            for name in file_names(folder / observer):
                if match := _GAZE.fullmatch(name):
                    gaze.setdefault(int(match[1]), {})[observer] = folder / observer / name
        return gaze

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Read the fixated pixels of all selected observers; see `Source.fixations`."""
        if not video.has_ground_truth:
            raise GazeError(
                f"DHF1K withholds the ground truth of its test videos, {video.id} is one; "
                "leave fixations and density out of the recipe, or leave test out of splits"
            )
        check_confined(self.root, video)
        if self._imports:
            points = self._checked_pictures(video.id, "fixation")
            return points_of_pictures(points, height_px, width_px, {})
        files = self._gaze.get(int(video.id), {})
        if not files:
            raise GazeError(
                f"no gaze of video {video.id}: there is no "
                f"{self.root}/exportdata_train/Pxx/Pxx_Trail{video.id}.txt"
            )
        builder = PointsBuilder()
        for observer, path in files.items():
            gaze = read_smi_text(path)
            ticks = gaze.time_us * FRAME_RATE
            frame = ticks // 1_000_000
            x, y, inside = SCREEN.to_video(gaze.x, gaze.y, height_px, width_px)
            lost = (gaze.x == 0) & (gaze.y == 0)
            on_border = ~lost & (frame * 1_000_000 == ticks)
            builder.count("blink", gaze.blinks)
            builder.count("not_fixation", gaze.others)
            builder.count("zero_position", lost)
            builder.count("between_frames", on_border)
            builder.count("off_screen", ~lost & ~on_border & ~inside)
            kept = ~lost & ~on_border & inside
            pixels = pixels_of_frames(frame[kept], x[kept], y[kept], self.fixations_section.mapping)
            builder.add(observer, *pixels, read=gaze.samples, used=frame[kept])
        missing = sorted(self._observers - files.keys(), key=natural_key)
        return builder.build({"origin": "raw gaze", "observers_missing": missing, **_rules(self)})

    def published_maps(self, video: Video) -> PictureMaps | None:
        """Open the maps in ``annotation/`` where `ground_truth` is ``import``; see `Source`."""
        if not self._imports or not video.has_ground_truth:
            return None
        check_confined(self.root, video)
        return PictureMaps(self._checked_pictures(video.id, "maps"))

    def _pictures(self, number: str, kind: Literal["maps", "fixation"]) -> list[Path]:
        """Published pictures of a video in order of their number."""
        folder = self.root / "annotation" / annotation_folder(number) / kind
        return [folder / name for name in numbered_files(folder, PICTURE_SUFFIXES).values()]

    def _checked_pictures(self, number: str, kind: Literal["maps", "fixation"]) -> list[Path]:
        pictures = self._pictures(number, kind)
        other = self._pictures(number, "fixation" if kind == "maps" else "maps")
        folder = self.root / "annotation" / annotation_folder(number)
        if not pictures:
            raise GazeError(f"video {number}: there are no published pictures {folder}/{kind}/0001")
        for expected, path in enumerate(pictures, start=1):
            if int(path.stem) != expected:
                raise GazeError(
                    f"{folder}/{kind} lacks {expected:04d}: which frame is which is lost"
                )
        if other and len(other) != len(pictures) and self.config.reconcile == "strict":
            raise GazeError(
                f"{folder} has {len(pictures)} pictures in {kind}/, but {len(other)} in the other "
                "folder; dataset.reconcile: truncate_to_shorter keeps what both have"
            )
        return pictures

    def parameters(self) -> dict[str, Any]:
        """Give every setting that changes the fixations; see `Source.parameters`."""
        return {
            "kind": "dhf1k",
            "form": "raw",
            "ground_truth": self.config.ground_truth,
            "subjects": self.fixations_section.subjects,
            **_rules(self),
        }


def _rules(source: DHF1K) -> dict[str, Any]:
    return {
        "mapping": source.fixations_section.mapping,
        "frame_rate": FRAME_RATE,
        "screen_height_px": SCREEN.screen_height_px,
        "screen_width_px": SCREEN.screen_width_px,
    }


def annotation_folder(video: str) -> str:
    """Name the folder of a video below ``annotation/``: ``0002`` for the video ``002``.

    Parameters
    ----------
    video : str
        The video's id; one that is no number is returned as it is.
    """
    return f"{int(video):04d}" if video.isdigit() else video


def _split_of(number: int) -> Split | None:
    return next((split for split, own in _SPLIT_NUMBERS.items() if number in own), None)


def _clips(root: Path, config: DHF1KConfig) -> list[Clip]:
    clips = []
    for name in folder_names(root / "annotation"):
        split = _split_of(int(name)) if name.isdigit() else None
        if split is None or split not in config.splits:
            continue
        folder = root / "annotation" / name
        extracted = [root / "frames" / form.format(int(name)) for form in ("{:04d}", "{:03d}")]
        candidates = [folder / "images", *extracted]
        clips.append(
            Clip(
                id=f"{int(name):03d}",
                split=split,
                images=next((one for one in candidates if one.is_dir()), candidates[0]),
                maps=folder / "maps",
                points=(folder / "fixation", folder / "fixation" / "maps"),
                fps=config.fps,
                has_ground_truth=split != "test",
            )
        )
    return clips


# Gaussians of FWHM 30 px (σ = 12.7398) on the binary map, not truncated, divided by their maximum:
# make_gauss_masks.m of Wang et al. 2018. The script's slices put the peak 2 px to the right of and
# below the fixated pixel; here it is on the pixel (offset_px=2.0 would follow the script).
DENSITY = DensityConstants(DensityKernel(30.0 / FWHM_PER_SIGMA))

_GAZE_FILES = "exportdata_train/P*/P*_Trail*.txt"
_PUBLISHED = {"train": 600, "val": 100, "test": 300}

FORMS = (
    Form(
        "DHF1K, as published",
        ((f"video/[0-9]{AVI_FILE}",), (_GAZE_FILES, f"annotation/*/maps/{PICTURE_FILE}")),
        {"form": "raw"},
        {_GAZE_FILES: {}, "annotation": {"ground_truth": "import"}},
        _PUBLISHED,
    ),
    Form(
        "DHF1K with extracted frames",
        (
            (f"annotation/[0-9]*/images/{PICTURE_FILE}", f"frames/[0-9]*/{PICTURE_FILE}"),
            (f"annotation/[0-9]*/maps/{PICTURE_FILE}",),
            ("annotation/[0-9]*/fixation/*.*", "annotation/[0-9]*/fixation/maps/*.mat"),
        ),
        {"form": "frames", "ground_truth": "import"},
        videos=_PUBLISHED,
    ),
)

DATASET = Dataset(
    "dhf1k",
    "DHF1K",
    DHF1KConfig,
    _open,
    forms=FORMS,
    density=DENSITY,
    citation='W. Wang et al., "Revisiting Video Saliency", CVPR 2018 and TPAMI 2021',
    terms="CC BY 4.0 by its README (https://github.com/wenguanwang/DHF1K); footage from the web",
    folder_name=annotation_folder,
)
