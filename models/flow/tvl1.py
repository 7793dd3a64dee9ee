"""TV-L1 optical flow on the CPU (Zach, Pock & Bischof 2007, as in OpenCV's DualTVL1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.models.flow.inputs import check_frames
from foveal.models.flow.opencv import available_cores, grey_frames, map_pairs, require_optflow


class TVL1:
    """OpenCV's DualTVL1 on grey frames, pairs in parallel over the cores; deterministic.

    Parameters
    ----------
    tau : float
        Time step of the numerical scheme.
    lambda_ : float
        Weight of the data term for grey values in 0 … 255; smaller is smoother.
    theta : float
        Tightness of the coupling between data and smoothness terms.
    scales : int
        Levels of the image pyramid (levels under 16 px a side are left out).
    warps : int
        Warpings a level.
    epsilon : float
        Stopping threshold.
    inner_iterations, outer_iterations : int
        Iterations between and of the median filterings.
    scale_step : float
        Size ratio of neighbouring levels, in (0, 1).
    median_filtering : int
        Side of the median filter: 1 (none), 3 or 5.
    gamma : float
        Weight of the illumination-change term; 0 leaves it out.
    threads : int, optional
        Pairs at a time; None takes every core the process may use. The numbers do not depend on it.

    Raises
    ------
    MissingDependency
        ``cv2`` has no ``cv2.optflow`` (opencv-contrib).
    ValueError
        A setting is outside its range.

    Notes
    -----
    Defaults are those of OpenCV 4.13. LSTS uses them on frames resized to 112x112.
    """

    name = "tvl1"

    def __init__(
        self,
        *,
        tau: float = 0.25,
        lambda_: float = 0.15,
        theta: float = 0.3,
        scales: int = 5,
        warps: int = 5,
        epsilon: float = 0.01,
        inner_iterations: int = 30,
        outer_iterations: int = 10,
        scale_step: float = 0.8,
        median_filtering: int = 5,
        gamma: float = 0.0,
        threads: int | None = None,
    ) -> None:
        self._cv2 = require_optflow()
        if median_filtering not in (1, 3, 5):
            raise ValueError(f"median_filtering must be 1, 3 or 5, got {median_filtering}")
        if not 0 < scale_step < 1:
            raise ValueError(f"scale_step must lie in (0, 1), got {scale_step}")
        counts = {
            "scales": scales,
            "warps": warps,
            "inner_iterations": inner_iterations,
            "outer_iterations": outer_iterations,
        }
        for key, value in counts.items():
            if value < 1:
                raise ValueError(f"{key} must be at least 1, got {value}")
        self._settings: dict[str, Any] = {
            "tau": tau,
            "lambda_": lambda_,
            "theta": theta,
            "epsilon": epsilon,
            "scale_step": scale_step,
            "median_filtering": median_filtering,
            "gamma": gamma,
            **counts,
        }
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1 (or None for every core), got {threads}")
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
        return map_pairs(self._make_calc, grey_frames(frames), self._threads)

    def parameters(self) -> dict[str, Any]:
        """Every DualTVL1 setting and the grey conversion."""
        return {"method": self.name, "grey": "rec601", **self._settings}

    def provenance(self) -> dict[str, Any]:
        """Implementation, its version, and the number of threads."""
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
            tau=s["tau"],
            lambda_=s["lambda_"],
            theta=s["theta"],
            nscales=s["scales"],
            warps=s["warps"],
            epsilon=s["epsilon"],
            innnerIterations=s["inner_iterations"],  # spelled so in OpenCV's binding
            outerIterations=s["outer_iterations"],
            scaleStep=s["scale_step"],
            gamma=s["gamma"],
            medianFiltering=s["median_filtering"],
            useInitialFlow=False,
        )
        return lambda frame, after: solver.calc(frame, after, None)
