"""Textures of the demo's scenes: noise of several octaves in natural colours, and soft pebbles."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_FINEST_WAVELENGTH_TEXELS = 5.0
"""Finest detail of a texture, well above the sampling limit, so that sub-pixel motion is clean."""

GROUNDS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "meadow": ((24, 38, 16), (58, 86, 30), (112, 128, 56), (168, 160, 98), (206, 198, 150)),
    "shore": ((32, 58, 74), (66, 110, 122), (146, 158, 142), (206, 190, 150), (232, 222, 196)),
    "autumn": ((36, 24, 20), (92, 56, 30), (150, 96, 46), (188, 140, 84), (146, 152, 140)),
}
"""Colours of backgrounds, from dark to light, RGB."""

PEBBLES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "brick": ((70, 22, 18), (152, 52, 36), (204, 104, 72), (236, 178, 146)),
    "cobalt": ((14, 24, 70), (36, 74, 150), (94, 146, 206), (206, 226, 242)),
    "saffron": ((96, 52, 8), (196, 122, 18), (236, 184, 58), (252, 236, 178)),
    "violet": ((44, 16, 62), (106, 48, 130), (170, 114, 186), (232, 206, 234)),
    "linen": ((72, 66, 60), (146, 136, 124), (210, 202, 190), (248, 244, 236)),
}
"""Colours of objects, from dark to light, RGB."""


def _fractal_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    coarsest_texels: float,
    *,
    roughness: float = 0.75,
    stretch: float = 1.0,
) -> NDArray[np.float32]:
    """Noise with detail at every scale: float32 [height, width], mean 0, standard deviation 1.

    The sum of octaves of random values, with cubic interpolation. Wavelengths are halved from
    `coarsest_texels` to the finest; amplitudes are wavelength ** `roughness`. Wavelengths along x
    are `stretch` times those along y.
    """
    height, width = shape
    noise = np.zeros(shape, np.float32)
    wavelength = coarsest_texels
    while True:
        rows = int(np.ceil(height / wavelength)) + 2
        columns = int(np.ceil(width / (wavelength * stretch))) + 2
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        noise += wavelength**roughness * cv2.resize(
            grid, (width, height), interpolation=cv2.INTER_CUBIC
        )
        if wavelength <= _FINEST_WAVELENGTH_TEXELS:
            break
        wavelength = max(wavelength / 2, _FINEST_WAVELENGTH_TEXELS)
    noise -= noise.mean()
    noise /= noise.std()
    return noise


def _coloured(values: NDArray[np.float32], palette: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Noise in colours, RGB in [0, 255]: -1.8 gives the palette's first colour, +1.8 its last."""
    stops = np.linspace(-1.8, 1.8, len(palette))
    channels = [np.interp(values, stops, channel) for channel in np.asarray(palette, float).T]
    return np.stack(channels, axis=-1).astype(np.float32)


def ground(
    rng: np.random.Generator, shape: tuple[int, int], palette: Sequence[Sequence[int]]
) -> NDArray[np.float32]:
    """Draw the texture of a background: patches of colour with fine structure and dark seams.

    `shape` is (height, width) in texels, `palette` the colours from dark to light.

    Returns
    -------
    ndarray, float32 [height, width, 3]
        RGB in [0, 255].
    """
    coarsest = max(shape) / 5
    patches = _fractal_noise(rng, shape, coarsest, roughness=0.8, stretch=1.6)
    seams = np.abs(_fractal_noise(rng, shape, coarsest / 3, roughness=0.7))
    grain = _fractal_noise(rng, shape, 4 * _FINEST_WAVELENGTH_TEXELS, roughness=0.4)
    light = 0.72 + 0.3 * np.minimum(seams / 0.6, 1) + 0.1 * grain
    return np.clip(_coloured(patches, palette) * light[..., None], 0, 255).astype(np.float32)


def body(
    rng: np.random.Generator, radius_texels: float, palette: Sequence[Sequence[int]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw the texture and coverage of an object: a rounded, shaded, veined pebble with a soft rim.

    `radius_texels` is the mean radius, `palette` the colours from dark to light.

    Returns
    -------
    colour : ndarray, float32 [side, side, 3]
        RGB in [0, 255].
    coverage : ndarray, float32 [side, side]
        1 inside, 0 outside, with a smooth rim about three texels wide; the object is in the centre.
    """
    half = int(np.ceil(1.35 * radius_texels)) + 4
    side = 2 * half + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    angle = np.arctan2(y, x)
    outline = np.ones_like(x)
    for waves in (2, 3, 4, 5):
        amplitude = rng.uniform(0.02, 0.3 / waves)
        outline += amplitude * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    depth = outline * radius_texels - np.hypot(x, y)  # texels inside the outline
    ramp = np.clip((depth + 1.5) / 3, 0, 1)
    coverage = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)

    rim = np.clip(depth / (0.75 * radius_texels), 0, 1)  # 0 on the outline, 1 well inside
    height = np.sqrt(1 - (1 - rim) ** 2)
    lit = 0.5 + 0.5 * height + 0.22 * (-x - y) / (1.41 * radius_texels)
    pattern = _fractal_noise(rng, (side, side), radius_texels / 1.5, roughness=0.5)
    veins = np.abs(_fractal_noise(rng, (side, side), radius_texels / 2, roughness=0.6))
    shade = np.clip(lit, 0.25, 1.25) * (0.7 + 0.3 * np.minimum(veins / 0.5, 1))
    colour = np.clip(_coloured(pattern, palette) * shade[..., None], 0, 255).astype(np.float32)
    return colour, coverage
