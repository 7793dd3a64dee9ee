"""This module computes flow by dense inverse search, for a quick look.

Source: Kroeger et al. 2016; the implementation is OpenCV's DISOpticalFlow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.models.flow.opencv import Calc, OpenCVEstimator

_PRESETS = ("ultrafast", "fast", "medium")


class DIS(OpenCVEstimator):
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
    _implementation = "OpenCV DISOpticalFlow"
    _least_side_px = 12

    def __init__(self, *, preset: str = "medium", threads: int | None = None) -> None:
        if preset not in _PRESETS:
            raise ValueError(f"preset must be one of {', '.join(_PRESETS)}, got {preset!r}")
        super().__init__(threads)
        self._preset = preset

    def parameters(self) -> dict[str, Any]:
        """Return the preset and the grey conversion."""
        return {"method": self.name, "preset": self._preset, "grey": "rec601"}

    def _make_calc(self) -> Calc:
        import cv2

        preset = getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{self._preset.upper()}")

        def calc(frame: NDArray[np.uint8], after: NDArray[np.uint8]) -> Any:
            # A solver adapts its scales to a small frame and keeps them: each pair gets a new one.
            solver: Any = cv2.DISOpticalFlow.create(preset)
            return solver.calc(frame, after, None)

        return calc
