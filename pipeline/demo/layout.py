"""Files of the demo dataset in DHF1K's published layout."""

from __future__ import annotations

import io
from collections.abc import Sequence
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

_MAT_HEADER_BYTES = 116


def write_gaze(root: Path, clip: int, observer: str, recording: Recording, start_us: int) -> None:
    """Write ``exportdata_train/Pxx/Pxx_TrailNNN.txt``; `start_us` is the tracker's clock."""
    folder = root / "exportdata_train" / observer
    folder.mkdir(parents=True, exist_ok=True)
    rows = (
        f"{start_us + time}\tSMP\t1\t{pupil:.2f}\t{pupil:.2f}\t{x:.2f}\t{y:.2f}\t{event}\n"
        for time, pupil, (x, y), event in zip(
            recording.time_us, recording.pupil_px, recording.por_px, recording.event, strict=True
        )
    )
    with (folder / f"{observer}_Trail{clip:03d}.txt").open("w", newline="\n") as file:
        file.write(GAZE_HEADER)
        file.writelines(rows)


def write_published(
    root: Path,
    clip: int,
    recordings: Sequence[Recording],
    fps: float,
    images: Sequence[NDArray[np.uint8]],
) -> None:
    """Write ``annotation/NNNN``: density maps and fixations of every frame, numbered from 1.

    Maps follow the authors' ``make_gauss_masks.m`` (FWHM 30 px, divided by the maximum), black
    where a frame has no fixation; fixations are PNG (0, 255) and MATLAB v5 files (``I``, 0, 1).
    As in the published archive, the last frame's picture lies beside them and belongs to nothing.
    """
    size = images[0].shape[:2]
    folder = root / "annotation" / f"{clip:04d}"
    for name in ("maps", "fixation/maps"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    pixels = [_fixated_pixels(recording, fps, size) for recording in recordings]
    kernel = DENSITY.kernel
    for frame in range(len(images)):
        points = np.concatenate([xy[shown == frame] for shown, xy in pixels])
        fixated = np.zeros(size, np.uint8)
        fixated[points[:, 1], points[:, 0]] = 1
        name = f"{frame + 1:04d}"
        density = density_map(points, size, size, kernel, "max", np.uint8)
        _write_png(folder / "maps" / f"{name}.png", density)
        _write_png(folder / "fixation" / f"{name}.png", 255 * fixated)
        _write_mat(folder / "fixation" / "maps" / f"{name}.mat", fixated)
    _write_png(folder / f"{len(images):04d}.png", cv2.cvtColor(images[-1], cv2.COLOR_RGB2BGR))


def _fixated_pixels(
    recording: Recording, fps: float, size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frame and 0-based pixel of each fixation row by the rule of ``record_mapping.m``."""
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


def _write_png(path: Path, picture: NDArray[Any]) -> None:
    encoded, data = cv2.imencode(".png", picture)
    if not encoded:
        raise OSError(f"{path} could not be encoded as PNG")
    path.write_bytes(data.tobytes())


def _write_mat(path: Path, fixated: NDArray[np.uint8]) -> None:
    buffer = io.BytesIO()
    savemat(buffer, {"I": fixated}, format="5", do_compression=True)
    content = bytearray(buffer.getvalue())
    # scipy dates the header, which would make every run's bytes differ
    content[:_MAT_HEADER_BYTES] = b"MATLAB 5.0 MAT-file".ljust(_MAT_HEADER_BYTES)
    path.write_bytes(content)
