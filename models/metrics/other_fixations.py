"""This module chooses the fixations of other pictures that shuffled AUC takes as negatives."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.models.metrics.base import Variant, check_variant
from foveal.models.metrics.pixels import FixatedPixels


class OtherFixations:
    """Choose fixations of other pictures for each frame of a set of videos, reproducibly.

    ``mit``: the fixated pixels of 10 frames with fixations, drawn from the other videos (Borji's
    M = 10, ``AUC_shuffled.m``). ``dhf1k``: of 10 frames drawn from all frames of all videos, with
    the video itself and frames without fixations, as in the DHF1K evaluation. ``pysaliency``: every
    fixation of all other videos; nothing is drawn. The draw for a frame depends only on the seed,
    the video's name and the frame's number, not on batches or on the order of calls.

    Parameters
    ----------
    videos : mapping of str to FixatedPixels
        Fixated pixels of every video, frame by frame, each on its own grid.
    variant : {'mit', 'dhf1k', 'pysaliency'}
        Whose definition.
    seed : int
        Seed of the draw.
    pictures : int
        Frames drawn for ``mit`` and ``dhf1k``.
    """

    def __init__(
        self,
        videos: Mapping[str, FixatedPixels],
        variant: Variant = "mit",
        *,
        seed: int = 0,
        pictures: int = 10,
    ) -> None:
        check_variant(variant)
        self._variant, self._seed, self._pictures = variant, seed, pictures
        self._videos = {name: videos[name].to("cpu") for name in sorted(videos)}
        self._offsets = {name: each.offsets() for name, each in self._videos.items()}
        self._drawable = {
            name: torch.arange(len(offsets) - 1)
            if variant == "dhf1k"
            else offsets.diff().nonzero()[:, 0]
            for name, offsets in self._offsets.items()
        }
        self._names = list(self._videos)
        self._ends = np.cumsum([len(self._drawable[name]) for name in self._names])

    def of(self, video: str, start: int, stop: int, size: tuple[int, int]) -> FixatedPixels:
        """Return the other fixations for some frames of a video.

        Parameters
        ----------
        video : str
            Name of the video.
        start, stop : int
            Half-open range of frames.
        size : (height, width)
            Size of the maps.

        Returns
        -------
        FixatedPixels
            Of ``stop - start`` frames, or (pysaliency) of one frame for all.

        Raises
        ------
        ValueError
            The video is unknown.
        """
        if video not in self._videos:
            raise ValueError(
                f"video {video!r} is not one of the {len(self._videos)} videos of OtherFixations; "
                "give the fixations of all videos of the evaluation"
            )
        if self._variant == "pysaliency":
            parts = [
                _on_grid(each, slice(None), size)
                for name, each in self._videos.items()
                if name != video
            ]
            return _merged([parts], size)
        return _merged(
            [
                [self._frame(index, size) for index in self._draw(video, frame)]
                for frame in range(start, stop)
            ],
            size,
        )

    def _draw(self, video: str, frame: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self._seed, zlib.crc32(video.encode()), frame])
        place = self._names.index(video)
        own_stop = int(self._ends[place])
        own = 0 if self._variant == "dhf1k" else len(self._drawable[video])
        available = int(self._ends[-1]) - own
        drawn = rng.choice(available, min(self._pictures, available), replace=False)
        return np.where(drawn >= own_stop - own, drawn + own, drawn)

    def _frame(self, index: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        place = int(np.searchsorted(self._ends, index, side="right"))
        name = self._names[place]
        frame = int(self._drawable[name][index - self._ends[place]])
        first, last = self._offsets[name][frame : frame + 2].tolist()
        return _on_grid(self._videos[name], slice(first, last), size)


def _on_grid(fixated: FixatedPixels, part: slice, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return pixels and counts of some entries on another grid (coordinates are rounded down)."""
    _, height, width = fixated.shape
    pixel = fixated.pixel[part]
    if (height, width) != size:
        rows = (pixel // width) * size[0] // height
        columns = (pixel % width) * size[1] // width
        pixel = rows * size[1] + columns
    return pixel, fixated.count[part]


def _merged(frames: list[list[tuple[Tensor, Tensor]]], size: tuple[int, int]) -> FixatedPixels:
    """Merge each list of (pixels, counts) into one frame; add the counts of equal pixels."""
    number, pixel, count = [], [], []
    for k, parts in enumerate(frames):
        if not parts:
            continue
        pixels = torch.cat([part[0] for part in parts])
        unique, inverse = torch.unique(pixels, return_inverse=True)
        added = torch.zeros(len(unique), dtype=torch.float64)
        added.index_add_(0, inverse, torch.cat([part[1] for part in parts]))
        number.append(torch.full_like(unique, k))
        pixel.append(unique)
        count.append(added)
    shape = (len(frames), *size)
    if not number:
        nothing = torch.zeros(0, dtype=torch.int64)
        return FixatedPixels(nothing, nothing, torch.zeros(0, dtype=torch.float64), shape)
    return FixatedPixels(torch.cat(number), torch.cat(pixel), torch.cat(count), shape)
