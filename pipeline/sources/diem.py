"""DIEM: 84 videos at 30 Hz, with both eyes of about 50 observers per video.

P. Mital, T. Smith, R. Hill, J. Henderson: "Clustering of Gaze During Dynamic Scene Viewing is
Predicted by Motion", Cognitive Computation 2011. The test split is that of A. Borji, D. Sihite,
L. Itti (TIP 2013) as used by A. Koçak, A. Erdem, E. Erdem (2021): 20 videos, the first 300 frames
of each. The repackaged form is that of STAViS (A. Tsiami, P. Koutras, P. Maragos, CVPR 2020).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.recipe.section import GazeSelection
from foveal.pipeline.sources.base import MP4_FILE, Dataset, Form, RawSource
from foveal.pipeline.sources.readers.clips import Clip, ClipSource, GroundTruthSection
from foveal.pipeline.sources.readers.files import (
    VIDEO_SUFFIXES,
    check_confined,
    dataset_root,
    file_names,
    folder_names,
)
from foveal.pipeline.sources.readers.points import PointsBuilder
from foveal.pipeline.sources.readers.tables import read_table
from foveal.pipeline.video.types import Fixations, Video

if TYPE_CHECKING:
    import pandas as pd

Split = Literal["train", "test"]

SCREEN_HEIGHT_PX, SCREEN_WIDTH_PX = 960, 1280

SENTINEL_PX = 3000
"""Coordinates beyond this (in the files: ±3270) mean a lost eye, whatever the event says."""

TEST_VIDEOS = frozenset({
    "BBC_life_in_cold_blood_1278x710",
    "BBC_wildlife_serpent_1280x704",
    "DIY_SOS_1280x712",
    "advert_bbc4_bees_1024x576",
    "advert_bbc4_library_1024x576",
    "advert_iphone_1272x720",
    "ami_ib4010_closeup_720x576",
    "ami_ib4010_left_720x576",
    "harry_potter_6_trailer_1280x544",
    "music_gummybear_880x720",
    "music_trailer_nine_inch_nails_1280x720",
    "news_tony_blair_resignation_720x540",
    "nightlife_in_mozambique_1280x580",
    "one_show_1280x712",
    "pingpong_angle_shot_960x720",
    "pingpong_no_bodies_960x720",
    "sport_scramblers_1280x720",
    "sport_wimbledon_federer_final_1280x704",
    "tv_uni_challenge_final_1280x712",
    "university_forum_construction_ionic_1280x720",
})  # fmt: skip
"""Numbers 6, 8, 10, 11, 12, 14, 15, 16, 34, 42, 44, 48, 53, 54, 55, 59, 70, 74, 83 and 84 of 84."""

_EVENTS = re.compile(r"(diem\d+s\d+[a-z]?)\.asc_\d+_.*\.txt", re.IGNORECASE)
_COLUMNS = ("frame", "left x", "left y", "left dilation", "left event",
            "right x", "right y", "right dilation", "right event")  # fmt: skip
_FIXATION, _SACCADE, _BLINK = 1, 2, 0


class DIEMConfig(GroundTruthSection):
    """DIEM, as published or as STAViS repackages it.

    Attributes
    ----------
    form : {'raw', 'frames'}
        ``raw``: ``<video>/{video,event_data}``. ``frames``: ``video_frames/DIEM/<video>`` with
        ``annotations/DIEM/<video>/{maps,fixMap_*.mat}``.
    splits : list of {'train', 'test'}
        64 and 20 videos.
    test_frames : int or null
        Number of frames kept of each test video, from its start; null keeps all.
    fps : float
        Frame rate of the form ``frames``.
    """

    kind: Literal["diem"]
    form: Literal["raw", "frames"] = "raw"
    splits: tuple[Split, ...] = ("train", "test")
    test_frames: Annotated[int, Field(ge=1)] | None = 300
    fps: Annotated[float, Field(gt=0, le=1000)] = 30.0


def _open(config: DIEMConfig, fixations: GazeSelection | None) -> DIEM | ClipSource:
    root = dataset_root(config.root)
    if config.form == "raw":
        return DIEM(config, fixations)
    return ClipSource(config, fixations, _clips(root, config))


class DIEM(RawSource[DIEMConfig]):
    """DIEM as published; see `RawSource`.

    Videos were shown at their own size in the middle of the screen. An eye counts while its event
    is a fixation; where both eyes count, the point is their mean.
    """

    def __init__(self, config: DIEMConfig, fixations: GazeSelection | None) -> None:
        super().__init__(config, fixations)
        if config.ground_truth == "import":
            raise RecipeError(
                "dataset.ground_truth: import needs published maps, which DIEM's raw form lacks; "
                "write ground_truth: regenerate, or form: frames for STAViS' repackaging"
            )

    @cached_property
    def _folders(self) -> list[Path]:
        return [
            self.root / name
            for name in folder_names(self.root)
            if (self.root / name / "video").is_dir()
        ]

    def videos(self) -> Sequence[Video]:
        """List the videos of the wanted splits; an id is the name of the video's folder."""
        if not self._folders:
            raise RecipeError(f"{self.root} holds no folder <video>/video/; DIEM has 84 of them")
        found = []
        for folder in self._folders:
            split: Split = "test" if folder.name in TEST_VIDEOS else "train"
            if split in self.config.splits:
                files = [
                    name
                    for name in file_names(folder / "video")
                    if Path(name).suffix.lower() in VIDEO_SUFFIXES
                ]
                found.append(
                    Video(
                        id=folder.name,
                        split=split,
                        path=folder / "video" / (files[0] if files else f"{folder.name}.mp4"),
                        max_frames=self.config.test_frames if split == "test" else None,
                        annotation_paths=tuple(self._events(folder).values()),
                        notes=(f"{len(files)} video files, {files[0]} is read",)
                        if len(files) > 1
                        else (),
                    )
                )
        return found

    def _events(self, folder: Path) -> dict[str, Path]:
        """Event files of the wanted observers."""
        found: dict[str, Path] = {}
        for name in file_names(folder / "event_data"):
            match = _EVENTS.fullmatch(name)
            if match and (self.subjects == "all" or match[1] in self.subjects):
                found.setdefault(match[1], folder / "event_data" / name)
        return found

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Read the fixated pixels of the selected observers; see `Source.fixations`."""
        check_confined(self.root, video)
        folder = self.root / video.id
        events = self._events(folder)
        if not events:
            raise GazeError(
                f"{video.id}: no event file diemNsNN.asc_… of the wanted observers in "
                f"{folder / 'event_data'}"
            )
        builder = PointsBuilder()
        for subject, path in events.items():
            table = read_table(path, _COLUMNS)
            left, right = (_Eye(table, side) for side in ("left", "right"))
            eyes = left.good.astype(int) + right.good
            x, y = (
                (left.good * a + right.good * b) / np.maximum(eyes, 1)
                for a, b in ((left.x, right.x), (left.y, right.y))
            )
            x = np.ceil(x - (SCREEN_WIDTH_PX - width_px) / 2) - 1
            y = np.ceil(y - (SCREEN_HEIGHT_PX - height_px) / 2) - 1
            inside = (x >= 0) & (x < width_px) & (y >= 0) & (y < height_px)
            kept = (eyes > 0) & inside
            lost = eyes == 0
            saccade = lost & ((left.event == _SACCADE) | (right.event == _SACCADE))
            blink = lost & ~saccade & ((left.event == _BLINK) | (right.event == _BLINK))
            builder.count("saccade", saccade)
            builder.count("blink", blink)
            builder.count("dropped", lost & ~saccade & ~blink)
            builder.count("off_screen", ~lost & ~inside)
            frame = table["frame"].to_numpy()[kept] - 1
            builder.add(subject, frame, x[kept], y[kept], read=len(table), used=frame)
        return builder.build({"origin": "raw gaze", **_RULES})

    def parameters(self) -> dict[str, Any]:
        """Give every setting that changes the fixations; see `Source.parameters`."""
        return {"kind": "diem", "form": "raw", "subjects": self.subjects, **_RULES}


_RULES = {
    "screen_height_px": SCREEN_HEIGHT_PX,
    "screen_width_px": SCREEN_WIDTH_PX,
    "eyes": "mean of both where both fixate, else the one that does",
}


class _Eye:
    """Position and event of one eye in a table of `_COLUMNS`."""

    def __init__(self, table: pd.DataFrame, side: str) -> None:
        self.x, self.y, self.event = (
            table[f"{side} {column}"].to_numpy() for column in ("x", "y", "event")
        )
        near = (np.abs(self.x) < SENTINEL_PX) & (np.abs(self.y) < SENTINEL_PX)
        self.good = (self.event == _FIXATION) & near


def _clips(root: Path, config: DIEMConfig) -> list[Clip]:
    clips = []
    for name in folder_names(root / "video_frames" / "DIEM"):
        split: Split = "test" if name in TEST_VIDEOS else "train"
        if split in config.splits:
            annotation = root / "annotations" / "DIEM" / name
            clips.append(
                Clip(
                    id=name,
                    split=split,
                    images=root / "video_frames" / "DIEM" / name,
                    maps=annotation / "maps",
                    points=(annotation,),
                    fps=config.fps,
                    max_frames=config.test_frames if split == "test" else None,
                )
            )
    return clips


_PUBLISHED = {"train": 64, "test": 20}

FORMS = (
    Form(
        "DIEM, as published",
        ((f"*_*x*/video/{MP4_FILE}", "*_*x*/video/*.*"), ("*_*x*/event_data/diem*.txt",)),
        {"form": "raw"},
        videos=_PUBLISHED,
    ),
    Form(
        "DIEM, repackaged by STAViS",
        (
            ("video_frames/DIEM/*/*.*",),
            ("annotations/DIEM/*/maps/*.*",),
            ("annotations/DIEM/*/fixMap_*.mat",),
        ),
        {"form": "frames", "ground_truth": "import"},
        videos=_PUBLISHED,
    ),
)

DATASET = Dataset(
    "diem",
    "DIEM",
    DIEMConfig,
    _open,
    forms=FORMS,
    citation='P. Mital et al., "Clustering of Gaze During Dynamic Scene Viewing is Predicted by '
    'Motion", Cognitive Computation 2011',
    terms="non-commercial use (https://thediemproject.wordpress.com/); repackaged by STAViS "
    "(https://github.com/atsiami/STAViS)",
)
