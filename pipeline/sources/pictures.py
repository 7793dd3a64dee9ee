"""Ground truth published as pictures: density maps and binary fixation maps, a file a frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from foveal.errors import GazeError
from foveal.pipeline.sections import MAX_SIDE_PX
from foveal.pipeline.sources.points import POOLED, PointsBuilder
from foveal.pipeline.values import Fixations


def read_grey(path: Path) -> NDArray[np.uint8]:
    """A one-channel 8-bit picture exactly as stored, uint8 [height, width].

    Raises
    ------
    GazeError
        Where the file is missing, no such picture, or larger than 8192 px on a side.
    """
    try:
        with Image.open(path) as picture:
            size, mode = picture.size, picture.mode
    except UnidentifiedImageError:
        raise GazeError(f"{path} is not a picture; was it downloaded completely?") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise GazeError(f"{path} cannot be read: {error}") from None
    if max(size) > MAX_SIDE_PX:
        raise GazeError(f"{path} is {size[0]}x{size[1]}; at most {MAX_SIDE_PX} px a side are read")
    if mode not in ("L", "1", "P"):
        raise GazeError(f"{path} has mode {mode}; a map of one 8-bit channel is expected")
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise GazeError(f"{path} is damaged; download it again")
    return np.asarray(pixels, np.uint8)


class PictureMaps:
    """Density pictures, the k-th path being frame k."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)

    def __len__(self) -> int:
        return len(self._paths)

    def density(self, frame: int) -> NDArray[np.uint8]:
        """Density picture of a frame, uint8 [height, width], exactly as published."""
        return read_grey(self._paths[frame])


def points_of_pictures(
    paths: Sequence[Path], height_px: int, width_px: int, attributes: dict[str, Any]
) -> Fixations:
    """Every non-zero pixel of binary fixation pictures, the k-th path being frame k.

    Raises
    ------
    GazeError
        Where a picture cannot be read or is not of the video's size.
    """
    frames, xs, ys = [], [], []
    for frame, path in enumerate(paths):
        picture = read_grey(path)
        if picture.shape != (height_px, width_px):
            raise GazeError(
                f"{path} is {picture.shape[1]}x{picture.shape[0]}, "
                f"but the video is {width_px}x{height_px}"
            )
        y, x = np.nonzero(picture)
        frames.append(np.full(len(x), frame))
        xs.append(x)
        ys.append(y)
    builder = PointsBuilder()
    if paths:
        columns = [np.concatenate(parts) for parts in (frames, xs, ys)]
        builder.add(POOLED, *columns, read=len(columns[0]), used=len(columns[0]))
    return builder.build({"origin": "published fixation pictures", **attributes})
