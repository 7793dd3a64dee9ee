"""Reader for plain text tables of numbers without a header, as eye trackers export them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveal.errors import GazeError
from foveal.pipeline.sources.readers.files import check_file

if TYPE_CHECKING:
    import pandas as pd

MAX_TABLE_BYTES = 1 << 30


def read_table(path: Path, columns: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table whose columns are separated by blanks or tabs.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Names of the columns in order; every line must have all of them.
    text : sequence of str
        Columns that hold text; all others must hold finite numbers.

    Raises
    ------
    GazeError
        The file is missing or a line is not as described; the message names file and line.
    """
    import pandas as pd

    check_file(path, MAX_TABLE_BYTES)
    try:
        table = pd.read_csv(
            path,
            sep=r"\s+",
            header=None,
            dtype={columns.index(name): str for name in text},
            quoting=csv.QUOTE_NONE,
            skip_blank_lines=False,
            index_col=False,
            low_memory=False,
        )
    except OSError as error:
        raise GazeError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise GazeError(f"{path}: {error}") from None
    if table.empty:
        raise GazeError(f"{path} is empty")
    if len(table.columns) != len(columns):
        more = "more" if len(table.columns) > len(columns) else "fewer"
        raise _complaint(path, 0, f"{more} than {len(columns)} columns")
    table.columns = pd.Index(columns)
    for name in columns:
        if name in text:
            bad = table[name].isna().to_numpy()
        else:
            numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
            table[name] = numbers
            bad = ~np.isfinite(numbers)
        if bad.any():
            raise _complaint(path, int(np.argmax(bad)), f"{name} is missing or no finite number")
    return table


def _complaint(path: Path, row: int, what: str) -> GazeError:
    with path.open("rb") as file:
        for _ in range(row):
            file.readline()
        shown = file.readline(200).decode("utf-8", "replace").rstrip()
    return GazeError(f"{path}, line {row + 1}: {what} in {shown!r:.80}")
