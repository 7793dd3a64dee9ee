"""What a fixated point leaves on a density map: Gaussians, and visual angles in pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from foveal.errors import RecipeError

Normalise = Literal["max", "sum", "none"]
Border = Literal["zero", "replicate", "reflect"]

REACH_SIGMAS = 7.0
"""An untruncated Gaussian is cut here, at 2.3e-11 of its peak."""

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))


@dataclass(frozen=True)
class DensityKernel:
    """What one fixated point leaves on the density map; lengths in pixels of the source video.

    Attributes
    ----------
    sigma_px : float
        Standard deviation, > 0.
    half_width_px : float or None
        The kernel is zero where ``|dx|`` or ``|dy|`` exceeds this (a square), None: untruncated.
    offset_px : float
        Where the peak lies relative to the point, right and down.
    border : {'zero', 'replicate', 'reflect'}
        How the picture of points continues outside: not at all, by its border pixels
        (``imfilter(..., 'replicate')``), or mirrored with the border pixel repeated (SciPy's
        ``reflect``).
    binarise : bool
        Points of a frame in the same source pixel count once and sit at that pixel's centre;
        otherwise each point counts, at its sub-pixel position.
    subtract_min : bool
        The map's minimum is subtracted before it is normalised.
    """

    sigma_px: float
    half_width_px: float | None = None
    offset_px: float = 0.0
    border: Border = "zero"
    binarise: bool = True
    subtract_min: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma_px) and self.sigma_px > 0):
            raise RecipeError(
                f"density sigma_px is {self.sigma_px}; give a finite number of source pixels > 0"
            )
        if self.half_width_px is not None and not self.half_width_px > 0:
            raise RecipeError(
                f"density half width is {self.half_width_px} px; give a number > 0, or None for an "
                "untruncated kernel"
            )
        if self.border not in get_args(Border):
            raise RecipeError(f"density border is {self.border!r}; allowed: {get_args(Border)}")

    @property
    def reach_px(self) -> float:
        """Distance from the peak, per axis, beyond which the kernel adds nothing."""
        limit = REACH_SIGMAS * self.sigma_px
        return limit if self.half_width_px is None else min(self.half_width_px, limit)


@dataclass(frozen=True)
class DensityConstants:
    """How a dataset's authors blur fixations; the recipe's ``density.preset`` names the dataset.

    Attributes
    ----------
    kernel : DensityKernel
    normalise : {'max', 'sum', 'none'}
    """

    kernel: DensityKernel
    normalise: Normalise = "max"


def gaussian(
    sigma_px: float, truncate_sigmas: float | None = None, *, binarise: bool = True
) -> DensityKernel:
    """Plain Gaussian of `sigma_px` source pixels, cut at `truncate_sigmas` (None: never)."""
    half_width_px = None if truncate_sigmas is None else truncate_sigmas * sigma_px
    return DensityKernel(sigma_px, half_width_px, binarise=binarise)


def sigma_px_from_degrees(
    sigma_degrees: float,
    *,
    screen_width_px: int,
    screen_width_cm: float,
    viewing_distance_cm: float,
    video_px_per_screen_px: float = 1.0,
) -> float:
    """Length in pixels of the source video that `sigma_degrees` of visual angle span.

    Parameters
    ----------
    sigma_degrees : float
        Visual angle around the line of sight, in (0, 90).
    screen_width_px, screen_width_cm, viewing_distance_cm
        Geometry of the recording; screen pixels are taken to be square.
    video_px_per_screen_px : float
        Scale from screen to video: a 640 px wide video that filled a 1440 px wide screen has
        640 / 1440, one shown pixel for pixel has 1.

    Returns
    -------
    float
        ``2 d tan(angle / 2)`` on the screen, in video pixels.
    """
    given = {
        "sigma_degrees": sigma_degrees,
        "screen_width_px": screen_width_px,
        "screen_width_cm": screen_width_cm,
        "viewing_distance_cm": viewing_distance_cm,
        "video_px_per_screen_px": video_px_per_screen_px,
    }
    for name, value in given.items():
        if not (math.isfinite(value) and value > 0):
            raise RecipeError(f"{name} is {value}; give a finite number > 0")
    if sigma_degrees >= 90:
        raise RecipeError(f"sigma_degrees is {sigma_degrees}; give an angle below 90 degrees")
    sigma_cm = 2.0 * viewing_distance_cm * math.tan(math.radians(sigma_degrees) / 2.0)
    return sigma_cm * screen_width_px / screen_width_cm * video_px_per_screen_px
