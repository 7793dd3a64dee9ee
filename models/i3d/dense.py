"""I3D features of a whole video run through the tower at once, for those who need no windows.

Cheaper than windows, and not the same numbers: a step of Mixed_5c sees up to 99 frames, more than
a window of 79 has, so every step of a window has seen its zero padding. ``benchmarks/i3d.py
--dense`` measures the difference: 20 % with random weights (root of summed squares, relative).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.models.i3d.network import I3D, Endpoint, endpoint_channels, map_size, time_layers
from foveal.models.i3d.preprocess import Preprocessing
from foveal.models.i3d.runner import Precision
from foveal.models.i3d.stream import Stream
from foveal.models.i3d.window_plan import plan_stretch, stretch_ready, stretch_steps, window_levels


class DenseFeatures(Stream):
    """Features of a whole video run through the tower as one long window.

    Zero padding stands at the video's two ends only, aligned as in a window of 79 frames: a video
    of exactly 79 frames gives that window's features. Step j is centred on frame ``8 j + 4``
    (Mixed_5c) or ``4 j + 2`` (Mixed_4f). These features are not those of any window elsewhere.

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
        self._levels = window_levels(79, time_layers(self.endpoint))
        self.frames_per_step = self._levels[-1].scale
        self._batch = max(1, batch_frames // self.frames_per_step)
        channels = endpoint_channels(self.endpoint, network.width)
        self.feature_shape: tuple[int, ...] = (channels,)
        if endpoint != "global":
            self.feature_shape += map_size(self.endpoint, self.size)
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
