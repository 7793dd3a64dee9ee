"""This module holds the input of metrics: maps as checked rows of pixels, and fixated pixels.

Metrics take plain tensors; for several metrics on one batch, make its `MapRows` and `FixatedPixels`
once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class MapRows:
    """Maps [n, h, w] as rows of pixels, with the minimum and maximum of each.

    Attributes
    ----------
    values : Tensor, float32 or float64 [n, h * w]
        Finite; float64 if the maps are, else float32. Those of `challenge.density_rows` may be
        integers.
    low, high : Tensor [n]
        Least and greatest value of each map.
    shape : (frames, height, width)
        Shape of the maps.
    """

    values: Tensor
    low: Tensor
    high: Tensor
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, maps: Tensor | MapRows, name: str = "saliency") -> MapRows:
        """Make the rows of `maps` [n, h, w] of any real dtype, which messages call by `name`.

        Raises
        ------
        ValueError
            They are not finite or have no pixels.
        """
        if isinstance(maps, MapRows):
            return maps
        if maps.ndim != 3 or 0 in maps.shape[1:]:
            raise ValueError(f"{name} must be [n, h, w] with pixels, got {tuple(maps.shape)}")
        values = maps.detach().flatten(1)
        values = values if values.dtype in (torch.float32, torch.float64) else values.float()
        low, high = values.amin(1), values.amax(1)
        finite = low.isfinite() & high.isfinite()
        if not bool(finite.all()):
            raise ValueError(
                f"{name} of {int((~finite).sum())} of {len(values)} frames is not finite, first "
                f"frame {int((~finite).nonzero()[0])} of the batch; correct it before scoring"
            )
        frames, height, width = maps.shape
        return cls(values, low, high, (frames, height, width))

    def is_constant(self) -> Tensor:
        """Whether all pixels are equal, bool [n]."""
        return self.low == self.high

    def is_zero(self) -> Tensor:
        """Whether all pixels are 0, bool [n]."""
        return (self.low == 0) & (self.high == 0)


@dataclass(frozen=True)
class FixatedPixels:
    """Pixels with at least one fixation, frame by frame.

    Attributes
    ----------
    frame : Tensor, int64 [m]
        Frame of each pixel in the batch, non-decreasing.
    pixel : Tensor, int64 [m]
        ``y * width + x``, increasing within a frame.
    count : Tensor, float64 [m]
        Fixations on the pixel, > 0.
    shape : (frames, height, width)
        Shape of the maps.
    """

    frame: Tensor
    pixel: Tensor
    count: Tensor
    shape: tuple[int, int, int]

    @classmethod
    def from_maps(cls, maps: Tensor) -> FixatedPixels:
        """Read fixation `maps` [n, h, w] of any dtype: the number of fixations on each pixel."""
        if maps.ndim != 3:
            raise ValueError(f"fixation maps must be [n, h, w], got {tuple(maps.shape)}")
        n, height, width = maps.shape
        flat = maps.detach().reshape(-1)
        flat = flat.float() if flat.dtype == torch.bfloat16 else flat
        if flat.is_cuda:
            index = (flat > 0).nonzero()[:, 0]
        else:  # NumPy's nonzero is several times faster than torch's
            index = torch.from_numpy(np.flatnonzero(flat.numpy() > 0))
        frame, pixel = index // (height * width), index % (height * width)
        return cls(frame, pixel, flat[index].double(), (n, height, width))

    @classmethod
    def from_points(
        cls,
        frame: Tensor,
        x: Tensor,
        y: Tensor,
        frames: int,
        source_size: tuple[int, int],
        map_size: tuple[int, int],
    ) -> FixatedPixels:
        """Put fixated points on the grid of the saliency maps.

        Parameters
        ----------
        frame : Tensor, int [m]
            Frame of each point, in [0, `frames`).
        x, y : Tensor [m]
            0-based coordinates in pixels of the source video, inside its picture.
        frames : int
            Number of frames.
        source_size, map_size : (height, width)
            Sizes of the source video and of the maps.

        Raises
        ------
        ValueError
            A point is outside the picture.
        """
        height, width = map_size
        columns = _scaled(x.double(), source_size[1], width)
        rows = _scaled(y.double(), source_size[0], height)
        key = (frame.long() * height + rows) * width + columns
        key, count = torch.unique(key, return_counts=True)
        pixels = height * width
        return cls(key // pixels, key % pixels, count.double(), (frames, height, width))

    def offsets(self) -> Tensor:
        """Return the range of entries of frame k, ``offsets[k]`` to ``offsets[k + 1]``, int64."""
        frames = torch.arange(self.shape[0] + 1, device=self.frame.device)
        return torch.searchsorted(self.frame, frames)

    def frames(self, wanted: Tensor) -> FixatedPixels:
        """Return only the frames where `wanted` (bool [frames]) is true, numbered from 0."""
        keep = wanted[self.frame]
        number = wanted.cumsum(0) - 1
        shape = (int(wanted.sum()), *self.shape[1:])
        return FixatedPixels(number[self.frame[keep]], self.pixel[keep], self.count[keep], shape)

    def repeated(self) -> FixatedPixels:
        """Return one entry per fixation: a pixel with several fixations has several entries."""
        times = self.count.long()
        ones = torch.ones(int(times.sum()), dtype=torch.float64, device=self.count.device)
        return FixatedPixels(
            self.frame.repeat_interleave(times),
            self.pixel.repeat_interleave(times),
            ones,
            self.shape,
        )

    def to(self, device: torch.device | str) -> FixatedPixels:
        """Copy the tensors to `device`."""
        return FixatedPixels(
            self.frame.to(device), self.pixel.to(device), self.count.to(device), self.shape
        )

    def gather(self, values: Tensor, fill: float) -> tuple[Tensor, Tensor]:
        """Return the values at the fixated pixels and their counts, one row per frame.

        Parameters
        ----------
        values : Tensor [n, h * w]
            Rows of maps. If this object has a single frame, it is used for all of them.
        fill : float
            Pads the rows to the same length; the count there is 0.

        Returns
        -------
        values : Tensor [n, k]
        counts : Tensor, float64 [n, k]
        """
        if self.shape[0] == 1:
            return values[:, self.pixel], self.count.expand(len(values), -1)
        offsets = self.offsets()
        longest = int(offsets.diff().max()) if self.shape[0] else 0
        column = torch.arange(len(self.frame), device=self.frame.device) - offsets[self.frame]
        gathered = values.new_full((len(values), longest), fill)
        counts = self.count.new_zeros((len(values), longest))
        gathered[self.frame, column] = values[self.frame, self.pixel]
        counts[self.frame, column] = self.count
        return gathered, counts


def as_fixated_pixels(
    fixations: Tensor | FixatedPixels, shape: tuple[int, ...], *, shared: bool = False
) -> FixatedPixels:
    """Return `fixations` as `FixatedPixels` after checking that they fit maps of a `shape`.

    With `shared`, one frame may be used for all maps; if they do not fit, a ValueError is raised.
    """
    pixels = (
        fixations
        if isinstance(fixations, FixatedPixels)
        else FixatedPixels.from_maps(fixations[None] if fixations.ndim == 2 else fixations)
    )
    frames = {shape[0], 1} if shared else {shape[0]}
    if pixels.shape[0] not in frames or pixels.shape[1:] != tuple(shape[1:]):
        raise ValueError(
            f"fixations {pixels.shape} do not fit saliency maps {tuple(shape)}; resize both to the "
            "same [frames, height, width]"
        )
    return pixels


def _scaled(position: Tensor, source_length: int, map_length: int) -> Tensor:
    if len(position) and not bool(((position >= -0.5) & (position < source_length - 0.5)).all()):
        raise ValueError(
            f"points are outside the picture: coordinates from {float(position.min())} to "
            f"{float(position.max())} on an axis of {source_length} px"
        )
    index = ((position + 0.5) * (map_length / source_length)).floor().long()
    return index.clamp(0, map_length - 1)
