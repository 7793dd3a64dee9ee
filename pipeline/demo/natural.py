"""Random scenes that look natural: pebbles that wander over a panning background."""

from __future__ import annotations

import numpy as np

from foveal.pipeline.demo.scene import TEXELS_PER_PX, Layer, Motion, Scene
from foveal.pipeline.demo.textures import GROUNDS, PEBBLES, body, ground


def natural_scene(
    rng: np.random.Generator,
    size: tuple[int, int],
    fps: float,
    frames: int,
    *,
    background: str = "meadow",
    objects: int = 4,
) -> Scene:
    """Draw a scene at random: a panning background and objects that cross it.

    Parameters
    ----------
    rng : Generator
    size : (height, width)
        Size of the picture in pixels; speeds and radii are proportional to the width.
    fps : float
        Frames per second.
    frames : int
        Length.
    background : str
        A key of `GROUNDS`.
    objects : int
        1 to 5; later ones are nearer and larger.

    Returns
    -------
    Scene
        The centres of all objects stay inside the picture.
    """
    if not 1 <= objects <= len(PEBBLES):
        raise ValueError(f"objects is {objects}; allowed: 1 to {len(PEBBLES)}")
    height, width = size
    angle = rng.uniform(0, 2 * np.pi)
    pan = Motion(
        centre_px=((width - 1) / 2, (height - 1) / 2),
        drift_px_per_second=(0.06 * width * np.cos(angle), 0.03 * width * np.sin(angle)),
        swing_px=(0.02 * width, 0.012 * width),
        swing_seconds=(rng.uniform(3, 4), rng.uniform(2.5, 3.5)),
        swing_phase=(rng.uniform(0, 6.28), rng.uniform(0, 6.28)),
        turn_radians=0.02,
        zoom=0.03,
        turn_seconds=rng.uniform(5, 7),
    )
    shape = _texels_to_cover(pan, size, frames / fps)
    colour = ground(rng, shape, GROUNDS[background])
    layers = [Layer(colour, np.ones(shape, np.float32), pan)]
    colours = rng.permutation(list(PEBBLES))
    for index in range(objects):
        radius = width * (0.055 + 0.05 * index / max(objects - 1, 1))
        colour, coverage = body(rng, radius * TEXELS_PER_PX, PEBBLES[colours[index]])
        layers.append(Layer(colour, coverage, _wandering(rng, size, index, objects), radius))
    return Scene(tuple(layers), height, width, fps, frames)


def _wandering(rng: np.random.Generator, size: tuple[int, int], index: int, objects: int) -> Motion:
    """Motion of an object whose path crosses those of others and stays inside the picture."""
    height, width = size
    swing = (rng.uniform(0.2, 0.3) * width, rng.uniform(0.14, 0.24) * height)
    column = 0.35 + 0.3 * ((index + 0.5) / objects)
    return Motion(
        centre_px=(column * width, rng.uniform(0.42, 0.58) * height),
        swing_px=swing,
        swing_seconds=(rng.uniform(5, 8), rng.uniform(3.5, 6)),
        swing_phase=(rng.uniform(0, 6.28), rng.uniform(0, 6.28)),
        turn_radians=rng.uniform(0.2, 0.6),
        zoom=rng.uniform(0.03, 0.1),
        turn_seconds=rng.uniform(3, 6),
    )


def _texels_to_cover(
    motion: Motion, size: tuple[int, int], duration_seconds: float
) -> tuple[int, int]:
    """Rows and columns of a texture that always covers the picture."""
    height, width = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) - 0.5
    reach = np.zeros(2)
    for seconds in np.linspace(0, duration_seconds + 0.1, 50):
        matrix = motion.matrix(seconds)
        seen = np.linalg.solve(matrix[:, :2], (corners - matrix[:, 2]).T)
        reach = np.maximum(reach, np.abs(seen).max(axis=1))
    columns, rows = np.ceil(TEXELS_PER_PX * 2 * (reach + 4)).astype(int)
    return int(rows), int(columns)
