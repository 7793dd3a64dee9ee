"""Reader for SMI BeGaze text exports: tab-separated, one header line, one sample per line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.errors import GazeError
from foveal.pipeline.sources.readers.files import check_file

MAX_FILE_BYTES = 1 << 30
"""Larger files are refused; this holds three days of one observer at 250 Hz."""

_TIME, _X, _Y, _EVENT = ("Time", "L POR X [px]", "L POR Y [px]", "L Event Info")
_MAX_HEADER_BYTES = 1 << 16
_NO_POSITION = ("", "-", ".")


@dataclass(frozen=True)
class SmiGaze:
    """The samples of one recording that belong to a fixation.

    Attributes
    ----------
    time_us : ndarray, int64 [n]
        Microseconds since the first sample of the recording (of any kind).
    x, y : ndarray, float64 [n]
        Point of regard in pixels of the screen, as recorded.
    samples, blinks, others : int
        Number of samples in the file, in blinks, and in neither fixations nor blinks.
    """

    time_us: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    samples: int
    blinks: int
    others: int


def read_smi_text(path: Path) -> SmiGaze:
    """Read the recording of one observer and one video from the file `path`.

    A sample belongs to a fixation where its event starts with ``F``, as in DHF1K's
    ``record_mapping.m``. Samples of other kinds may lack a position.

    Raises
    ------
    GazeError
        The file is missing, empty or not what its header says; the message names file and line.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as csv

    types = {_TIME: pa.int64(), _X: pa.float64(), _Y: pa.float64(), _EVENT: pa.string()}
    check_file(path, MAX_FILE_BYTES)
    try:
        with path.open("rb") as file:
            header = file.readline(_MAX_HEADER_BYTES).decode("utf-8", "replace")
        names = header.strip("\ufeff\r\n").split("\t")
        if missing := [name for name in types if name not in names]:
            raise GazeError(
                f"{path}, line 1: the header lacks {', '.join(missing)}; it reads {names!r:.200}"
            )
        # Arrow knows the number of a bad line only where it reads with one thread.
        table = csv.read_csv(
            path,
            csv.ReadOptions(use_threads=False),
            csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(
                include_columns=list(types), column_types=types, null_values=_NO_POSITION
            ),
        )
    except OSError as error:
        raise GazeError(f"{path} cannot be read: {error.strerror or error}") from None
    except pa.ArrowException as error:
        raise GazeError(f"{path}: {error}".replace("Row #", "line ")) from None
    if not len(table) or table[_TIME].null_count:
        raise GazeError(f"{path} holds {'samples without a time' if len(table) else 'no samples'}")
    fixated, blinks = (pc.starts_with(table[_EVENT], one).to_numpy() for one in ("F", "B"))
    fixation = np.flatnonzero(fixated)
    time_us, x, y = (table[name].to_numpy() for name in (_TIME, _X, _Y))
    for name, values in ((_X, x[fixation]), (_Y, y[fixation])):
        if (bad := np.flatnonzero(~np.isfinite(values))).size:
            line = fixation[bad[0]] + 2
            raise GazeError(f"{path}, line {line}: {name} of a fixation is {values[bad[0]]}")
    if (backward := np.flatnonzero(np.diff(time_us[fixation]) < 0)).size:
        raise GazeError(
            f"{path}, line {fixation[backward[0] + 1] + 2}: time runs backward; "
            "the file is damaged or holds more than one recording"
        )
    return SmiGaze(
        time_us=time_us[fixation] - time_us[0],
        x=x[fixation],
        y=y[fixation],
        samples=len(table),
        blinks=int(blinks.sum()),
        others=len(table) - len(fixation) - int(blinks.sum()),
    )
