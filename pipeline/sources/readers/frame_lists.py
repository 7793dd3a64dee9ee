"""Evaluation subsets: lists of frames, such as those of LEDOV-Meta and DIEM-Meta.

M. Tangemann, M. Kümmerer, T. Wallis, M. Bethge: "Measuring the Importance of Temporal Features in
Video Saliency", ECCV 2020. Their lists count frames from 0 in the video resampled to 30 Hz.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from foveal.errors import GazeError
from foveal.pipeline.sources.readers.files import check_file

LIST_RATE_HZ = 30.0
"""Frame rate that the lists count frames at."""

MAX_LIST_BYTES = 1 << 28
"""Larger lists are refused."""

MAX_LIST_FRAME = 1_000_000
"""Largest frame number that a list may name."""


def read_frame_lists(path: Path) -> dict[str, NDArray[np.bool_]]:
    """Read the list of frames in `path`, a CSV file with the columns ``video,frame,mask``.

    Returns
    -------
    dict of str to ndarray, bool [frames at 30 Hz]
        Masks by video, in the file's order; frames that the list does not name are False.

    Raises
    ------
    GazeError
        The file is missing, damaged, or names a frame twice.
    """
    check_file(path, MAX_LIST_BYTES)
    try:
        options = pyarrow.csv.ConvertOptions(
            column_types={"video": pa.string(), "frame": pa.int64(), "mask": pa.bool_()},
            include_columns=["video", "frame", "mask"],
            true_values=["True", "true", "1"],
            false_values=["False", "false", "0"],
        )
        table = pyarrow.csv.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowException) as error:
        raise GazeError(f"{path} is no list of video,frame,mask: {error}") from None
    names = np.asarray(table["video"].to_pylist(), dtype=str)
    frame, mask = table["frame"].to_numpy(), table["mask"].to_numpy()
    if len(frame) and not (frame.min() >= 0 and frame.max() <= MAX_LIST_FRAME):
        raise GazeError(f"{path}: frames are in {frame.min()} … {frame.max()}")
    lists: dict[str, NDArray[np.bool_]] = {}
    for name in dict.fromkeys(names.tolist()):
        own = names == name
        if len(np.unique(frame[own])) != own.sum():
            raise GazeError(f"{path} names a frame of {name} twice")
        lists[name] = np.zeros(int(frame[own].max()) + 1, bool)
        lists[name][frame[own]] = mask[own]
    return lists


def mask_of_frames(
    listed: NDArray[np.bool_], pts_seconds: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Turn a list at 30 Hz into a mask of the video's own frames.

    Parameters
    ----------
    listed : ndarray, bool [frames at 30 Hz]
        One video of `read_frame_lists`.
    pts_seconds : ndarray, float64 [frames]
        Presentation times; the first is 0.

    Returns
    -------
    ndarray, bool [frames]
        Whether the 30 Hz frame nearest in time is listed; False after the list's end.
    """
    nearest = np.floor(np.asarray(pts_seconds) * LIST_RATE_HZ + 0.5).astype(np.int64)
    inside = (nearest >= 0) & (nearest < len(listed))
    mask = np.zeros(len(nearest), bool)
    mask[inside] = listed[nearest[inside]]
    return mask
