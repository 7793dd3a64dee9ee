"""This module moves entries of a clip by an affine map of pixel positions, each on its own grid."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Affine = NDArray[np.float64]
"""2x3: new position (x, y) = left 2x2 block @ old position + last column. Pixel centres are whole
numbers."""


def warped(values: Tensor, affine: Affine, *, vectors: bool, edge: str = "black") -> Tensor:
    """Move entries [n, …, height, width], with bilinear interpolation.

    Parameters
    ----------
    values : Tensor
        The entries.
    affine : ndarray
        See `Affine`.
    vectors : bool
        Whether channels are u, v, u, v, …, which are rotated and scaled too.
    edge : {'black', 'repeat'}
        The value outside the grid: 0, or that of the nearest pixel.
    """
    import cv2

    height, width = values.shape[-2:]
    whole = not values.is_floating_point()
    planes = values.reshape(-1, height, width)
    source = (planes if planes.dtype == torch.uint8 else planes.float()).contiguous().numpy()
    moved = np.empty_like(source)
    border = cv2.BORDER_REPLICATE if edge == "repeat" else cv2.BORDER_CONSTANT
    for plane, target in zip(source, moved, strict=True):
        cv2.warpAffine(
            plane, affine, (width, height), dst=target, flags=cv2.INTER_LINEAR, borderMode=border
        )
    result = torch.from_numpy(moved).reshape(values.shape)
    if vectors:
        u, v = result[:, 0::2].clone(), result[:, 1::2].clone()
        result[:, 0::2] = float(affine[0, 0]) * u + float(affine[0, 1]) * v
        result[:, 1::2] = float(affine[1, 0]) * u + float(affine[1, 1]) * v
    return result.round().to(values.dtype) if whole else result.to(values.dtype)


def moved_pixels(maps: Tensor, affine: Affine) -> Tensor:
    """Move fixated pixels [n, height, width] one by one; if two meet, the larger value stays."""
    height, width = maps.shape[-2:]
    found = maps.numpy()
    frame, y, x = found.nonzero()
    positions = affine[:, :2] @ np.stack([x, y]) + affine[:, 2:]
    new_x, new_y = np.floor(positions + 0.5).astype(np.int64)
    inside = (new_x >= 0) & (new_x < width) & (new_y >= 0) & (new_y < height)
    moved = np.zeros_like(found)
    places = (frame[inside], new_y[inside], new_x[inside])
    np.maximum.at(moved, places, found[frame[inside], y[inside], x[inside]])
    return torch.from_numpy(moved)


def turn(angle: float, geometry: tuple[int, int], grid: tuple[int, int]) -> Affine:
    """Rotate a grid (height, width) about its middle, by `angle` in the grid `geometry`."""
    c, s = np.cos(angle), np.sin(angle)
    height, width = grid
    scale = np.diag([width / geometry[1], height / geometry[0]])
    matrix = scale @ np.array([[c, -s], [s, c]]) @ np.linalg.inv(scale)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    affine: Affine = np.column_stack([matrix, centre - matrix @ centre])
    return affine


def window(left: float, top: float, share: tuple[float, float], grid: tuple[int, int]) -> Affine:
    """Enlarge a part of a grid (height, width), given its corner and its sides (x, y), 0 … 1."""
    height, width = grid
    scale = np.array([1 / share[0], 1 / share[1]])
    corner = np.array([left * width, top * height])
    affine: Affine = np.column_stack([np.diag(scale), (0.5 - corner) * scale - 0.5])
    return affine
