"""Any folder of videos, with or without a table of gaze (CSV or Parquet)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from pydantic import Field

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.sections import DatasetSection, FixationsSection, Section
from foveal.pipeline.sources.base import PublishedMaps
from foveal.pipeline.sources.files import confined, dataset_root, file_names
from foveal.pipeline.sources.points import POOLED, PointsBuilder
from foveal.pipeline.values import Fixations, Video

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")

MAX_ROWS = 50_000_000
"""More gaze rows for one video are refused."""


class GazeColumns(Section):
    """Names of the table's columns; null where there is none.

    Attributes
    ----------
    video : str or null
        Video id (file name without suffix); null where each video has its own table.
    subject : str or null
        Observer id.
    frame : str or null
        Frame number. Exactly one of `frame` and `seconds` is given.
    seconds : str or null
        Time since the video's start; needs `fps`.
    x, y : str
        Coordinates in pixels of the video.
    """

    video: str | None = "video"
    subject: str | None = "subject"
    frame: str | None = "frame"
    seconds: str | None = None
    x: str = "x"
    y: str = "y"


class GazeTable(Section):
    """A table of gaze samples or fixations, one point a row.

    Attributes
    ----------
    path : str
        CSV or Parquet file below the root; ``{video}`` stands for the video's id.
    columns : GazeColumns
    first_frame, first_pixel : {0, 1}
        Number of the first frame, and coordinate of the first pixel's centre.
    fps : float or null
        Turns `columns.seconds` into frames.
    """

    path: Annotated[str, Field(min_length=1)]
    columns: GazeColumns = GazeColumns()
    first_frame: Literal[0, 1] = 0
    first_pixel: Literal[0, 1] = 0
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None


class VideosConfig(DatasetSection):
    """A folder of video files, all of one split.

    Attributes
    ----------
    folder : str
        Where below the root the videos lie.
    split : str or null
        Name of the split all of them belong to.
    gaze : GazeTable or null
        Null: no ground truth.
    """

    kind: Literal["videos"]
    folder: str = "."
    split: str | None = None
    gaze: GazeTable | None = None


class Videos:
    """The source behind `VideosConfig`."""

    def __init__(self, config: VideosConfig, fixations: FixationsSection | None) -> None:
        self.config = config
        self.root = dataset_root(config.root)
        self.subjects = fixations.subjects if fixations else "all"
        gaze = config.gaze
        if gaze and (gaze.columns.frame is None) == (gaze.columns.seconds is None):
            raise RecipeError("dataset.gaze.columns: give exactly one of frame and seconds")
        if gaze and gaze.columns.seconds and gaze.fps is None:
            raise RecipeError("dataset.gaze.fps is needed to turn seconds into frames")

    def videos(self) -> Sequence[Video]:
        """Video files in natural order; ids are their names without suffix."""
        folder = self.root / self.config.folder
        names = [
            name
            for name in file_names(self.root, folder)
            if Path(name).suffix.lower() in VIDEO_SUFFIXES
        ]
        if not names:
            raise RecipeError(
                f"{folder} holds no videos; looked for {', '.join(VIDEO_SUFFIXES)} (dataset.folder)"
            )
        stems = [Path(name).stem for name in names]
        if twice := {stem for stem in stems if stems.count(stem) > 1}:
            raise RecipeError(f"{folder}: two videos are called {', '.join(sorted(twice))}")
        return [
            Video(
                id=stem,
                split=self.config.split,
                path=folder / name,
                annotation_paths=tuple(self._tables(stem)),
                has_ground_truth=self.config.gaze is not None,
            )
            for stem, name in zip(stems, names, strict=True)
        ]

    def _tables(self, video_id: str) -> list[Path]:
        if self.config.gaze is None:
            return []
        return [self.root / self.config.gaze.path.replace("{video}", video_id)]

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Points of the video's rows; see `Source.fixations`."""
        gaze = self.config.gaze
        if gaze is None:
            raise GazeError(f"no gaze for {video.id}: the recipe names no dataset.gaze.path")
        path = confined(self.root, self._tables(video.id)[0])
        columns = gaze.columns
        table = _rows(path, columns, video.id)
        x, y = (_numbers(path, table, name) - gaze.first_pixel for name in (columns.x, columns.y))
        if columns.frame:
            frame = _numbers(path, table, columns.frame) - gaze.first_frame
        else:
            frame = np.floor(_numbers(path, table, columns.seconds or "") * (gaze.fps or 0))
        missing = ~(np.isfinite(x) & np.isfinite(y) & np.isfinite(frame))
        on_screen = (x > -0.5) & (x < width_px - 0.5) & (y > -0.5) & (y < height_px - 0.5)
        if columns.subject is None:
            names, codes = np.array([POOLED]), np.zeros(len(x), np.int64)
        else:
            encoded = pc.cast(table[columns.subject].combine_chunks(), pa.string())
            names, codes = np.unique(
                np.asarray(encoded.fill_null("").to_pylist(), dtype=str), return_inverse=True
            )
        builder = PointsBuilder()
        for code, name in enumerate(names):
            if self.subjects != "all" and name not in self.subjects:
                continue
            own = codes == code
            builder.exclude("missing_value", own & missing)
            builder.exclude("off_screen", own & ~missing & ~on_screen)
            kept = own & ~missing & on_screen
            builder.add(
                str(name), frame[kept], x[kept], y[kept], read=int(own.sum()), used=int(kept.sum())
            )
        return builder.build({"origin": "table", "table": gaze.resolved()})

    def published_maps(self, video: Video) -> PublishedMaps | None:
        """None: a table of gaze holds no pictures."""
        return None

    def parameters(self) -> dict[str, Any]:
        """Every setting that changes the fixations."""
        gaze = self.config.gaze
        return {
            "kind": "videos",
            "subjects": self.subjects,
            "gaze": gaze.resolved() if gaze else None,
        }


def _rows(path: Path, columns: GazeColumns, video_id: str) -> pa.Table:
    """Rows of one video with only the named columns, read in batches so that memory stays small."""
    form = "parquet" if path.suffix.lower() in (".parquet", ".pq") else "csv"
    try:
        table = pads.dataset(str(path), format=form)
        wanted = [name for name in columns.resolved().values() if name is not None]
        if lacking := [name for name in wanted if name not in table.schema.names]:
            raise GazeError(
                f"{path} has no column {', '.join(lacking)}; it has {', '.join(table.schema.names)}"
            )
        keep = None
        if columns.video is not None:
            wanted.remove(columns.video)
            keep = pc.cast(pads.field(columns.video), pa.string()) == video_id
        batches, rows = [], 0
        for batch in table.scanner(columns=wanted, filter=keep).to_batches():
            rows += batch.num_rows
            if rows > MAX_ROWS:
                raise GazeError(f"{path} holds more than {MAX_ROWS} rows for {video_id}")
            if batch.num_rows:
                batches.append(batch)
    except (OSError, pa.ArrowException) as error:
        raise GazeError(f"{path} cannot be read: {error}") from None
    if not batches:
        raise GazeError(f"{path} holds no rows for video {video_id}")
    return pa.Table.from_batches(batches)


def _numbers(path: Path, table: pa.Table, name: str) -> Any:
    try:
        values = pc.cast(table[name], pa.float64())
    except pa.ArrowException as error:
        raise GazeError(f"{path}, column {name}: {error}") from None
    return values.fill_null(float("nan")).to_numpy()
