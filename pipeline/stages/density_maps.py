"""This module computes Gaussian density maps of fixated points.

Every kernel is separable, so the map of a frame is one matrix product, ``Gy.T @ Gx``: row i of
``Gy`` and ``Gx`` is what point i adds along the vertical and the horizontal axis. Points are sorted
by x, so that each block of columns skips the points that are too far away.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import ThreadpoolController

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.video.density_kernels import DensityKernel, Normalise

MIN_SIGMA_MAP_PX = 0.25
"""Least σ in pixels of the map; a narrower Gaussian can fall between the pixels."""

_BLOCK_COLUMNS = 128
_TABLE_VALUES = 2**21


def density_map(
    points_xy: NDArray[Any],
    source_size: tuple[int, int],
    map_size: tuple[int, int],
    kernel: DensityKernel,
    normalise: Normalise = "max",
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Compute the density map of one frame.

    Parameters
    ----------
    points_xy : ndarray [n, 2]
        0-based (x, y) in pixels of the source video, inside the picture; n may be 0.
    source_size, map_size : (height, width)
        Sizes of the source video's picture and of the map. The map samples the density of the
        source picture at the centres of its own pixels, so σ and positions scale on each axis.
    kernel : DensityKernel
        What one point adds.
    normalise : {'max', 'sum', 'none'}
        Peak 1 (255 as uint8), sum 1, or the plain sum of kernels with peak 1.
    dtype : numpy dtype
        float32, or uint8 with 'max' (rounded half up, as MATLAB does).

    Returns
    -------
    ndarray [map height, map width]
        All zeros if the frame has no points (or is constant after its minimum is subtracted).

    Raises
    ------
    GazeError
        A point is not finite or is outside the picture.
    RecipeError
        The map is too small for σ, or `dtype` cannot hold what `normalise` gives.
    """
    _check_request(source_size, map_size, kernel, normalise, dtype)
    points = np.asarray(points_xy, np.float64).reshape(-1, 2)
    if len(points) == 0:
        return np.zeros(map_size, dtype)
    _check_inside(points, source_size)
    # uint8 needs double precision, as the authors used; otherwise some values round differently.
    working = np.dtype(np.float64 if np.dtype(dtype) == np.uint8 else np.float32)
    density = _summed_kernels(points, source_size, map_size, kernel, working)
    return _normalised(density, kernel, normalise, np.dtype(dtype))


def density_maps(
    points_xy: NDArray[Any],
    offsets: NDArray[np.integer[Any]],
    source_size: tuple[int, int],
    map_size: tuple[int, int],
    kernel: DensityKernel,
    normalise: Normalise = "max",
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Compute the density maps of consecutive frames.

    Parameters
    ----------
    points_xy : ndarray [n, 2]
        Points of all frames, in the order of the frames.
    offsets : ndarray, int [frames + 1]
        Points of frame k are ``points_xy[offsets[k] : offsets[k + 1]]``.
    source_size, map_size, kernel, normalise, dtype
        As for `density_map`.

    Returns
    -------
    ndarray [frames, map height, map width]
    """
    _check_request(source_size, map_size, kernel, normalise, dtype)
    maps = np.zeros((len(offsets) - 1, *map_size), dtype)
    # BLAS threads make products this small slower, most of all while other work uses the cores.
    with _blas().limit(limits=1, user_api="blas"):
        for k, (start, stop) in enumerate(itertools.pairwise(offsets)):
            if stop > start:
                maps[k] = density_map(
                    points_xy[start:stop], source_size, map_size, kernel, normalise, dtype
                )
    return maps


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _check_request(
    source_size: tuple[int, int],
    map_size: tuple[int, int],
    kernel: DensityKernel,
    normalise: Normalise,
    dtype: DTypeLike,
) -> None:
    if min(*source_size, *map_size) < 1:
        raise RecipeError(f"density needs sizes >= 1, got source {source_size}, map {map_size}")
    if normalise not in get_args(Normalise):
        raise RecipeError(
            f"density normalise is {normalise!r}; allowed: {', '.join(get_args(Normalise))}"
        )
    if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.uint8)):
        raise RecipeError(f"density dtype is {np.dtype(dtype)}; allowed: float32, uint8")
    if np.dtype(dtype) == np.uint8 and normalise != "max":
        raise RecipeError(
            f"density normalise {normalise!r} does not fit into uint8; use float32, or 'max'"
        )
    for axis, source, target in zip(("height", "width"), source_size, map_size, strict=True):
        sigma_map_px = kernel.sigma_px * target / source
        if sigma_map_px < MIN_SIGMA_MAP_PX:
            raise RecipeError(
                f"density sigma_px {kernel.sigma_px:g} is {sigma_map_px:.3f} px on a map of "
                f"{axis} {target} (source {source}), least is {MIN_SIGMA_MAP_PX}; "
                "enlarge density.size or sigma_px"
            )


def _check_inside(points: NDArray[np.float64], source_size: tuple[int, int]) -> None:
    height, width = source_size
    inside = ((points >= -0.5) & (points < (width - 0.5, height - 0.5))).all(axis=1)
    if not inside.all():
        x, y = points[~inside][0]
        raise GazeError(
            f"{int((~inside).sum())} of {len(points)} points are outside the {width}x{height} "
            f"picture, first ({x:g}, {y:g}); coordinates are 0-based (x, y) source pixels; "
            "exclude points outside the picture first"
        )


def _summed_kernels(
    points: NDArray[np.float64],
    source_size: tuple[int, int],
    map_size: tuple[int, int],
    kernel: DensityKernel,
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Sum of unit-peak kernels at `points`, `dtype` [map height, map width]."""
    (source_height, source_width), (map_height, map_width) = source_size, map_size
    if kernel.binarise:
        pixels = np.floor(points + 0.5).astype(np.int64)
        xs, ys = np.divmod(np.unique(pixels[:, 0] * source_height + pixels[:, 1]), source_height)
    else:
        xs, ys = points[np.argsort(points[:, 0], kind="stable")].T
    along_y = _axis_rows(ys, source_height, map_height, kernel, dtype).T
    along_x = _axis_rows(xs, source_width, map_width, kernel, dtype)

    density = np.empty(map_size, dtype)
    edges = np.arange(0, map_width + _BLOCK_COLUMNS, _BLOCK_COLUMNS).clip(max=map_width)
    reach = kernel.reach_px + abs(kernel.offset_px) + 1.0
    first = np.searchsorted(xs, edges[:-1] * (source_width / map_width) - reach)
    last = np.searchsorted(xs, edges[1:] * (source_width / map_width) + reach)
    for left, right, i, j in zip(edges[:-1], edges[1:], first, last, strict=True):
        np.matmul(along_y[:, i:j], along_x[i:j, left:right], out=density[:, left:right])
    return density


def _axis_rows(
    positions: NDArray[Any],
    source_length: int,
    map_length: int,
    kernel: DensityKernel,
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Return `_axis_response`, from a table if points are at pixel centres and it is small."""
    if kernel.binarise and source_length * map_length <= _TABLE_VALUES:
        rows: NDArray[Any] = _axis_table(source_length, map_length, kernel, dtype)[positions]
        return rows
    return _axis_response(positions, source_length, map_length, kernel, dtype)


@lru_cache(maxsize=8)
def _axis_table(
    source_length: int, map_length: int, kernel: DensityKernel, dtype: np.dtype[Any]
) -> NDArray[Any]:
    return _axis_response(np.arange(source_length), source_length, map_length, kernel, dtype)


def _axis_response(
    positions: NDArray[Any],
    source_length: int,
    map_length: int,
    kernel: DensityKernel,
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Return what points at `positions` [n] (source pixels) add along one axis [n, map length]."""
    centres = ((np.arange(map_length) + 0.5) * (source_length / map_length) - 0.5).astype(dtype)
    reach = kernel.reach_px

    def bells(at: NDArray[Any]) -> NDArray[Any]:
        distance: NDArray[Any] = centres - (at + kernel.offset_px).astype(dtype)[:, None]
        # Squares compare exactly: distances at the cut are multiples of half a pixel.
        np.square(distance, out=distance)
        within = distance <= dtype.type(reach * reach)
        np.multiply(distance, dtype.type(-0.5 / kernel.sigma_px**2), out=distance)
        np.exp(distance, out=distance)
        distance *= within
        return distance

    response = bells(positions)
    if kernel.border == "replicate":
        steps = np.arange(1, math.ceil(reach + abs(kernel.offset_px)) + 1)
        pixels = np.floor(positions + 0.5)
        response[pixels == 0] += bells(-steps).sum(axis=0)
        response[pixels == source_length - 1] += bells(source_length - 1 + steps).sum(axis=0)
    elif kernel.border == "reflect":
        period = 2 * source_length
        turns = math.ceil((reach + abs(kernel.offset_px)) / period)
        for shift in range(-turns * period, turns * period + 1, period):
            response += bells(-1 - positions + shift)
            if shift:
                response += bells(positions + shift)
    return response


def _normalised(
    density: NDArray[Any], kernel: DensityKernel, normalise: Normalise, dtype: np.dtype[Any]
) -> NDArray[Any]:
    if kernel.subtract_min:
        density -= density.min()
    if normalise == "none":
        return density
    total = float(density.max() if normalise == "max" else density.sum(dtype=np.float64))
    if total <= 0:
        return np.zeros(density.shape, dtype)
    if dtype == np.uint8:
        density *= 255.0 / total
        density += 0.5
        return density.astype(np.uint8)
    density *= np.float32(1.0 / total)
    return density
