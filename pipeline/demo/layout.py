"""Files of made-up datasets, above all of the demo dataset in DHF1K's published layout."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from foveal.pipeline.demo.observers import Recording, video_from_screen
from foveal.pipeline.sources.dhf1k import DENSITY
from foveal.pipeline.stages.density_maps import density_map

GAZE_HEADER = (
    "Time\tType\tTrial\tL Dia X [px]\tL Dia Y [px]\tL POR X [px]\tL POR Y [px]\tL Event Info\n"
)
"""First line of a gaze file."""

_MAT_HEADER_BYTES = 116


@contextmanager
def whole_folder(root: Path) -> Iterator[Path]:
    """Yield a new folder that replaces `root` at once when the block ends without an error."""
    root.parent.mkdir(parents=True, exist_ok=True)
    building = root.with_name(f".{root.name}.writing-{os.getpid()}")
    replaced = root.with_name(f".{root.name}.replaced-{os.getpid()}")
    try:
        building.mkdir()
        yield building
        if root.exists():
            root.rename(replaced)
        building.rename(root)
    finally:
        shutil.rmtree(building, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def write_gaze(root: Path, clip: int, observer: str, recording: Recording, start_us: int) -> None:
    """Write a `recording` below `root` as ``exportdata_train/Pxx/Pxx_TrailNNN.txt``.

    `clip` is NNN, `observer` is Pxx, and `start_us` the tracker's clock at the first sample.
    """
    rows = (
        f"{start_us + time}\tSMP\t1\t{pupil:.2f}\t{pupil:.2f}\t{x:.2f}\t{y:.2f}\t{event}\n"
        for time, pupil, (x, y), event in zip(
            recording.time_us, recording.pupil_px, recording.por_px, recording.event, strict=True
        )
    )
    path = root / "exportdata_train" / observer / f"{observer}_Trail{clip:03d}.txt"
    write_file(path, (GAZE_HEADER + "".join(rows)).encode())


def write_published(
    root: Path,
    clip: int,
    recordings: Sequence[Recording],
    fps: float,
    images: Sequence[NDArray[np.uint8]],
) -> None:
    """Write ``annotation/NNNN``: density maps and fixations of every frame, numbered from 1.

    Maps follow the authors' ``make_gauss_masks.m`` (FWHM 30 px, divided by the maximum). They are
    black where a frame has no fixation. Fixations are PNG (0, 255) and MATLAB v5 files (``I``,
    0, 1). As in the published archive, there is one more picture, of the last frame, beside them.

    `root` is the folder of the dataset, `clip` is NNNN, `recordings` are those of all observers,
    and `images` are the frames of the video at `fps`, RGB.
    """
    size = images[0].shape[:2]
    folder = root / "annotation" / f"{clip:04d}"
    pixels = [_fixated_pixels(recording, fps, size) for recording in recordings]
    kernel = DENSITY.kernel
    for frame in range(len(images)):
        points = np.concatenate([xy[shown == frame] for shown, xy in pixels])
        fixated = np.zeros(size, np.uint8)
        fixated[points[:, 1], points[:, 0]] = 1
        name = f"{frame + 1:04d}"
        density = density_map(points, size, size, kernel, "max", np.uint8)
        write_png(folder / "maps" / f"{name}.png", density)
        write_png(folder / "fixation" / f"{name}.png", 255 * fixated)
        write_mat(folder / "fixation" / "maps" / f"{name}.mat", I=fixated)
    write_png(folder / f"{len(images):04d}.png", images[-1])


def _fixated_pixels(
    recording: Recording, fps: float, size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frame and pixel (from 0) of each row of a fixation, by the rule of ``record_mapping.m``."""
    height, width = size
    shown = recording.time_us * fps / 1e6
    pixel = np.floor(video_from_screen(recording.por_px, height, width) + 0.5).astype(np.int64)
    kept = (
        (recording.event == "Fixation")
        & (shown != np.floor(shown))
        & (pixel >= 0).all(axis=1)
        & (pixel < (width - 1, height - 1)).all(axis=1)
    )
    return np.floor(shown[kept]).astype(np.int64), pixel[kept]


def write_file(path: Path, content: bytes) -> None:
    """Write `content` to `path`, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_png(path: Path, picture: NDArray[Any]) -> None:
    """Write `picture`, uint8 grey [height, width] or RGB [height, width, 3], as a PNG `path`."""
    shown = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    encoded, data = cv2.imencode(".png", shown)
    if not encoded:
        raise OSError(f"{path} could not be encoded as PNG")
    write_file(path, data.tobytes())


def write_mat(path: Path, **variables: Any) -> None:
    """Write `variables` as a compressed MATLAB v5 file `path`; the same values, the same bytes."""
    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=True)
    # SciPy writes the date into the header.
    header = b"MATLAB 5.0 MAT-file".ljust(_MAT_HEADER_BYTES)
    write_file(path, header + buffer.getvalue()[_MAT_HEADER_BYTES:])
