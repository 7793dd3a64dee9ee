"""Any folder of videos: alone, with a table of gaze (CSV or Parquet), or with published maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from foveal.errors import GazeError, InputError, RecipeError
from foveal.pipeline.recipe.section import GazeSelection, Section
from foveal.pipeline.sources.base import Dataset, Form, PublishedMaps
from foveal.pipeline.sources.readers.clips import Clip, ClipSource, GroundTruthSection
from foveal.pipeline.sources.readers.files import (
    VIDEO_SUFFIXES,
    check_confined,
    dataset_root,
    file_names,
    folder_names,
    left_out,
    numbered_files,
)
from foveal.pipeline.sources.readers.gaze_table import Columns, read_rows
from foveal.pipeline.sources.readers.pictures import (
    PICTURE_SUFFIXES,
    PictureMaps,
    points_of_pictures,
)
from foveal.pipeline.sources.readers.points import POOLED, PointsBuilder, only_pairwise
from foveal.pipeline.video.types import Fixations, Video


class GazeColumns(Section):
    """Names of the columns in a table of gaze; null where there is no such column.

    Attributes
    ----------
    video : str or null
        Video id (file or folder name without suffix); null where each video has its own table.
    subject : str or null
        Observer id.
    frame : str or null
        Frame number. Exactly one of `frame` and `seconds` is given.
    seconds : str or null
        Time since the video's start, times `GazeTable.seconds_per_unit`; needs `GazeTable.fps`.
    x, y : str
        Coordinates, see `GazeTable.units`.
    event : str or null
        Kind of sample; rows that differ from `GazeTable.fixation_event` are left out.
    """

    video: str | None = "video"
    subject: str | None = "subject"
    frame: str | None = "frame"
    seconds: str | None = None
    x: str = "x"
    y: str = "y"
    event: str | None = None


class GazeTable(Section):
    """A table of gaze samples or fixations, with one point per row.

    Attributes
    ----------
    path : str
        CSV or Parquet file below the root; ``{video}`` is replaced by the video's id.
    columns : GazeColumns
        Names of its columns.
    units : {'pixels', 'fraction'}
        Pixels of the video, or fractions of its width and height (0 left and upper edge, 1 right
        and lower edge).
    first_frame, first_pixel : {0, 1}
        Number of the first frame, and coordinate of the first pixel's centre.
    fps, seconds_per_unit : float
        They turn `columns.seconds` into frames: floor(value x seconds_per_unit x fps).
    fixation_event : str
        Value of `columns.event` that is kept.
    """

    path: Annotated[str, Field(min_length=1)]
    columns: GazeColumns = GazeColumns()
    units: Literal["pixels", "fraction"] = "pixels"
    first_frame: Literal[0, 1] = 0
    first_pixel: Literal[0, 1] = 0
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    seconds_per_unit: Annotated[float, Field(gt=0)] = 1.0
    fixation_event: str = "fixation"


class VideosConfig(GroundTruthSection):
    """Videos of one split, as files or as folders of numbered images.

    Attributes
    ----------
    videos : str
        Folder below the root.
    form : {'files', 'frames'}
        Video files, or one folder of images per video.
    fps : float
        Frame rate of the form ``frames``.
    split : str or null
        Name of the split that all videos belong to.
    gaze : GazeTable or null
        Table of gaze; null where there is none.
    maps, points : str or null
        Folders of published density maps and binary fixation maps (pictures or MATLAB files),
        numbered from 1; ``{video}`` is replaced by the id, e.g. ``annotation/{video}/maps``.
    """

    kind: Literal["videos"]
    videos: str = "."
    form: Literal["files", "frames"] = "files"
    fps: Annotated[float, Field(gt=0, le=1000)] = 25.0
    split: str | None = None
    gaze: GazeTable | None = None
    maps: str | None = None
    points: str | None = None


def _open(config: VideosConfig, fixations: GazeSelection | None) -> Videos | ClipSource:
    gaze = config.gaze
    only_pairwise(fixations)
    if gaze is not None and config.points is not None:
        raise RecipeError("dataset: give gaze (a table) or points (fixation maps), not both")
    if gaze is not None and (gaze.columns.frame is None) == (gaze.columns.seconds is None):
        raise RecipeError("dataset.gaze.columns: give exactly one of frame and seconds")
    if gaze is not None and gaze.columns.seconds is not None and gaze.fps is None:
        raise RecipeError("dataset.gaze.fps is needed to turn seconds into frames")
    if config.ground_truth == "import" and config.maps is None:
        raise RecipeError("dataset.ground_truth: import needs dataset.maps, a folder of pictures")
    if config.form == "frames" and gaze is None:
        return ClipSource(config, fixations, _clips(config))
    return Videos(config, fixations)


class Videos:
    """Video files, or folders of images with a table of gaze; see `Source`.

    `config` and `fixations` are sections of the recipe.
    """

    def __init__(self, config: VideosConfig, fixations: GazeSelection | None) -> None:
        self.config = config
        self.left_out = ""
        self.root = dataset_root(config.root)
        self.subjects = fixations.subjects if fixations else "all"
        if config.gaze is None and self.subjects != "all":
            raise RecipeError(
                "fixations.subjects needs dataset.gaze: maps do not say who looked where"
            )

    def videos(self) -> Sequence[Video]:
        """List the videos in natural order; an id is the name without suffix."""
        listed = _listed(self.config)
        if self.config.form == "files":
            table = self.config.gaze.path if self.config.gaze else ""
            taken = {*(path.name for _, path in listed), Path(table).name}
            self.left_out = left_out(self.root / self.config.videos, taken)
        return [self._video(id_, path) for id_, path in listed]

    def _video(self, id_: str, path: Path) -> Video:
        notes: tuple[str, ...] = ()
        maps: list[Path] = []
        points: list[Path] = []
        images: tuple[str, ...] | None = None if self.config.form == "files" else ()
        try:
            maps, points = self._pictures("maps", id_), self._pictures("points", id_)
            if images is not None:
                images = tuple(numbered_files(path, PICTURE_SUFFIXES).values())
        except InputError as error:
            notes = (str(error),)
        table = [self._table(id_)] if self.config.gaze else []
        return Video(
            id=id_,
            split=self.config.split,
            path=path,
            image_names=images,
            fps=None if images is None else self.config.fps,
            notes=notes,
            expected_frames=len(maps or points) or None,
            annotation_paths=(*table, *maps, *points),
            has_ground_truth=bool(self.config.gaze or self.config.points),
        )

    def _table(self, id_: str) -> Path:
        assert self.config.gaze is not None
        return self.root / self.config.gaze.path.replace("{video}", id_)

    def _pictures(self, kind: Literal["maps", "points"], id_: str) -> list[Path]:
        pattern = self.config.maps if kind == "maps" else self.config.points
        if pattern is None or (kind == "maps" and self.config.ground_truth != "import"):
            return []
        folder = self.root / pattern.replace("{video}", id_)
        return [
            folder / name for name in numbered_files(folder, (*PICTURE_SUFFIXES, ".mat")).values()
        ]

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Read the points of the video's rows or fixation maps; see `Source.fixations`."""
        check_confined(self.root, video)
        if self.config.gaze is None:
            pictures = self._pictures("points", video.id)
            if not pictures:
                raise GazeError(f"{video.id}: no fixation maps in dataset.points")
            return points_of_pictures(pictures, height_px, width_px, {})
        return self._table_points(self.config.gaze, video, height_px, width_px)

    def _table_points(
        self, gaze: GazeTable, video: Video, height_px: int, width_px: int
    ) -> Fixations:
        names = gaze.columns
        rows = read_rows(
            self._table(video.id),
            video.id,
            Columns(
                video=names.video,
                text=tuple(one for one in (names.subject, names.event) if one),
                numbers=tuple(one for one in (names.x, names.y, names.frame, names.seconds) if one),
            ),
        )
        x, y = (
            rows[name] - gaze.first_pixel if gaze.units == "pixels" else rows[name] * size - 0.5
            for name, size in ((names.x, width_px), (names.y, height_px))
        )
        frame = self._frames(gaze, rows)
        missing = ~(np.isfinite(x) & np.isfinite(y) & np.isfinite(frame))
        other = np.zeros(len(x), bool)
        if names.event is not None:
            other = rows[names.event] != gaze.fixation_event
        inside = (x >= -0.5) & (x < width_px - 0.5) & (y >= -0.5) & (y < height_px - 0.5)
        subject = rows[names.subject] if names.subject else np.full(len(x), POOLED)
        builder = PointsBuilder()
        for name in np.unique(subject):
            if self.subjects != "all" and name not in self.subjects:
                continue
            own = subject == name
            kept = own & ~other & ~missing & inside
            builder.count("not_fixation", own & other)
            builder.count("missing_value", own & ~other & missing)
            builder.count("off_screen", own & ~other & ~missing & ~inside)
            builder.add(
                str(name), frame[kept], x[kept], y[kept], read=int(own.sum()), used=frame[kept]
            )
        return builder.build({"origin": "table"})

    @staticmethod
    def _frames(gaze: GazeTable, rows: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        if gaze.columns.frame is not None:
            frame: NDArray[np.float64] = rows[gaze.columns.frame] - gaze.first_frame
        else:
            frame = rows[str(gaze.columns.seconds)] * (gaze.seconds_per_unit * float(gaze.fps or 0))
        return np.floor(np.where(np.abs(frame) < np.iinfo(np.int32).max, frame, np.nan))

    def published_maps(self, video: Video) -> PublishedMaps | None:
        """Open the maps where `ground_truth` is ``import``; see `Source.published_maps`."""
        if self.config.ground_truth != "import":
            return None
        check_confined(self.root, video)
        maps = self._pictures("maps", video.id)
        if not maps:
            raise GazeError(f"{video.id}: no density maps in dataset.maps ({self.config.maps})")
        return PictureMaps(maps)

    def parameters(self) -> dict[str, Any]:
        """Give every setting that changes the fixations; see `Source.parameters`."""
        gaze = self.config.gaze
        return {
            "kind": "videos",
            "ground_truth": self.config.ground_truth,
            "subjects": self.subjects,
            "gaze": gaze.resolved() if gaze else None,
            "points": self.config.points,
        }


def _listed(config: VideosConfig) -> list[tuple[str, Path]]:
    root = dataset_root(config.root)
    folder = root / config.videos
    if config.form == "frames":
        found = [(name, folder / name) for name in folder_names(folder)]
    else:
        names = [one for one in file_names(folder) if Path(one).suffix.lower() in VIDEO_SUFFIXES]
        found = [(Path(name).stem, folder / name) for name in names]
    if not found:
        wanted = "folders of images" if config.form == "frames" else ", ".join(VIDEO_SUFFIXES)
        raise RecipeError(f"{folder} holds no videos (dataset.videos); looked for {wanted}")
    return found


def _clips(config: VideosConfig) -> list[Clip]:
    root = config.root
    clips = []
    for id_, images in _listed(config):
        maps, points = (
            root / pattern.replace("{video}", id_) if pattern else None
            for pattern in (config.maps, config.points)
        )
        clips.append(
            Clip(
                id=id_,
                split=config.split,
                images=images,
                maps=maps or images / "no maps",
                points=(points,) if points else (),
                fps=config.fps,
                has_ground_truth=points is not None,
            )
        )
    return clips


FORM = Form(
    "a folder of videos",
    [tuple(f"*{suffix}" for own in VIDEO_SUFFIXES for suffix in (own, own.upper()))],
    folder_key="videos",
)

DATASET = Dataset("videos", "Videos with gaze tables", VideosConfig, _open, forms=(FORM,))
