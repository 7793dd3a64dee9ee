"""A dataset in which only motion shows where people look.

Each clip shows the same pebble twice on a still background. One pebble moves, and all observers
follow it. A single frame does not show which one it is; two frames do. The files have the layout of
DHF1K, so that a store is built from them as from a real dataset.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foveal.errors import FovealError
from foveal.pipeline.demo.layout import write_gaze
from foveal.pipeline.demo.observers import observe
from foveal.pipeline.demo.scene import TEXELS_PER_PX, Layer, Motion, Scene, render_scene
from foveal.pipeline.demo.textures import GROUNDS, PEBBLES, body, ground
from foveal.pipeline.video.encode import encode_video

FPS = 30
"""Frames per second of the clips."""

_FIRST_VAL = 601
"""DHF1K's numbering: 1-600 train, 601-700 val."""


def write_moving_target(
    root: Path,
    seed: int = 0,
    *,
    train_clips: int = 12,
    val_clips: int = 4,
    frames: int = 40,
    size: tuple[int, int] = (96, 128),
    observers: int = 5,
) -> None:
    """Write the dataset into a new folder.

    Parameters
    ----------
    root : Path
    seed : int
        The same seed gives the same scenes and gaze.
    train_clips, val_clips : int
        Number of clips of each split.
    frames : int
        Length of each clip, at `FPS`.
    size : (height, width)
        Size of the videos, even numbers.
    observers : int
        Number of observers.

    Raises
    ------
    FovealError
        `root` exists and is not empty, or ffmpeg failed.
    MissingDependency
        No ffmpeg is found.
    """
    if root.exists() and any(root.iterdir()):
        raise FovealError(f"{root} is not empty; name a new folder for the moving-target dataset")
    (root / "video").mkdir(parents=True, exist_ok=True)
    for number in (*range(1, train_clips + 1), *range(_FIRST_VAL, _FIRST_VAL + val_clips)):
        rng = np.random.default_rng([seed, number])
        scene = _scene(rng, size, frames)
        images = (frame.image for frame in render_scene(scene))
        encode_video(images, root / "video" / f"{number:03d}.AVI", FPS)
        background, _, mover = scene.layers
        watched = Scene((background, mover), *size, FPS, frames)
        for index in range(observers):
            recording = observe(watched, np.random.default_rng([seed, number, index]))
            write_gaze(root, number, f"P{index + 1:02d}", recording, start_us=10**10)


def _scene(rng: np.random.Generator, size: tuple[int, int], frames: int) -> Scene:
    """Layers from back to front: still background, still pebble, and the same pebble in motion.

    Both pebbles get a random path, one in the left half and one in the right. One path is then
    frozen at a random moment, so that a single frame does not show which pebble moves.
    """
    height, width = size
    radius = 0.09 * width
    ways = [
        Motion(
            centre_px=(rng.uniform(*columns) * width, rng.uniform(0.34, 0.66) * height),
            swing_px=(0.08 * width, 0.2 * height),
            swing_seconds=(rng.uniform(1.0, 1.4), rng.uniform(1.2, 1.8)),
            swing_phase=(rng.uniform(0, 6.28), rng.uniform(0, 6.28)),
        )
        for columns in ((0.2, 0.34), (0.66, 0.8))
    ]
    moves = int(rng.integers(2))
    x, y = ways[1 - moves].position(rng.uniform(0, 10, 1))[0]
    shape = (TEXELS_PER_PX * (height + 8), TEXELS_PER_PX * (width + 8))
    colour = ground(rng, shape, GROUNDS[str(rng.choice(list(GROUNDS)))])
    pebble, coverage = body(rng, radius * TEXELS_PER_PX, PEBBLES[str(rng.choice(list(PEBBLES)))])
    layers = (
        Layer(
            colour,
            np.ones(shape, np.float32),
            Motion(centre_px=((width - 1) / 2, (height - 1) / 2)),
        ),
        Layer(pebble, coverage, Motion(centre_px=(float(x), float(y))), radius),
        Layer(pebble, coverage, ways[moves], radius),
    )
    return Scene(layers, height, width, FPS, frames)
