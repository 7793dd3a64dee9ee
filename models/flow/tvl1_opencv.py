"""This module computes TV-L1 flow by OpenCV's DualTVL1: the same numbers as `tvl1`, but slower."""

from __future__ import annotations

from typing import Any

from foveal.models.flow.opencv import Calc, OpenCVEstimator, require_optflow
from foveal.models.flow.tvl1_settings import TVL1Settings


class OpenCVTVL1(OpenCVEstimator):
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
    _implementation = "OpenCV DualTVL1"

    def __init__(self, *, threads: int | None = None, **settings: Any) -> None:
        self._cv2 = require_optflow()
        self._settings = TVL1Settings(**settings)
        super().__init__(threads)

    def parameters(self) -> dict[str, Any]:
        """Return every setting and the grey conversion."""
        return {"method": self.name, "grey": "rec601", **self._settings.values()}

    def _make_calc(self) -> Calc:
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
