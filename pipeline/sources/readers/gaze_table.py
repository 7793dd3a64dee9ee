"""Reader for the rows of one video in a gaze table (CSV or Parquet), batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import GazeError
from foveal.pipeline.sources.readers.files import check_file

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as pads

MAX_ROWS = 50_000_000
"""More rows for one video are refused."""


@dataclass(frozen=True)
class Columns:
    """Columns to read.

    Attributes
    ----------
    video : str or None
        Column with the video's id; None where every row belongs to the video.
    text, numbers : tuple of str
        Columns that hold text, and those that hold numbers.
    """

    video: str | None
    text: tuple[str, ...]
    numbers: tuple[str, ...]


def read_rows(path: Path, video_id: str, columns: Columns) -> dict[str, NDArray[Any]]:
    """Read the rows of one video; memory grows with the rows of that video only.

    Parameters
    ----------
    path : Path
        CSV or Parquet file.
    video_id : str
        Value of the column `Columns.video`.
    columns : Columns
        Columns to read.

    Returns
    -------
    dict of str to ndarray [rows]
        Values by column name: numbers as float64 with NaN for empty cells, text as str.

    Raises
    ------
    GazeError
        The file is missing, damaged, lacks a column, or has no row or too many rows of the video.
    """
    import pyarrow as pa
    import pyarrow.dataset as pads

    check_file(path)
    form = "parquet" if path.suffix.lower() in (".parquet", ".pq") else "csv"
    wanted = list(dict.fromkeys((*columns.text, *columns.numbers)))
    batches: list[pa.RecordBatch] = []
    rows = 0
    try:
        table = pads.dataset(str(path), format=form)
        names = table.schema.names
        needed = [*wanted, *([columns.video] if columns.video else [])]
        if lacking := [name for name in needed if name not in names]:
            raise GazeError(
                f"{path} has no column {', '.join(lacking)}; it has {', '.join(names)} "
                "(dataset.gaze.columns)"
            )
        found_in = (
            _in_csv(path, video_id, columns)
            if form == "csv"
            else _in_parquet(table, video_id, columns.video, wanted)
        )
        for batch in found_in:
            rows += batch.num_rows
            if rows > MAX_ROWS:
                raise GazeError(f"{path} holds more than {MAX_ROWS} rows for {video_id}")
            if batch.num_rows:
                batches.append(batch.select(wanted))
        if not batches:
            raise GazeError(f"{path} holds no rows for video {video_id!r}")
        found = pa.Table.from_batches(batches)
        return {
            **{name: _numbers(found[name]) for name in columns.numbers},
            **{name: _text(found[name]) for name in columns.text},
        }
    except (OSError, ValueError, pa.ArrowException) as error:
        raise GazeError(f"{path} cannot be read: {error}") from None


def _in_csv(path: Path, video_id: str, columns: Columns) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as csv

    # Not through pads: its scanner reads up to a gigabyte ahead of a slow consumer.
    types = {name: pa.float64() for name in columns.numbers}
    types |= {name: pa.string() for name in (columns.video, *columns.text) if name}
    options = csv.ConvertOptions(column_types=types, include_columns=list(types))
    with csv.open_csv(path, convert_options=options) as reader:
        for batch in reader:
            if columns.video is None:
                yield batch
            else:
                yield batch.filter(pc.equal(batch.column(columns.video), video_id))


def _in_parquet(
    table: pads.Dataset, video_id: str, video: str | None, wanted: list[str]
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.dataset as pads

    keep = None if video is None else pads.field(video).cast(pa.string()) == video_id
    yield from table.to_batches(columns=wanted, filter=keep, batch_readahead=2)


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.fill_null(pc.cast(column, pa.float64()), float("nan"))
    return np.asarray(values.to_numpy())


def _text(column: pa.ChunkedArray) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.fill_null(pc.cast(column, pa.string()), "").dictionary_encode().combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0)
    names = np.asarray(values.dictionary.to_pylist(), dtype=str)
    return np.asarray(names[values.indices.to_numpy()])
