"""Ground truth published as pictures: density maps and binary fixation maps, a file a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import GazeError
from foveal.pipeline.recipe.section import MAX_SIDE_PX
from foveal.pipeline.sources.readers.mat import read_mat, real_numbers
from foveal.pipeline.sources.readers.points import POOLED, PointsBuilder
from foveal.pipeline.video.types import Fixations

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

_FIXATION_VARIABLES = ("I", "eyeMap")
"""Names the binary map has in DHF1K's and in STAViS' MATLAB files."""


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width as the file's header tells, in pixels.

    Raises
    ------
    GazeError
        Where the file is missing, no picture, or larger than 8192 px on a side.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except UnidentifiedImageError:
        raise GazeError(f"{path} is not a picture; was it fetched completely?") from None
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise GazeError(f"{path} cannot be read: {error}") from None
    if max(height, width) > MAX_SIDE_PX:
        raise GazeError(f"{path} is {width}x{height}; at most {MAX_SIDE_PX} px a side are read")
    return height, width


def read_grey(path: Path) -> NDArray[np.uint8]:
    """A grey 8-bit picture exactly as stored, uint8 [height, width].

    Raises
    ------
    GazeError
        Where the picture is unreadable, coloured, or has more than 8 bits.
    """
    import cv2

    picture_size(path)
    try:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise GazeError(f"{path} cannot be decoded: {error.err}") from None
    if pixels is None:
        raise GazeError(f"{path} is damaged; fetch it again")
    if pixels.dtype != np.uint8:
        raise GazeError(f"{path} has {8 * pixels.itemsize} bits a channel; 8 are expected")
    if pixels.ndim == 3:
        grey = pixels[..., 0]
        if (pixels[..., 1:3] != grey[..., None]).any():
            raise GazeError(f"{path} is coloured; a map has one grey channel")
        return np.ascontiguousarray(grey)
    return np.asarray(pixels, np.uint8)


class PictureMaps:
    """Density pictures, the k-th path being frame k."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def density(self, frame: int) -> NDArray[np.uint8]:
        """Density picture of a frame, uint8 [height, width], exactly as published."""
        return read_grey(self.paths[frame])


def read_fixated(path: Path) -> NDArray[np.bool_]:
    """Fixated pixels of a binary fixation map (a picture or a MATLAB file), bool [h, w]."""
    if path.suffix.lower() != ".mat":
        return read_grey(path) > 0
    try:
        values = np.atleast_2d(real_numbers(read_mat(path, *_FIXATION_VARIABLES)))
    except (TypeError, ValueError) as error:
        raise GazeError(f"{path} holds no map: {error}") from None
    if not np.isfinite(values).all():
        raise GazeError(f"{path} holds values that are not finite: no fixation map does")
    if values.ndim != 2 or max(values.shape) > MAX_SIDE_PX:
        raise GazeError(f"{path} holds an array of shape {values.shape}, not a map")
    return np.asarray(values > 0)


def points_of_pictures(
    paths: Sequence[Path], height_px: int, width_px: int, attributes: Mapping[str, Any]
) -> Fixations:
    """Every set pixel of binary fixation maps, the k-th path being frame k.

    Raises
    ------
    GazeError
        Where a map cannot be read or is not of the video's size.
    """
    found = [np.empty((0, 3), np.int64)]
    for frame, path in enumerate(paths):
        fixated = read_fixated(path)
        if fixated.shape != (height_px, width_px):
            raise GazeError(
                f"{path} is {fixated.shape[1]}x{fixated.shape[0]}, "
                f"but the video is {width_px}x{height_px}"
            )
        y, x = np.nonzero(fixated)
        found.append(np.stack([np.full(len(x), frame), x, y], axis=1))
    frame_x_y = np.concatenate(found)
    builder = PointsBuilder()
    builder.add(POOLED, *frame_x_y.T, read=len(frame_x_y), used=frame_x_y[:, 0])
    return builder.build({"origin": "published fixation maps", **attributes})
