"""This module computes the statistics of a split, which training normalises by and reports show.

The train split is the default, so that nothing of the other splits reaches a model. One pass reads
the shards of each video, videos in parallel by dask (threads, or a cluster where a client is
active). Sums are exact or double precision, so neither the order nor the number of workers matters.
An array's description of itself (`foveal.storage.kinds`) decides what is computed of it.

==========================================  ======================================================
of pictures: ``<array>_mean``, ``_std``     [rgb], values 0 … 255, over all pixels
of flow: ``<array>_magnitude``              pixels counted by length of motion; bin k covers
                                            ``magnitude_edge[k] … magnitude_edge[k + 1]`` pixels of
                                            that grid
of maps of where people looked:             [y, x] mean of the frames' densities, each summing to 1,
``centre_bias``                             by area on a common grid; it sums to 1. Frames without
                                            any density are left out
of points of where people looked:           [fixations] frames counted by their number of fixations
``fixations_per_frame``
==========================================  ======================================================
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
import zarr
from dask.delayed import delayed
from numpy.typing import NDArray

from foveal.extras import needing
from foveal.storage.cf import Scale, physical
from foveal.storage.kinds import ArrayInfo
from foveal.storage.reader import Store
from foveal.storage.root import software_versions
from foveal.storage.statistics_group import (
    STATISTICS,
    inputs_sha256,
    read_statistics,
    write_statistics,
)

__all__ = [
    "BIAS_SIZE",
    "MAGNITUDE_EDGES_PX",
    "STATISTICS",
    "Sums",
    "as_statistics",
    "compute_statistics",
    "read_statistics",
    "summing",
    "total_of",
    "write_statistics",
]

MAGNITUDE_EDGES_PX = np.concatenate([[0.0], 2.0 ** np.arange(-4, 9.5, 0.5), [np.inf]])
"""Bins of flow magnitude: below 1/16 pixel, then two per octave, then beyond 512 pixels."""

Sums = dict[str, NDArray[Any]]
Summing = Callable[[str, Iterator[NDArray[Any]], tuple[int, int]], Sums]
_ADDED_AT_ONCE = 16

BIAS_SIZE = (90, 160)
"""Default height and width of ``centre_bias``."""


def compute_statistics(
    store: Store, split: str | None = "train", bias_size: tuple[int, int] = BIAS_SIZE
) -> xr.Dataset:
    """Compute the statistics of a split.

    Parameters
    ----------
    store : Store
    split : str, optional
        Name of the split; None for all videos.
    bias_size : (int, int)
        Height and width of ``centre_bias``.

    Returns
    -------
    xarray.Dataset
        The variables listed at the head of this module; those whose arrays no video has are left
        out. The attributes say what they were computed from.

    Raises
    ------
    StoreError
        The split has no complete videos.
    ChecksumError
        A mark of one of the videos is damaged: a stage would be left out silently.
    """
    videos = store.select(split)
    # The split of a video whose timeline is lost may be unknown.
    may_count = store.videos.split.map(lambda found: split is None or found == split).astype(bool)
    may_count |= store.videos.split.isna()
    store.check_whole(map(str, store.videos.index[may_count]), "statistics")
    shared = delayed(store, traverse=False)
    parts = [delayed(_sums)(shared, video, bias_size) for video in videos]
    while len(parts) > 1:
        parts = [
            delayed(total_of)(parts[at : at + _ADDED_AT_ONCE])
            for at in range(0, len(parts), _ADDED_AT_ONCE)
        ]
    return as_statistics(parts[0].compute()).assign_attrs(
        split=split or "all",
        videos=videos,
        inputs_sha256=inputs_sha256(store, videos),
        computed_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        software=software_versions(),
    )


def _sums(store: Store, video: str, bias_size: tuple[int, int]) -> Sums:
    """Return the sums of one video by name; of several arrays with one sum, the first counts."""
    sums: Sums = {}
    for name, info in sorted(store.infos(video).items()):
        compute = summing(info)
        if compute is not None:
            shards = _shards(store.array(video, name))
            sums = compute(name, shards, bias_size) | sums
    return sums


def summing(info: ArrayInfo) -> Summing | None:
    """Return the function that sums up an array, None where nothing is computed of it.

    The function takes the array's name, its items and the size of ``centre_bias``.
    """
    if info.kind == "picture" and info.dtype == "uint8":
        return _picture_sums
    if info.kind == "flow":
        return _flow_sums
    if info.role == "ground_truth" and info.kind == "map":
        return _density_sums
    if info.role == "ground_truth" and info.axis == "frame_plus_1":
        return _fixation_sums
    return None


def _shards(array: zarr.Array[Any]) -> Iterator[NDArray[Any]]:
    scale = Scale.of(array.attrs)
    step = (array.shards or array.chunks)[0]
    for start in range(0, array.shape[0], step):
        values = np.asarray(array[start : start + step])
        yield physical(values, scale)


def _picture_sums(name: str, shards: Iterator[NDArray[Any]], size: tuple[int, int]) -> Sums:
    with needing("view"):
        from PIL import Image
    histogram = np.zeros((3, 256), np.int64)
    for frame in itertools.chain.from_iterable(shards):
        histogram += np.reshape(Image.fromarray(frame).histogram(), (3, 256))
    return {f"{name}_levels": histogram}


def _flow_sums(name: str, shards: Iterator[NDArray[Any]], size: tuple[int, int]) -> Sums:
    histogram = np.zeros(len(MAGNITUDE_EDGES_PX) - 1, np.int64)
    for flow in shards:
        magnitude = np.hypot(flow[..., 0].astype(np.float32), flow[..., 1].astype(np.float32))
        histogram += np.histogram(magnitude[np.isfinite(magnitude)], MAGNITUDE_EDGES_PX)[0]
    return {f"{name}_magnitude": histogram}


def _density_sums(name: str, shards: Iterator[NDArray[Any]], size: tuple[int, int]) -> Sums:
    total, frames = np.zeros(size), 0
    for density in shards:
        mass = density.sum(axis=(1, 2), dtype=np.float64)
        there = mass > 0
        if there.any():
            # The sum of maps that each sum to 1, as one product.
            weights = np.where(there, 1 / np.where(there, mass, 1), 0)
            mean = np.tensordot(weights, density.astype(np.float32), axes=1)
            rows, columns = _overlap(mean.shape[0], size[0]), _overlap(mean.shape[1], size[1])
            total += rows @ mean @ columns.T
            frames += int(there.sum())
    return {"centre_bias": total, "centre_bias_frames": np.array([frames])}


def _fixation_sums(name: str, shards: Iterator[NDArray[Any]], size: tuple[int, int]) -> Sums:
    offset = np.concatenate(list(shards))
    return {"fixations_per_frame": np.bincount(np.diff(offset))}


def _overlap(source: int, target: int) -> NDArray[np.float64]:
    """Return the share of each source pixel's side in each target pixel, [target, source]."""
    source_edges = np.arange(source + 1) / source
    target_edges = np.arange(target + 1)[:, None] / target
    start = np.maximum(source_edges[:-1], target_edges[:-1])
    stop = np.minimum(source_edges[1:], target_edges[1:])
    shares: NDArray[np.float64] = np.maximum(stop - start, 0.0) * source
    return shares


def total_of(parts: Sequence[Sums]) -> Sums:
    """Add up the sums of several videos."""
    total: Sums = {}
    for key in {key for part in parts for key in part}:
        values = [part[key] for part in parts if key in part]
        # Counts by number of fixations are as long as the largest number needs.
        length = max(map(len, values))
        padded = [
            np.pad(value, [(0, length - len(value)), *[(0, 0)] * (value.ndim - 1)])
            for value in values
        ]
        total[key] = np.sum(padded, axis=0)
    return total


def as_statistics(sums: Sums) -> xr.Dataset:
    """Return the variables listed at the head of this module, from the sums of all videos."""
    variables: dict[str, Any] = {}
    for key in sorted(key for key in sums if key.endswith("_levels")):
        histogram, level, name = sums[key], np.arange(256), key.removesuffix("_levels")
        count = histogram.sum(axis=1)
        mean = histogram @ level / count
        variance = (histogram * (level - mean[:, None]) ** 2).sum(axis=1) / count
        about = {"long_name": "mean over all pixels"}
        variables[f"{name}_mean"] = ("rgb", mean, about)
        about = {"long_name": "standard deviation over all pixels"}
        variables[f"{name}_std"] = ("rgb", np.sqrt(variance), about)
    for name in sorted(name for name in sums if name.endswith("_magnitude")):
        variables[name] = ("magnitude_bin", sums[name], {"long_name": "pixels by length of motion"})
        variables["magnitude_edge"] = (
            "magnitude_bin_plus_1",
            MAGNITUDE_EDGES_PX,
            {"units": "pixels of the flow's grid"},
        )
    if "centre_bias" in sums and sums["centre_bias_frames"][0]:
        frames = int(sums["centre_bias_frames"][0])
        variables["centre_bias"] = (
            ("map_y", "map_x"),
            sums["centre_bias"] / frames,
            {"long_name": "mean density, sum 1", "frames": frames},
        )
    if "fixations_per_frame" in sums:
        variables["fixations_per_frame"] = (
            "fixations",
            sums["fixations_per_frame"],
            {"long_name": "frames by number of fixations"},
        )
    return xr.Dataset(variables)
