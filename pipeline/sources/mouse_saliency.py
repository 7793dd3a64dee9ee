"""AViMoS and NTIRE 2026: videos with sound, with mouse positions in place of gaze.

A. Moskalenko et al.: "AIM 2024 Challenge on Video Saliency Prediction: Methods and Results", ECCV
Workshops 2024 (1,500 videos), and the NTIRE 2026 challenge of the same group (2,000 videos). More
than 70 observers per video moved a mouse; the observer of a point is not published.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.recipe.section import GazeSelection
from foveal.pipeline.sources.base import Dataset, Form, RawSource
from foveal.pipeline.sources.readers.clips import GroundTruthSection
from foveal.pipeline.sources.readers.files import check_confined, natural_key
from foveal.pipeline.sources.readers.grey_videos import VideoMaps
from foveal.pipeline.sources.readers.json_text import read_json, read_points
from foveal.pipeline.sources.readers.points import POOLED, PointsBuilder
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Fixations, Video

_SPLIT_FILE = "TrainTestSplit.json"

_SUFFIX = ".mp4"
_NOT_VIDEOS = ("Saliency", "Fixations", "SampleSubmission")
"""First letters of folders that hold MP4 files of other kinds, or very many pictures."""
_MAX_NAME = 255
_SHOWN_NAMES = 5


class MouseSaliencyConfig(GroundTruthSection):
    """AViMoS or NTIRE 2026, its archives unpacked side by side.

    Attributes
    ----------
    edition : {'avimos', 'ntire2026'}
        Which of the two it is. They differ in the number of videos, and in the folder of binary
        fixation pictures, which is not read because pictures lose repeated points.
    splits : list of str or null
        Lists of ``TrainTestSplit.json``: ``train``, ``public_test``, ``private_test``. Null takes
        all of them.
    videos : str
        Folder below the root that is searched for the videos.
    ground_truth : {'import', 'regenerate'}
        Import density from the published saliency videos, or blur the points as the recipe says.
    """

    kind: Literal["mouse_saliency"]
    edition: Literal["avimos", "ntire2026"] = "ntire2026"
    splits: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    videos: str = "."
    ground_truth: Literal["regenerate", "import"] = "import"


class MouseSaliency(RawSource[MouseSaliencyConfig]):
    """AViMoS or NTIRE 2026 as published; see `RawSource`."""

    def __init__(self, config: MouseSaliencyConfig, fixations: GazeSelection | None) -> None:
        super().__init__(config, fixations)
        if self.subjects != "all":
            raise RecipeError(
                f"fixations.subjects is {', '.join(self.subjects)}, but the observer of a "
                "point is not published; write all"
            )

    def videos(self) -> Sequence[Video]:
        """List the videos of the wanted lists in natural order; an id is a name without ``.mp4``.

        A video without a file is listed too, so that the build quarantines it and says so.
        """
        found = self._files
        listed = {name for names in self._splits.values() for name in names}
        if others := sorted(found.keys() - listed, key=natural_key):
            more = ", …" if len(others) > _SHOWN_NAMES else ""
            self.left_out = (
                f"{len(others)} videos are in no list of {_SPLIT_FILE}, "
                f"{', '.join(others[:_SHOWN_NAMES])}{more}"
            )
        wanted = self._splits if self.config.splits is None else self.config.splits
        return [
            self._video(name, split)
            for split in wanted
            for name in sorted(self._splits[split], key=natural_key)
        ]

    def _video(self, name: str, split: str) -> Video:
        has_ground_truth = split in self._published
        points, maps = self._annotation(name, split)
        paths = (points, maps) if self.config.ground_truth == "import" else (points,)
        return Video(
            id=name,
            split=split,
            path=self._files.get(name, self.root / "Videos" / f"{name}{_SUFFIX}"),
            annotation_paths=paths if has_ground_truth else (),
            has_ground_truth=has_ground_truth,
        )

    def _annotation(self, name: str, split: str) -> tuple[Path, Path]:
        """Paths of the points and of the maps of a video."""
        part = "Train" if split.startswith("train") else "Test"
        return (
            self.root / f"Fixations{part}" / part / name / "fixations.json",
            self.root / f"Saliency{part}" / part / f"{name}{_SUFFIX}",
        )

    @cached_property
    def _published(self) -> Collection[str]:
        """Lists whose ground truth is there; that of a test list may be withheld."""
        return [
            split
            for split, names in self._splits.items()
            if split.startswith("train")
            or any(self._annotation(name, split)[0].exists() for name in names)
        ]

    @cached_property
    def _splits(self) -> Mapping[str, Sequence[str]]:
        """Names of each list, without suffix."""
        path = self.root / _SPLIT_FILE
        try:
            lists = read_json(path)
        except GazeError as error:
            raise RecipeError(f"{error}; it says which videos are for training") from None
        if not isinstance(lists, dict) or not all(_is_names(names) for names in lists.values()):
            raise RecipeError(f"{path} is no object of lists of names; fetch it again")
        splits = {
            split: [name.removesuffix(_SUFFIX) for name in names] for split, names in lists.items()
        }
        if unknown := [one for one in self.config.splits or () if one not in splits]:
            raise RecipeError(
                f"dataset.splits: {unknown[0]!r} is no list of {path}; there are "
                f"{', '.join(splits)}"
            )
        return splits

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        """MP4 files by name without suffix, from all folders below ``videos``."""
        top = self.root / self.config.videos
        if not top.is_dir():
            raise RecipeError(f"dataset.videos: there is no folder {top}")
        found: dict[str, Path] = {}
        for path in _mp4_files(top):
            if path.stem in found:
                raise RecipeError(
                    f"{found[path.stem]} and {path} are two videos of one name; name the folder "
                    "that counts in dataset.videos"
                )
            found[path.stem] = path
        if not found:
            raise RecipeError(
                f"{top} holds no {_SUFFIX} file at any depth; unpack Videos.zip there"
            )
        return found

    def annotated_frames(self, video: Video) -> int | None:
        """Count the frames that points and maps both have; `sources.annotated_frames` calls it.

        Parameters
        ----------
        video : Video
            A video of this source that has ground truth.

        Raises
        ------
        GazeError
            The counts differ among points, maps and video, and `reconcile` is ``strict``.
        """
        counts = self._counts(video)
        return min(counts[kind] for kind in counts if kind != "video")

    def _counts(self, video: Video, points: int | None = None) -> dict[str, int]:
        """Frames of the video, of the points and (where they are imported) of the maps."""
        check_confined(self.root, video)
        declared = probe(video).frames
        counts = {} if declared is None else {"video": declared}
        counts["points"] = points if points is not None else len(self._frames(video))
        if self.config.ground_truth == "import":
            counts["maps"] = len(VideoMaps(video.annotation_paths[1]))
        if len(set(counts.values())) > 1 and self.config.reconcile == "strict":
            raise GazeError(
                f"{video.path.name}: {_in_words(counts)} do not belong together; "
                "dataset.reconcile: truncate_to_shorter keeps the frames that all have"
            )
        return counts

    def _frames(self, video: Video) -> list[Any]:
        path = video.annotation_paths[0]
        frames = read_json(path)
        if not isinstance(frames, list):
            raise GazeError(f"{path} is no list of frames; fetch it again")
        return frames

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Read every point of all observers, repeated ones too; see `Source.fixations`."""
        if not video.has_ground_truth:
            raise GazeError(f"{video.id}: no points of the list {video.split} are published")
        check_confined(self.root, video)
        frames = self._frames(video)
        counts = self._counts(video, len(frames))
        frame, row, column = read_points(video.annotation_paths[0], frames)
        inside = (row >= -0.5) & (row < height_px - 0.5) & (column >= -0.5)
        inside &= column < width_px - 0.5
        builder = PointsBuilder()
        builder.count("off_screen", ~inside)
        frame = frame[inside]
        builder.add(POOLED, frame, column[inside], row[inside], read=len(inside), used=frame)
        attributes: dict[str, Any] = {"origin": "fixations", "frames": counts}
        if len(set(counts.values())) > 1:
            rule = self.config.reconcile
            kept = min(counts.values()) if rule == "truncate_to_shorter" else "the video's"
            attributes["notes"] = [f"{rule}: {kept} frames kept of {_in_words(counts)}"]
        return builder.build({**attributes, **self._rules()})

    def published_maps(self, video: Video) -> VideoMaps | None:
        """Open the saliency video where `ground_truth` is ``import``; see `Source`."""
        if self.config.ground_truth != "import" or not video.has_ground_truth:
            return None
        check_confined(self.root, video)
        maps = VideoMaps(video.annotation_paths[1])
        maps.about["values"] = (
            "luma of the published saliency video, not changed; its authors stretched the map of "
            "each frame to its own minimum and maximum, so values of different frames do not "
            "compare"
        )
        return maps

    def _rules(self) -> dict[str, Any]:
        return {"edition": self.config.edition, "reconcile": self.config.reconcile}

    def parameters(self) -> dict[str, Any]:
        """Give every setting that changes the fixations; see `Source.parameters`."""
        return {
            "kind": "mouse_saliency",
            "ground_truth": self.config.ground_truth,
            **self._rules(),
        }


def _mp4_files(top: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(
            name for name in folders if not name.startswith((*_NOT_VIDEOS, ".", "__MACOSX"))
        )
        for name in sorted(files, key=natural_key):
            if name.lower().endswith(_SUFFIX) and not name.startswith("."):
                yield Path(folder) / name


def _is_names(names: Any) -> bool:
    """Whether a value is a list of names that cannot lead out of a folder."""
    return isinstance(names, list) and all(
        isinstance(name, str)
        and len(name) <= _MAX_NAME
        and name == Path(name).name
        and name.removesuffix(_SUFFIX) not in ("", "..")
        and "\0" not in name
        for name in names
    )


def _in_words(counts: Mapping[str, int]) -> str:
    """Counts in words, the video's first."""
    return ", ".join(
        f"{count} frames in the {kind}" if kind == "video" else f"{count} of {kind}"
        for kind, count in counts.items()
    )


_TITLES = {"ntire2026": "NTIRE 2026 video saliency", "avimos": "AViMoS (AIM 2024)"}
_SIGNS = (
    (_SPLIT_FILE,),
    ("FixationsTrain/Train/*/fixations.json", "FixationsTest/Test/*/fixations.json"),
)
_PUBLISHED = {
    "ntire2026": {"train": 1200, "public_test": 300, "private_test": 500},
    "avimos": {"train": 1000, "test": 500},
}


def _form(edition: str, pictures: str) -> Form:
    return Form(
        _TITLES[edition],
        (
            *_SIGNS,
            (f"FixationsTrain/Train/*/{pictures}", f"FixationsTest/Test/*/{pictures}"),
        ),
        settings={"edition": edition},
        videos=_PUBLISHED[edition],
    )


FORMS = (
    _form("ntire2026", "fixations_maps"),
    _form("avimos", "fixations"),
    Form("AViMoS or NTIRE 2026 without fixation pictures", _SIGNS),
)

DATASET = Dataset(
    "mouse_saliency",
    "AViMoS and NTIRE 2026",
    MouseSaliencyConfig,
    MouseSaliency,
    forms=FORMS,
    citation='A. Moskalenko et al., "AIM 2024 Challenge on Video Saliency Prediction: Methods and '
    'Results", ECCV Workshops 2024; of the edition of 2026 the report of the NTIRE 2026 challenge',
    redistribution="allowed",
    terms="CC BY (https://github.com/msu-video-group/NTIRE26_Saliency_Prediction; each video's own "
    "licence is in VideoInfo.json)",
)
