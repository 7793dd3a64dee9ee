"""I3D features of every window of a video, or of the whole video at once.

`WindowFeatures` gives, for each window, what the tower gives for that window alone; what windows
share is computed once. `DenseFeatures` runs the tower over the whole video: cheaper, and not the
same numbers (a step sees up to 99 frames, more than a window of 79 has). Both stream: memory does
not grow with the video.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from foveal.errors import InputError
from foveal.models.i3d.network import I3D, IN_CHANNELS, Endpoint, check_endpoint
from foveal.models.i3d.preprocess import Preprocessing, check_preprocessing, preprocess
from foveal.models.i3d.runtime import Precision, StepRunner
from foveal.models.i3d.sharing import (
    plan_stretch,
    plan_windows,
    stretch_ready,
    stretch_steps,
    window_levels,
)

Pooling = Literal["paper", "k3s1", "none"]
ShortClips = Literal["skip", "repeat_first"]

POOLINGS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]] | None] = {
    # average over (time, y, x): kernel, stride
    "paper": ((2, 3, 3), (2, 1, 1)),
    "k3s1": ((3, 3, 3), (1, 1, 1)),
    "none": None,
}


class _Stream:
    """What both ways have in common: frames come in, are prepared, and wait on the device."""

    def __init__(
        self,
        network: I3D,
        endpoint: str,
        preprocessing: str,
        scale_flow_on_resize: bool,
        size: tuple[int, int],
        device: str,
        precision: Precision,
    ) -> None:
        self.tower = network.tower
        self.endpoint: Endpoint = check_endpoint(endpoint)
        self.preprocessing: Preprocessing = check_preprocessing(preprocessing)
        self.scale_flow_on_resize = scale_flow_on_resize
        self.size = size
        self._runner = StepRunner(network, self.endpoint, device, precision)
        self._waiting: list[Tensor] = []
        self._first_waiting = 0
        self._received = 0
        self._finished = False

    def _take(self, values: ArrayLike) -> None:
        """Check and prepare new frames, and put them behind those that wait."""
        if self._finished:
            raise RuntimeError("this video is finished; make a new object for the next one")
        array = np.asarray(values)
        channels = IN_CHANNELS[self.tower]
        if array.ndim != 4 or array.shape[3] != channels:
            raise ValueError(
                f"the {self.tower} tower takes [n, h, w, {channels}], got {array.shape}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(
                f"{self.tower} values after item {self._received} are not finite; "
                "recompute them before extracting features"
            )
        if array.dtype not in (np.uint8, np.float32):
            array = array.astype(np.float32)
        if not len(array):
            return
        self._received += len(array)
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(array)).to(self._runner.device)
            x = preprocess(x, self.tower, self.preprocessing, self.size, self.scale_flow_on_resize)
            self._waiting.append(self._runner.steps.frames(x))

    def _frames(self) -> Tensor:
        """The waiting frames as one tensor."""
        if len(self._waiting) > 1:
            self._waiting = [torch.cat(self._waiting)]
        return self._waiting[0]

    def _forget_before(self, frame: int) -> None:
        """Drop frames that no later step reads."""
        while self._waiting and self._first_waiting + len(self._waiting[0]) <= frame:
            self._first_waiting += len(self._waiting.pop(0))
        drop = frame - self._first_waiting
        if self._waiting and drop > 0:
            self._waiting[0] = self._waiting[0][drop:].clone()
            self._first_waiting = frame

    def _map_size(self) -> tuple[int, int]:
        """Height and width of the endpoint's map."""
        scale = 16 if self.endpoint == "mixed_4f" else 32
        height, width = (-(-n // scale) for n in self.size)
        return height, width

    def parameters(self) -> dict[str, Any]:
        """Return what determines the numbers, apart from the weights."""
        return {
            "tower": self.tower,
            "endpoint": self.endpoint,
            "preprocessing": self.preprocessing,
            "scale_flow_on_resize": self.scale_flow_on_resize,
            "size": list(self.size),
            "precision": self._runner.requested,
        }

    def provenance(self) -> dict[str, Any]:
        """Return what ran: device, precision, batch sizes, fallbacks, operations."""
        return self._runner.provenance()


class WindowFeatures(_Stream):
    """Features of all windows of one video, as they become complete.

    The result of each window equals ``network(window)`` (float32: within 1e-4 relative; what
    differs is the order of sums). One object serves one video.

    Parameters
    ----------
    network : I3D
    window : int
        Frames in a window.
    stride : int
        Frames from one window's start to the next one's.
    pooling : {"paper", "k3s1", "none"}
        Average pooling of the endpoint's map. ``paper``: kernel (2, 3, 3), stride (2, 1, 1), which
        takes 10 x 7 x 7 to the 5 x 5 x 5 of Öztürk's LSTS; ``k3s1``: kernel 3, stride 1, to
        8 x 5 x 5. Has no effect on the endpoint ``global``.
    endpoint : {"mixed_5c", "mixed_4f", "global"}
    short_clips : {"skip", "repeat_first"}
        A video shorter than a window has no windows, or one that begins with copies of its first
        frame: that window's start is then negative and its `valid_frames` fewer than `window`.
    preprocessing : {"lsts", "deepmind", "none"}
        See `preprocess`.
    scale_flow_on_resize : bool
    size : (height, width)
        Input size of the network.
    device : str
        ``auto`` takes CUDA where there is one; else a torch device.
    precision : {"float32", "float16", "bfloat16", "auto"}
        ``auto`` is float16 on CUDA if the first windows agree within 1e-2 with float32, else
        float32.
    batch_windows : int, optional
        Windows computed together; by default from the memory that is free.

    Attributes
    ----------
    window_starts : list of int
        First frame of every window returned so far.
    valid_frames : list of int
        Frames of each of these windows that are the video's own.
    feature_shape : tuple of int
        Shape of one window's feature, e.g. (1024, 5, 5, 5).

    Raises
    ------
    ValueError
        For a name that is not allowed, or a pooling larger than the endpoint's map.
    """

    def __init__(
        self,
        network: I3D,
        *,
        window: int = 79,
        stride: int = 1,
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
        if pooling not in POOLINGS:
            raise ValueError(f"pooling {pooling!r} is unknown; allowed: {', '.join(POOLINGS)}")
        if short_clips not in get_args(ShortClips):
            allowed = ", ".join(get_args(ShortClips))
            raise ValueError(f"short_clips {short_clips!r} is unknown; allowed: {allowed}")
        self.window, self.stride = window, stride
        self.pooling, self.short_clips = pooling, short_clips
        self._levels = window_levels(window, self._runner.steps.layers)
        self.window_starts: list[int] = []
        self.valid_frames: list[int] = []
        self.feature_shape = self._feature_shape(network.out_channels(self.endpoint))
        self.batch_windows = batch_windows or self._runner.windows_that_fit(self._levels, size)
        self._kept_anchors: tuple[tuple[int, ...], ...] = tuple(() for _ in self._levels)
        self._next_start = 0

    def _feature_shape(self, channels: int) -> tuple[int, ...]:
        if self.endpoint == "global":
            return (channels,)
        grid = (self._levels[-1].steps, *self._map_size())
        pool = POOLINGS[self.pooling]
        if pool is None:
            return (channels, *grid)
        kernel, stride = pool
        if any(n < k for n, k in zip(grid, kernel, strict=True)):
            raise ValueError(
                f"pooling {self.pooling!r} averages {kernel} but {self.endpoint} gives a map of "
                f"{grid} for {self.window} frames of {self.size}; use larger frames, a longer "
                "window, or pooling 'none'"
            )
        pooled = ((n - k) // s + 1 for n, k, s in zip(grid, kernel, stride, strict=True))
        return (channels, *pooled)

    def push(self, values: ArrayLike) -> NDArray[np.float32]:
        """Take the next frames (or flow), give the windows computed by now.

        Windows are computed in batches, so a complete window may come with a later call.

        Parameters
        ----------
        values : array [n, h, w, 3] RGB 0 … 255, or [n, h, w, 2] flow in pixels

        Returns
        -------
        ndarray, float32 [m, *feature_shape]
            m may be 0; the starts are the last m of `window_starts`.
        """
        self._take(values)
        if self._received < self._next_start:
            self._forget_before(self._received)
        return self._compute_complete(self.batch_windows)

    def finish(self) -> NDArray[np.float32]:
        """Give the windows that still wait; none can be added afterwards."""
        rest = self._compute_complete(1)
        if self._received and not self.window_starts and self.short_clips == "repeat_first":
            frames = self._frames()
            missing = self.window - len(frames)
            self._waiting = [torch.cat([frames[:1].expand(missing, -1, -1, -1), frames])]
            rest = self._pool(self._run(1))
            self.window_starts, self.valid_frames = [-missing], [self._received]
        self._finished = True
        self._waiting = []
        self._runner.forget()
        return rest

    def _compute_complete(self, at_least: int) -> NDArray[np.float32]:
        """Compute waiting windows while at least so many are complete."""
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
        if not features:
            return np.zeros((0, *self.feature_shape), np.float32)
        return np.concatenate(features)

    def _run(self, count: int) -> Tensor:
        """Compute the next windows, fewer than `count` if memory asks for it.

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
        steps = self._levels[-1].steps
        windows = len(results) // steps
        moved = self.stride * windows
        self._kept_anchors = tuple(tuple(a - moved for a in anchors) for anchors in kept)
        if windows < count:
            self.batch_windows = windows
        return results.view(windows, steps, *results.shape[1:])

    def _pool(self, maps: Tensor) -> NDArray[np.float32]:
        x = maps.permute(0, 4, 1, 2, 3)
        pool = POOLINGS[self.pooling]
        if self.endpoint == "global":
            x = x.mean((2, 3, 4))
        elif pool is not None:
            x = F.avg_pool3d(x, *pool)
        return np.ascontiguousarray(x.cpu().numpy())

    def parameters(self) -> dict[str, Any]:
        """Return what determines the numbers, apart from the weights."""
        return {
            **super().parameters(),
            "mode": "windows",
            "window": self.window,
            "stride": self.stride,
            "pooling": self.pooling,
            "short_clips": self.short_clips,
        }


class DenseFeatures(_Stream):
    """Features of a whole video run through the tower as one long window.

    Zero padding stands at the video's two ends only, aligned as in a window of 79 frames: a video
    of exactly 79 frames gives that window's features. Step j is centred on frame ``8 j + 3.5``
    (Mixed_5c) or ``4 j + 1.5`` (Mixed_4f). These features are not those of any window elsewhere.

    Parameters
    ----------
    network, preprocessing, scale_flow_on_resize, size, device, precision
        As for `WindowFeatures`.
    endpoint : {"mixed_5c", "mixed_4f", "global"}
        ``global`` is the mean over space alone: one vector a step.
    batch_frames : int
        Frames taken together.

    Attributes
    ----------
    frames_per_step : int
        8 or 4; a video of n frames has ``ceil(n / frames_per_step)`` steps.
    feature_shape : tuple of int
        Shape of one step, e.g. (1024, 7, 7).
    """

    def __init__(
        self,
        network: I3D,
        *,
        endpoint: Endpoint = "mixed_5c",
        preprocessing: Preprocessing = "lsts",
        scale_flow_on_resize: bool = True,
        size: tuple[int, int] = (224, 224),
        device: str = "auto",
        precision: Precision = "float32",
        batch_frames: int = 64,
    ) -> None:
        super().__init__(
            network, endpoint, preprocessing, scale_flow_on_resize, size, device, precision
        )
        self._levels = window_levels(79, self._runner.steps.layers)
        self.frames_per_step = self._levels[-1].scale
        self._batch = max(1, batch_frames // self.frames_per_step)
        channels = network.out_channels(self.endpoint)
        self.feature_shape: tuple[int, ...] = (channels,)
        if endpoint != "global":
            self.feature_shape += self._map_size()
        self._done = 0
        self._kept_anchors: tuple[tuple[int, ...], ...] = tuple(() for _ in self._levels)

    def push(self, values: ArrayLike) -> NDArray[np.float32]:
        """Take the next frames, give the steps computed by now, float32 [m, *feature_shape]."""
        self._take(values)
        ready = stretch_ready(self._levels, self._received)
        return self._compute_until(self._done + (ready - self._done) // self._batch * self._batch)

    def finish(self) -> NDArray[np.float32]:
        """Give the steps that read the padding behind the video, and all that still wait."""
        self._finished = True
        rest = self._compute_until(stretch_steps(self._levels, self._received)[-1])
        self._waiting = []
        self._runner.forget()
        return rest

    def _compute_until(self, stop: int) -> NDArray[np.float32]:
        features = [np.zeros((0, *self.feature_shape), np.float32)]
        frames = self._received if self._finished else None
        while self._done < stop:
            results, self._kept_anchors = self._runner.run(
                self._frames(),
                self._first_waiting,
                lambda n: plan_stretch(
                    self._levels, self._done, self._done + n, frames, self._kept_anchors
                ),
                min(self._batch, stop - self._done),
            )
            self._done += len(results)
            x = results.permute(0, 3, 1, 2)
            if self.endpoint == "global":
                x = x.mean((2, 3))
            features.append(np.ascontiguousarray(x.cpu().numpy()))
            self._forget_before(self._first_frame_of(self._done))
        return np.concatenate(features)

    def _first_frame_of(self, step: int) -> int:
        """Earliest frame that a step of the last level reads."""
        for level in reversed(self._levels[1:]):
            step = step * level.stride - level.front
        return max(step, 0)

    def parameters(self) -> dict[str, Any]:
        """Return what determines the numbers, apart from the weights."""
        return {**super().parameters(), "mode": "dense"}
