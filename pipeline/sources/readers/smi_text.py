"""Reader for SMI BeGaze text exports: tab-separated, one header line, one sample a line.

The bytes are cut at tabs and line ends all at once and only the wanted columns become numbers,
which is more than twenty times faster than going line by line (benchmarks/sources.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.errors import GazeError

MAX_FILE_BYTES = 1 << 30
"""Larger gaze files are refused: three days of one observer at 250 Hz fit into it."""

_COLUMNS = ("Time", "L POR X [px]", "L POR Y [px]", "L Event Info")
_NEWLINE = 10
_ALL_LINES = slice(None)

_ZEROS = np.uint64(0x3030303030303030)
_SIXES = np.uint64(0x0606060606060606)
_HIGH = np.uint64(0xF0F0F0F0F0F0F0F0)
_ALL_DIGITS = np.uint64(0x3333333333333333)
_LAST_TWO = np.uint64(0xFFFF000000000000)
_FIRST_FIVE = np.uint64(0x000000FFFFFFFFFF)
_KEPT = np.array([((1 << 64) - 1) ^ ((1 << 8 * (8 - n)) - 1) for n in range(9)], np.uint64)
"""Mask of the last n of eight characters (little-endian: the last stand in the high bytes)."""


@dataclass(frozen=True)
class SmiGaze:
    """The samples of one recording that lie in a fixation.

    Attributes
    ----------
    time_us : ndarray, int64 [n]
        Microseconds since the recording's first sample (of any kind).
    x, y : ndarray, float64 [n]
        Point of regard in pixels of the screen, as written.
    samples, blinks, others : int
        Samples in the file, those in a blink, and those in neither fixation nor blink.
    """

    time_us: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    samples: int
    blinks: int
    others: int


def read_smi_text(path: Path) -> SmiGaze:
    """Read one observer's recording of one video.

    A sample belongs to a fixation where its event starts with ``F``, as in DHF1K's
    ``record_mapping.m``.

    Raises
    ------
    GazeError
        Naming file and line where the file is missing, empty or not what its header says.
    """
    data = _read_bytes(path)
    header = data[: data.find(b"\n") + 1]
    names = header.decode("utf-8", "replace").strip("\ufeff\n").split("\t")
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise GazeError(
            f"{path}, line 1: the header lacks {', '.join(missing)}; it reads {names!r:.200}"
        )
    cells = _Cells(path, data, len(header), len(names))
    time_column, x_column, y_column, event_column = (names.index(name) for name in _COLUMNS)
    event = cells.text[cells.starts(event_column)]
    fixation = np.flatnonzero(event == ord("F"))
    blinks = int(np.count_nonzero(event == ord("B")))
    time_us = cells.integers(time_column, np.concatenate([[0], fixation]))
    if (backward := np.flatnonzero(time_us[2:] < time_us[1:-1])).size:
        raise GazeError(
            f"{path}, line {fixation[backward[0] + 1] + 2}: time runs backward; "
            "the file is damaged or holds more than one recording"
        )
    return SmiGaze(
        time_us=time_us[1:] - time_us[0],
        x=cells.decimals(x_column, fixation),
        y=cells.decimals(y_column, fixation),
        samples=len(event),
        blinks=blinks,
        others=len(event) - len(fixation) - blinks,
    )


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise GazeError(f"{path} is larger than {MAX_FILE_BYTES} bytes: no recording is")
        data = path.read_bytes()
    except OSError as error:
        raise GazeError(f"{path} cannot be read: {error.strerror}") from error
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    return data if data.endswith(b"\n") else data + b"\n"


class _Cells:
    """The cells of a table that lies as bytes; `ends` [line, column] is where each cell stops."""

    def __init__(self, path: Path, data: bytes, header_bytes: int, columns: int) -> None:
        self.path, self.header_bytes = path, header_bytes
        self.text = np.frombuffer(data, np.uint8)
        self.words = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))
        ends = np.flatnonzero(self.text[header_bytes:] <= _NEWLINE) + header_bytes
        lines = int(np.count_nonzero(self.text == _NEWLINE)) - 1
        if not lines:
            raise GazeError(f"{path} holds a header but no samples")
        ragged = len(ends) != lines * columns
        if ragged or (self.text[ends[columns - 1 :: columns]] != _NEWLINE).any():
            raise GazeError(_first_bad_line(path, data, columns))
        self.ends = ends.reshape(lines, columns)

    def starts(
        self, column: int, lines: NDArray[np.int64] | slice = _ALL_LINES
    ) -> NDArray[np.int64]:
        if column:
            return self.ends[lines, column - 1] + 1
        return np.concatenate([[self.header_bytes], self.ends[:-1, -1] + 1])[lines]

    def integers(self, column: int, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """Whole numbers of up to 16 digits in the given lines."""
        ends = self.ends[lines, column]
        widths = ends - self.starts(column, lines)
        low, low_good = _eight_digits(self.words[ends - 8], widths)
        words = self.words[ends - 16]
        # Times of one recording begin with the same digits: they are read once.
        differing = (words ^ words[0]) & _KEPT.take(widths[0] - 8, mode="clip")
        once = slice(1 if (widths == widths[0]).all() and not differing.any() else None)
        high, high_good = _eight_digits(words[once], widths[once] - 8)
        bad = np.flatnonzero(~(low_good & high_good & (widths > 0) & (widths <= 16)))
        if bad.size:
            raise GazeError(self._complaint(int(lines[bad[0]]), column, "a whole number"))
        return low + high * 100_000_000

    def decimals(self, column: int, lines: NDArray[np.int64]) -> NDArray[np.float64]:
        """Numbers of the given lines, exactly as ``float`` reads them.

        Those like ``1401.52``, with two decimals as BeGaze writes, are read all at once, the
        others one by one.
        """
        ends = self.ends[lines, column]
        widths = ends - self.starts(column, lines)
        words = self.words[ends - 8]
        without_dot = (words & _LAST_TWO) | ((words & _FIRST_FIVE) << np.uint64(8))
        hundredths, digits = _eight_digits(without_dot, widths - 1)
        values = hundredths / 100.0
        plain = digits & (self.text[ends - 3] == ord(".")) & (widths >= 4) & (widths <= 8)
        for index in np.flatnonzero(~plain):
            values[index] = self._decimal(int(lines[index]), column)
        return values

    def _decimal(self, line: int, column: int) -> float:
        try:
            value = float(self._cell(line, column))
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise GazeError(self._complaint(line, column, "a finite number"))
        return value

    def _cell(self, line: int, column: int) -> bytes:
        start, end = int(self.starts(column)[line]), int(self.ends[line, column])
        return self.text[start:end].tobytes()

    def _complaint(self, line: int, column: int, wanted: str) -> str:
        shown = self._cell(line, column)[:40].decode("utf-8", "replace")
        return f"{self.path}, line {line + 2}, column {column + 1}: {shown!r} is not {wanted}"


def _eight_digits(
    words: NDArray[np.uint64], widths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The last `widths` characters of each eight as a number, and whether all of them are digits.

    Eight digits at a time by three multiplications (D. Lemire, "Quickly parsing eight digits").
    """
    kept = _KEPT.take(widths, mode="clip")
    digits = (words & kept) | (_ZEROS & ~kept)
    good = ((digits & _HIGH) | ((digits + _SIXES) & _HIGH) >> np.uint64(4)) == _ALL_DIGITS
    value = (digits & ~_HIGH) * np.uint64(2561) >> np.uint64(8)
    value = (value & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601) >> np.uint64(16)
    value = (value & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001) >> np.uint64(32)
    return value.astype(np.int64), good


def _first_bad_line(path: Path, data: bytes, columns: int) -> str:
    for number, line in enumerate(data.split(b"\n")[1:], start=2):
        found = line.count(b"\t") + 1
        if found != columns or any(byte < ord("\t") for byte in line):
            shown = line[:60].decode("utf-8", "replace")
            return f"{path}, line {number}: {found} of {columns} columns in {shown!r}"
    return f"{path}: its lines do not have the {columns} columns of the header"
