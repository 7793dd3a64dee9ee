"""Reader for annotations in JSON: lists of points per frame, and long lists item by item."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import GazeError
from foveal.pipeline.sources.readers.files import check_file
from foveal.pipeline.sources.readers.mat import real_numbers

_MAX_BYTES = 1 << 28
"""Larger files are refused; 27,000 points of one video take about half a megabyte."""

_READ_CHARACTERS = 1 << 20
_MAX_ANNOTATION_CHARACTERS = 1 << 24
_LIST_START = re.compile(r'"annotations"\s*:\s*\[')
_LIST_START_CHARACTERS = 100
_BETWEEN_ITEMS = re.compile(r"[\s,]*")


def read_json(path: Path) -> Any:
    """Read the JSON file `path` of up to 256 MiB; raise GazeError where it is none."""
    check_file(path, _MAX_BYTES)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise GazeError(f"{path} is not JSON ({error}); fetch it again") from None


def read_points(
    path: Path, frames: Sequence[Any]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Convert lists of points [row, column, …], one list per frame, to arrays.

    Parameters
    ----------
    path : Path
        File that the lists come from, for messages.
    frames : sequence
        Lists of `read_json`; further numbers of a point are not read.

    Returns
    -------
    frame : ndarray, int64 [n]
        Frame of each point, counted from 0.
    row, column : ndarray, float64 [n]
        Its first two numbers.

    Raises
    ------
    GazeError
        They are no such lists, or not finite.
    """
    try:
        counts = [len(points) for points in frames]
        pairs = [(point[0], point[1]) for points in frames for point in points]
        values = real_numbers(pairs if pairs else np.empty((0, 2))).reshape(-1, 2)
    except (TypeError, ValueError, LookupError, OverflowError):
        raise GazeError(
            f"{path} is no list of frames, each a list of points [row, column]; fetch it again"
        ) from None
    if not np.isfinite(values).all():
        raise GazeError(f"{path} holds coordinates that are not finite")
    frame = np.repeat(np.arange(len(counts)), counts)
    return frame, values[:, 0], values[:, 1]


def read_annotations(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the items of the list ``annotations`` in the JSON file `path` of any size.

    Raises
    ------
    GazeError
        There is no such list, or the file is not complete.
    """
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8") as file:
        text, at = "", None
        while at is None:
            block = file.read(_READ_CHARACTERS)
            if not block:
                raise GazeError(f"{path} has no list of annotations, as SALICON's files do")
            text = text[-_LIST_START_CHARACTERS:] + block
            at = match.end() if (match := _LIST_START.search(text)) else None
        while True:
            at = _BETWEEN_ITEMS.match(text, at).end()  # type: ignore[union-attr]
            if text.startswith("]", at):
                return
            try:
                item, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError:
                block = file.read(_READ_CHARACTERS)
                if not block or len(text) - at > _MAX_ANNOTATION_CHARACTERS:
                    raise GazeError(f"{path} is no complete JSON file; fetch it again") from None
                text, at = text[at:] + block, 0
                continue
            yield item
