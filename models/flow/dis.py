"""Dense inverse search (Kroeger et al. 2016, OpenCV's DISOpticalFlow): flow for a quick look."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.machine import available_cores
from foveal.models.flow.inputs import check_frames, pad_to_minimum
from foveal.models.flow.opencv import grey_frames, map_pairs

_PRESETS = ("ultrafast", "fast", "medium")
_LEAST_PX = 12


class DIS:
    """OpenCV's DIS on grey frames, pairs in parallel over the cores; deterministic.

    Parameters
    ----------
    preset : {'medium', 'fast', 'ultrafast'}
        OpenCV's settings by name; ``medium`` is the most accurate.
    threads : int, optional
        Pairs at a time; None takes every core the process may use. The numbers do not depend on it.

    Raises
    ------
    ValueError
        Unknown preset, or fewer than one thread.

    Notes
    -----
    Tens to hundreds of times faster than TV-L1 and coarser in weak texture: meant for looking.
    Frames under 12 px a side, which OpenCV refuses, are padded by their border and
    the flow is cropped.
    """

    name = "dis"

    def __init__(self, *, preset: str = "medium", threads: int | None = None) -> None:
        if preset not in _PRESETS:
            raise ValueError(f"preset must be one of {', '.join(_PRESETS)}, got {preset!r}")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1 (or None for every core), got {threads}")
        self._preset = preset
        self._threads = threads or available_cores()

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Motion of each frame to the next.

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
        """Preset and grey conversion."""
        return {"method": self.name, "preset": self._preset, "grey": "rec601"}

    def former_parameters(self) -> list[dict[str, Any]]:
        """None: nothing was stored under this name by another implementation."""
        return []

    def provenance(self) -> dict[str, Any]:
        """Implementation, its version, and the number of threads."""
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
            # a solver that met a small frame keeps the scales it adapted: each pair gets its own
            solver: Any = cv2.DISOpticalFlow.create(preset)
            return solver.calc(frame, after, None)

        return calc
