"""This module defines the settings of TV-L1, for all of its implementations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TVL1Settings:
    """Settings of TV-L1; the defaults are those of OpenCV 4.13's DualTVL1.

    Attributes
    ----------
    tau : float
        Time step of the numerical scheme.
    lambda_ : float
        Weight of the data term for grey values in 0 … 255; smaller is smoother.
    theta : float
        Tightness of the coupling between data and smoothness terms.
    scales : int
        Most levels of the image pyramid (levels with a side under 16 px are left out).
    warps : int
        Warpings per level.
    epsilon : float
        Stopping threshold: root mean square change of an iteration in pixels.
    inner_iterations, outer_iterations : int
        Iterations between two median filterings, and number of median filterings per warping.
    scale_step : float
        Size ratio of neighbouring levels, in (0, 1).
    median_filtering : int
        Side of the median filter: 1 (none), 3 or 5.
    gamma : float
        Weight of the illumination-change term; 0 leaves it out.

    Raises
    ------
    ValueError
        A setting is outside its range.
    """

    tau: float = 0.25
    lambda_: float = 0.15
    theta: float = 0.3
    scales: int = 5
    warps: int = 5
    epsilon: float = 0.01
    inner_iterations: int = 30
    outer_iterations: int = 10
    scale_step: float = 0.8
    median_filtering: int = 5
    gamma: float = 0.0

    def __post_init__(self) -> None:
        if self.median_filtering not in (1, 3, 5):
            raise ValueError(f"median_filtering must be 1, 3 or 5, got {self.median_filtering}")
        if not 0 < self.scale_step < 1:
            raise ValueError(f"scale_step must be in (0, 1), got {self.scale_step}")
        for name in ("scales", "warps", "inner_iterations", "outer_iterations"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def values(self) -> dict[str, Any]:
        """Return every setting by name."""
        return asdict(self)


def check_threads(threads: int | None) -> None:
    """Raise a ValueError unless `threads` is None (every core) or at least 1."""
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1 (or None for every core), got {threads}")
