"""This module computes TV-L1 flow by OpenCV's DualTVL1: the same numbers as `tvl1`, but slower."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.machine import available_cores
from foveal.models.flow.inputs import check_frames
from foveal.models.flow.opencv import grey_frames, map_pairs, require_optflow
from foveal.models.flow.tvl1_settings import TVL1Settings, check_threads


class OpenCVTVL1:
    """Run OpenCV's DualTVL1 on grey frames, with pairs in parallel; deterministic.

    Parameters
    ----------
    threads : int, optional
        Pairs computed together; None takes every core of the process. The numbers do not depend
        on it.
    **settings
        See `foveal.models.flow.tvl1_settings.TVL1Settings`. LSTS uses the defaults on frames
        resized to 112x112.

    Raises
    ------
    MissingDependency
        ``cv2`` has no ``cv2.optflow`` (opencv-contrib).
    ValueError
        A setting is outside its range.
    """

    name = "tvl1_opencv"

    def __init__(self, *, threads: int | None = None, **settings: Any) -> None:
        self._cv2 = require_optflow()
        self._settings = TVL1Settings(**settings)
        check_threads(threads)
        self._threads = threads or available_cores()

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the motion of each frame to the next.

        Parameters
        ----------
        frames : ndarray, uint8 [n + 1, height, width, 3]
            RGB, n >= 1, any size. The flow of pictures with one row or one column is not defined:
            OpenCV reads beyond their memory.

        Returns
        -------
        ndarray, float32 [n, height, width, 2]
            (u, v): pixels right and down until the next frame.
        """
        check_frames(frames)
        return map_pairs(self._make_calc, grey_frames(frames), self._threads)

    def parameters(self) -> dict[str, Any]:
        """Return every setting and the grey conversion."""
        return {"method": self.name, "grey": "rec601", **self._settings.values()}

    def provenance(self) -> dict[str, Any]:
        """Return the implementation, its version, and the number of threads."""
        return {
            "implementation": "OpenCV DualTVL1",
            "opencv": self._cv2.__version__,
            "device": "cpu",
            "precision": "float32",
            "threads": self._threads,
        }

    def _make_calc(self) -> Any:
        s = self._settings
        solver = self._cv2.optflow.DualTVL1OpticalFlow_create(
            tau=s.tau,
            lambda_=s.lambda_,
            theta=s.theta,
            nscales=s.scales,
            warps=s.warps,
            epsilon=s.epsilon,
            innnerIterations=s.inner_iterations,  # OpenCV's spelling
            outerIterations=s.outer_iterations,
            scaleStep=s.scale_step,
            gamma=s.gamma,
            medianFiltering=s.median_filtering,
            useInitialFlow=False,
        )
        return lambda frame, after: solver.calc(frame, after, None)
