"""What the writers of miniatures share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from scipy.io import savemat

from foveal.pipeline.video.encode import encode_video

Point = tuple[int, float, float, str]
"""Frame from 0, x and y from 0, observer."""


@dataclass(frozen=True)
class Expected:
    """What a source must find of one video.

    Attributes
    ----------
    split : str or None
    numbers : sequence of int
        The dataset's own numbers of the frames that belong to it, in order.
    size : (height, width)
    points : list of Point
        All fixated points within the video's frames; None where the ground truth is withheld.
    excluded : dict
        Samples left out by reason, those after the video's end included.
    maps : bool
        Whether density maps are published in the chosen form.
    """

    split: str | None
    numbers: Sequence[int]
    size: tuple[int, int]
    points: list[Point] | None
    excluded: dict[str, int] = field(default_factory=dict)
    maps: bool = False
    notes: int = 0


@dataclass(frozen=True)
class Miniature:
    """A dataset section for the recipe, and what its videos must hold, in listing order."""

    dataset: dict[str, Any]
    videos: dict[str, Expected]
    subject: str | None = None
    """An observer to select alone; None where observers are not told apart."""


def grey(number: int) -> int:
    """Grey level of frame `number`: steps a lossy codec keeps apart."""
    return 20 + 7 * (number % 32)


def frame(number: int, size: tuple[int, int]) -> np.ndarray:
    return np.full((*size, 3), grey(number), np.uint8)


def write_video(path: Path, frames: int, size: tuple[int, int], fps: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = "mpeg4" if path.suffix.lower() == ".avi" else "libx264"
    encode_video((frame(number, size) for number in range(frames)), path, fps, codec)


def write_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(path.suffix, pixels)
    assert encoded
    path.write_bytes(data.tobytes())


def density(number: int, size: tuple[int, int]) -> np.ndarray:
    pixels = np.zeros(size, np.uint8)
    pixels[:8, :8] = grey(number)
    return pixels


def fixated(points: Iterable[tuple[int, int]], size: tuple[int, int]) -> np.ndarray:
    """Binary fixation map of 0-based (x, y) pixels, 0 and 255."""
    pixels = np.zeros(size, np.uint8)
    for x, y in points:
        pixels[y, x] = 255
    return pixels


def write_text(path: Path, text: str, *, crlf: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((text.replace("\n", "\r\n") if crlf else text).encode())


def write_v5(path: Path, **variables: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables, do_compression=True)


def write_v73(path: Path, **variables: Any) -> None:
    """Save as MATLAB's ``-v7.3`` does: HDF5 behind a 512-byte header, arrays transposed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            _write_hdf5(file, file, name, value)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def _write_hdf5(file: h5py.File, group: h5py.Group, name: str, value: Any) -> None:
    if isinstance(value, dict):
        inner = group.create_group(name)
        inner.attrs["MATLAB_class"] = np.bytes_("struct")
        for key, item in value.items():
            _write_hdf5(file, inner, key, item)
    elif isinstance(value, list):
        references = np.empty((1, len(value)), h5py.ref_dtype)
        pool = file.require_group("#refs#")
        for index, item in enumerate(value):
            key = f"{name}{index}"
            _write_hdf5(file, pool, key, item)
            references[0, index] = pool[key].ref
        cells = group.create_dataset(name, data=references, dtype=h5py.ref_dtype)
        cells.attrs["MATLAB_class"] = np.bytes_("cell")
    elif isinstance(value, str):
        characters = np.array([[ord(one)] for one in value], np.uint16)
        text = group.create_dataset(name, data=characters)
        text.attrs["MATLAB_class"] = np.bytes_("char")
    else:
        numbers = group.create_dataset(name, data=np.atleast_2d(np.asarray(value, float)).T)
        numbers.attrs["MATLAB_class"] = np.bytes_("double")
