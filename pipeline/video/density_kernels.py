"""This module defines the kernels of density maps: Gaussians, and visual angles in pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from foveal.errors import RecipeError

Normalise = Literal["max", "sum", "none"]
"""How a map is scaled: to a peak of 1, to a sum of 1, or not at all."""

Border = Literal["zero", "replicate", "reflect"]
"""How the picture of points continues outside."""

REACH_SIGMAS = 7.0
"""Distance in σ at which an untruncated Gaussian is cut, at 2.3e-11 of its peak."""

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""Full width at half maximum of a Gaussian, in σ."""


@dataclass(frozen=True)
class DensityKernel:
    """The values that one fixated point adds to a density map; lengths in source-video pixels.

    Attributes
    ----------
    sigma_px : float
        Standard deviation, > 0.
    half_width_px : float or None
        The kernel is zero where ``|dx|`` or ``|dy|`` exceeds this (a square). None: untruncated.
    offset_px : float
        Distance of the peak from the point, to the right and down.
    border : {'zero', 'replicate', 'reflect'}
        How the picture of points continues outside: with zeros, with its border pixels
        (``imfilter(..., 'replicate')``), or mirrored with the border pixel repeated (SciPy's
        ``reflect``).
    binarise : bool
        Points of one frame in the same source pixel count once, at the centre of that pixel.
        Otherwise each point counts, at its sub-pixel position.
    subtract_min : bool
        Whether the map's minimum is subtracted before it is normalised.
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
        """Distance from the peak, on each axis, beyond which the kernel is zero."""
        limit = REACH_SIGMAS * self.sigma_px
        return limit if self.half_width_px is None else min(self.half_width_px, limit)


@dataclass(frozen=True)
class DensityConstants:
    """How a dataset's authors blur fixations; the recipe's ``density.preset`` names the dataset.

    Attributes
    ----------
    kernel : DensityKernel
        What one point adds.
    normalise : {'max', 'sum', 'none'}
        How a map is scaled.
    """

    kernel: DensityKernel
    normalise: Normalise = "max"


def gaussian(
    sigma_px: float, truncate_sigmas: float | None = None, *, binarise: bool = True
) -> DensityKernel:
    """Return a plain Gaussian.

    Parameters
    ----------
    sigma_px : float
        Standard deviation in source pixels.
    truncate_sigmas : float or None
        Distance in σ at which it is cut; None never cuts it.
    binarise : bool
        See `DensityKernel`.
    """
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
    """Convert a visual angle to pixels of the source video.

    Parameters
    ----------
    sigma_degrees : float
        Visual angle around the line of sight, in (0, 90).
    screen_width_px, screen_width_cm, viewing_distance_cm : float
        Geometry of the recording; screen pixels are taken to be square.
    video_px_per_screen_px : float
        Scale from screen to video: 640 / 1440 for a 640 px wide video that filled a 1440 px wide
        screen, 1 for a video shown pixel for pixel.

    Returns
    -------
    float
        ``2 d tan(angle / 2)`` on the screen, in video pixels.

    Raises
    ------
    RecipeError
        A value is not finite or not positive, or the angle is 90 degrees or more.
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
