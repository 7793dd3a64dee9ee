"""Reader for ground truth published as pictures: density and fixation maps, one file per frame."""

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
"""Names of the binary map in the MATLAB files of DHF1K and of STAViS."""


def picture_size(path: Path) -> tuple[int, int]:
    """Read height and width in pixels from the header of the picture `path`.

    Raises
    ------
    GazeError
        The file is missing, no picture, or has more than 8192 px per side.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except UnidentifiedImageError:
        raise GazeError(f"{path} is not a picture; was it fetched completely?") from None
    except Exception as error:  # Pillow's readers raise errors of many types
        raise GazeError(f"{path} cannot be read: {error}") from None
    if max(height, width) > MAX_SIDE_PX:
        raise GazeError(f"{path} is {width}x{height}; at most {MAX_SIDE_PX} px per side are read")
    return height, width


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read the grey 8-bit picture `path` exactly as it is stored.

    Returns
    -------
    ndarray, uint8 [height, width]

    Raises
    ------
    GazeError
        The picture is unreadable, coloured, or has more than 8 bits per channel.
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
        raise GazeError(f"{path} has {8 * pixels.itemsize} bits per channel; 8 are expected")
    if pixels.ndim == 3:
        grey = pixels[..., 0]
        if (pixels[..., 1:3] != grey[..., None]).any():
            raise GazeError(f"{path} is coloured; a map has one grey channel")
        return np.ascontiguousarray(grey)
    return np.asarray(pixels, np.uint8)


class PictureMaps:
    """Density maps in picture files, one per frame; see `PublishedMaps`.

    Parameters
    ----------
    paths : sequence of Path
        Files in the order of the frames.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def density(self, frame: int) -> NDArray[np.uint8]:
        """Read the map of `frame` (from 0), uint8 [height, width], exactly as published."""
        return read_grey(self.paths[frame])


def read_fixated(path: Path) -> NDArray[np.bool_]:
    """Read the binary fixation map `path`, a picture or a MATLAB file.

    Returns
    -------
    ndarray, bool [height, width]
        True where somebody fixated.

    Raises
    ------
    GazeError
        The file is missing, damaged, or no map.
    """
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
    """Read every set pixel of binary fixation maps as a point.

    Parameters
    ----------
    paths : sequence of Path
        Files in the order of the frames.
    height_px, width_px : int
        Size of the video.
    attributes : mapping
        Stored with the points.

    Raises
    ------
    GazeError
        A map cannot be read or has another size than the video.
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
