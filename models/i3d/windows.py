"""This module computes the I3D features of every window of a video.

`WindowFeatures` returns, for each window, what the tower returns for that window alone; activations
that several windows share are computed once (see `window_plan`).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from foveal.models.i3d.frame_queue import FrameQueue
from foveal.models.i3d.layers import Endpoint, check_name, map_size, time_layers
from foveal.models.i3d.network import I3D, endpoint_channels
from foveal.models.i3d.preprocess import Preprocessing
from foveal.models.i3d.runner import Precision
from foveal.models.i3d.window_plan import plan_windows, window_levels

Pooling = Literal["paper", "k3s1", "none"]
"""Average pooling of the endpoint's map."""

ShortClips = Literal["skip", "repeat_first"]
"""What a video that is shorter than a window gives."""

POOLINGS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]] | None] = {
    "paper": ((2, 3, 3), (2, 1, 1)),
    "k3s1": ((3, 3, 3), (1, 1, 1)),
    "none": None,
}
"""Kernel and stride over (time, y, x) of each average pooling."""


def window_starts(
    frames: int,
    window: int = 79,
    stride: int = 1,
    first_start: int = 0,
    short_clips: ShortClips = "skip",
) -> list[int]:
    """Return the first frames of a video's windows, as `WindowFeatures` will return them.

    Parameters
    ----------
    frames : int
        Length of the video.
    window, stride, first_start, short_clips
        See `WindowFeatures`.
    """
    if frames < window:
        return [frames - window] if frames and short_clips == "repeat_first" else []
    return list(range(first_start, frames - window + 1, stride))


def feature_shape(
    window: int = 79,
    pooling: Pooling = "paper",
    endpoint: Endpoint = "mixed_5c",
    size: tuple[int, int] = (224, 224),
    width: float = 1.0,
) -> tuple[int, ...]:
    """Return the shape of one window's feature.

    Parameters
    ----------
    window, pooling, endpoint, size
        See `WindowFeatures`.
    width : float
        Factor on every channel count.

    Returns
    -------
    tuple of int
        [channels, time, y, x], or [channels] for ``global``.

    Raises
    ------
    ValueError
        The pooling is unknown, or its kernel is larger than the endpoint's map.
    """
    check_name("pooling", pooling, POOLINGS)
    channels = endpoint_channels(endpoint, width)
    if endpoint == "global":
        return (channels,)
    steps = window_levels(window, time_layers(endpoint))[-1].steps
    grid = (steps, *map_size(endpoint, size))
    pool = POOLINGS[pooling]
    if pool is None:
        return (channels, *grid)
    kernel, stride = pool
    if any(n < k for n, k in zip(grid, kernel, strict=True)):
        raise ValueError(
            f"pooling {pooling!r} averages {kernel} but {endpoint} gives a map of {grid} for "
            f"{window} frames of {size}; use larger frames, a longer window, or pooling 'none'"
        )
    return (channels, *((n - k) // s + 1 for n, k, s in zip(grid, kernel, stride, strict=True)))


class WindowFeatures(FrameQueue):
    """Compute the features of all windows of one video.

    The result of each window equals ``network(window)`` (float32: within 1e-4 relative, because
    the order of sums differs). One object serves one video.

    Parameters
    ----------
    network : I3D
        The tower.
    window : int
        Frames in a window.
    stride : int
        Frames from one window's start to the next one's.
    first_start : int
        Frame at which the first window starts. (Flow k is the motion from frame k to k + 1; Öztürk
        pairs RGB frames s … s + 78 with the motion that ends in each, so flow windows that start at
        ``stride - 1``, ``2 stride - 1`` … belong to the RGB windows at ``stride``, ``2 stride`` …)
    pooling : {"paper", "k3s1", "none"}
        Average pooling of the endpoint's map. ``paper``: kernel (2, 3, 3), stride (2, 1, 1), from
        10 x 7 x 7 to the 5 x 5 x 5 of Öztürk's LSTS; ``k3s1``: kernel 3, stride 1, to 8 x 5 x 5.
        The endpoint ``global`` has no pooling.
    endpoint : {"mixed_5c", "mixed_4f", "global"}
        The layer whose output is the feature.
    short_clips : {"skip", "repeat_first"}
        A video shorter than a window has no windows, or one that begins with copies of its first
        frame: that window's start is negative and its `valid_frames` are fewer than `window`.
    preprocessing : {"lsts", "deepmind", "none"}
        See `preprocess`.
    scale_flow_on_resize : bool
        See `preprocess`.
    size : (height, width)
        Input size of the network.
    device : str
        See `foveal.models.device.choose_device`.
    precision : {"float32", "float16", "bfloat16", "auto"}
        ``auto`` takes half precision where it is fast, see `half_precision`, if the features of
        the first window agree with those of float32 within 1e-2 (largest difference over largest
        magnitude); else float32. `provenance` says which ran, and why.
    batch_windows : int, optional
        Windows computed together; by default from the free memory.

    Attributes
    ----------
    window_starts : list of int
        First frame of every window returned so far.
    valid_frames : list of int
        Frames of each of these windows that belong to the video.
    feature_shape : tuple of int
        Shape of one window's feature, e.g. (1024, 5, 5, 5).

    Raises
    ------
    ValueError
        A name or number is not allowed, or the pooling is larger than the endpoint's map.
    """

    def __init__(
        self,
        network: I3D,
        *,
        window: int = 79,
        stride: int = 1,
        first_start: int = 0,
        pooling: Pooling = "paper",
        endpoint: Endpoint = "mixed_5c",
        short_clips: ShortClips = "skip",
        preprocessing: Preprocessing = "lsts",
        scale_flow_on_resize: bool = True,
        size: tuple[int, int] = (224, 224),
        device: str = "auto",
        precision: Precision = "float32",
        batch_windows: int | None = None,
    ) -> None:
        super().__init__(
            network, endpoint, preprocessing, scale_flow_on_resize, size, device, precision
        )
        for name, value in (("window", window), ("stride", stride)):
            if value < 1:
                raise ValueError(f"{name} {value} is not allowed; it counts frames, 1 or more")
        if first_start < 0:
            raise ValueError(f"first_start {first_start} is not allowed; frames count from 0")
        check_name("short_clips", short_clips, get_args(ShortClips))
        self.window, self.stride = window, stride
        self.pooling, self.short_clips = pooling, short_clips
        self.first_start = first_start
        self._levels = window_levels(window, time_layers(self.endpoint))
        self.window_starts: list[int] = []
        self.valid_frames: list[int] = []
        self.feature_shape = feature_shape(window, pooling, self.endpoint, size, network.width)
        fitting = self._runner.windows_that_fit(window, stride, size)
        self.batch_windows = batch_windows or fitting
        self._kept_anchors: tuple[tuple[int, ...], ...] = tuple(() for _ in self._levels)
        self._next_start = first_start
        self._runner.given = lambda results: self._pooled(self._by_window(results))

    def push(self, values: ArrayLike) -> NDArray[np.float32]:
        """Take the next frames (or flow) and return the windows computed by now.

        Windows are computed in batches, so a complete window may come with a later call.

        Parameters
        ----------
        values : array [n, h, w, 3] or [n, h, w, 2]
            RGB 0 … 255, or flow in pixels.

        Returns
        -------
        ndarray, float32 [m, *feature_shape]
            m may be 0; the starts are the last m of `window_starts`.

        Raises
        ------
        InputError
            A value is not finite.
        """
        self._take(values)
        if self.window_starts and self._received < self._next_start:
            self._forget_before(self._received)
        return self._compute_complete(self.batch_windows)

    def finish(self) -> NDArray[np.float32]:
        """Return the windows that still wait; no frames can be added afterwards."""
        rest = self._compute_complete(1)
        if 0 < self._received < self.window and self.short_clips == "repeat_first":
            frames = self._frames()
            missing = self.window - len(frames)
            self._next_start = 0
            self._waiting = [torch.cat([frames[:1].expand(missing, -1, -1, -1), frames])]
            rest = self._pool(self._run(1))
            self.window_starts, self.valid_frames = [-missing], [self._received]
        self._finished = True
        self._waiting = []
        self._runner.forget()
        return rest

    def _compute_complete(self, at_least: int) -> NDArray[np.float32]:
        """Compute waiting windows while at least `at_least` of them are complete."""
        features = []
        while True:
            complete = (self._received - self._next_start - self.window) // self.stride + 1
            if self._received < self._next_start + self.window or complete < at_least:
                break
            count = min(complete, self.batch_windows)
            features.append(self._pool(self._run(count)))
            count = len(features[-1])
            self.window_starts += [self._next_start + self.stride * n for n in range(count)]
            self.valid_frames += [self.window] * count
            self._next_start += self.stride * count
            self._forget_before(min(self._next_start, self._received))
        if len(features) == 1:
            return features[0]
        return np.concatenate([np.zeros((0, *self.feature_shape), np.float32), *features])

    def _run(self, count: int) -> Tensor:
        """Compute the next windows, fewer than `count` if memory is short.

        Returns
        -------
        Tensor, float32 [windows, steps, height, width, channels]
        """
        results, kept = self._runner.run(
            self._frames(),
            self._first_waiting - self._next_start,
            lambda n: plan_windows(self._levels, self.stride, n, self._kept_anchors),
            count,
        )
        maps = self._by_window(results)
        moved = self.stride * len(maps)
        self._kept_anchors = tuple(tuple(a - moved for a in anchors) for anchors in kept)
        if len(maps) < count:
            self.batch_windows = len(maps)
        return maps

    def _by_window(self, results: Tensor) -> Tensor:
        """Reshape [windows * steps, ...] to [windows, steps, ...]."""
        return results.view(-1, self._levels[-1].steps, *results.shape[1:])

    def _pool(self, maps: Tensor) -> NDArray[np.float32]:
        # Transposed on the device; pinned memory is copied fastest, and torch reuses it.
        pooled = self._pooled(maps).contiguous()
        if pooled.device.type == "cuda":
            pooled = torch.empty(pooled.shape, pin_memory=True).copy_(pooled)
        features: NDArray[np.float32] = pooled.numpy()
        return features

    def _pooled(self, maps: Tensor) -> Tensor:
        x = maps.permute(0, 4, 1, 2, 3)
        pool = POOLINGS[self.pooling]
        if self.endpoint == "global":
            x = x.mean((2, 3, 4))
        elif pool is not None:
            x = F.avg_pool3d(x, *pool)
        return x
