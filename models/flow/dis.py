"""This module computes flow by dense inverse search, for a quick look.

Source: Kroeger et al. 2016; the implementation is OpenCV's DISOpticalFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.machine import available_cores
from foveal.models.flow.inputs import check_frames, pad_to_minimum
from foveal.models.flow.opencv import grey_frames, map_pairs
from foveal.models.flow.tvl1_settings import check_threads

_PRESETS = ("ultrafast", "fast", "medium")
_LEAST_PX = 12


class DIS:
    """Run OpenCV's DIS on grey frames, with pairs in parallel on the cores; deterministic.

    Parameters
    ----------
    preset : {'medium', 'fast', 'ultrafast'}
        OpenCV's settings by name; ``medium`` is the most accurate.
    threads : int, optional
        Pairs computed together; None takes every core of the process. The numbers do not depend
        on it.

    Raises
    ------
    ValueError
        Unknown preset, or fewer than one thread.

    Notes
    -----
    It is tens to hundreds of times faster than TV-L1, and coarser in weak texture. Frames with a
    side under 12 px, which OpenCV refuses, are padded with their border and the flow is cropped.
    """

    name = "dis"

    def __init__(self, *, preset: str = "medium", threads: int | None = None) -> None:
        if preset not in _PRESETS:
            raise ValueError(f"preset must be one of {', '.join(_PRESETS)}, got {preset!r}")
        check_threads(threads)
        self._preset = preset
        self._threads = threads or available_cores()

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the motion of each frame to the next.

        Parameters
        ----------
        frames : ndarray, uint8 [n + 1, height, width, 3]
            RGB, n >= 1, any size.

        Returns
        -------
        ndarray, float32 [n, height, width, 2]
            (u, v): pixels right and down until the next frame.
        """
        check_frames(frames)
        padded, (rows, columns) = pad_to_minimum(frames, _LEAST_PX)
        flow = map_pairs(self._make_calc, grey_frames(padded), self._threads)
        return flow[:, rows, columns]

    def parameters(self) -> dict[str, Any]:
        """Return the preset and the grey conversion."""
        return {"method": self.name, "preset": self._preset, "grey": "rec601"}

    def provenance(self) -> dict[str, Any]:
        """Return the implementation, its version, and the number of threads."""
        import cv2

        return {
            "implementation": "OpenCV DISOpticalFlow",
            "opencv": cv2.__version__,
            "device": "cpu",
            "precision": "float32",
            "threads": self._threads,
        }

    def _make_calc(self) -> Any:
        import cv2

        preset = getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{self._preset.upper()}")

        def calc(frame: NDArray[np.uint8], after: NDArray[np.uint8]) -> Any:
            # A solver adapts its scales to a small frame and keeps them: each pair gets a new one.
            solver: Any = cv2.DISOpticalFlow.create(preset)
            return solver.calc(frame, after, None)

        return calc
