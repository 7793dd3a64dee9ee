"""Frames whose motion is known: a smooth texture given by a formula, evaluated anywhere."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from numpy.typing import NDArray

needs_ptlflow = pytest.mark.skipif(
    find_spec("ptlflow") is None, reason="ptlflow is not installed: learned flow has no networks"
)


def panning_frames(
    frames: int, height: int, width: int, u: float, v: float, seed: int = 0
) -> NDArray[np.uint8]:
    """uint8 [frames, height, width, 3] in which every point moves by exactly (u, v) px a frame."""
    rng = np.random.default_rng(seed)
    wavelength_px = rng.uniform(7, 40, 40)
    angle, phase = rng.uniform(0, 2 * np.pi, (2, 40))
    tint = rng.uniform(0.5, 1.0, (40, 3))
    y, x = np.mgrid[:height, :width].astype(np.float64)
    clip = np.empty((frames, height, width, 3), np.uint8)
    for k in range(frames):
        along = np.cos(angle) * (x - u * k)[..., None] + np.sin(angle) * (y - v * k)[..., None]
        waves = np.cos(2 * np.pi * along / wavelength_px + phase)
        clip[k] = np.clip(127.5 + 12 * (waves @ tint), 0, 255).round()
    return clip
