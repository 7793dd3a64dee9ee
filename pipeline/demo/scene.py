"""Scenes whose motion is known exactly: textured layers that drift, turn, and hide each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import cv2
import numpy as np
from numpy.typing import NDArray

TEXELS_PER_PX = 2
"""Textures are finer than the picture, so that bilinear sampling keeps sub-pixel motion."""

_SOFT_EDGE = (0.02, 0.98)
"""Coverage between these bounds counts as a mixture of two layers."""


@dataclass(frozen=True)
class Motion:
    """Smooth motion of a layer: a constant drift plus a swing, a turn and a zoom.

    A point q of the layer (pixels from its centre) is seen at ``matrix(t) @ (q, 1)``, in pixels of
    the picture counted from 0.

    Attributes
    ----------
    centre_px : (x, y)
        Position of the layer's centre at time 0, without swing.
    drift_px_per_second : (x, y)
        Constant velocity.
    swing_px, swing_seconds, swing_phase : (x, y)
        Amplitude, period and phase (radians) of a sine along each axis.
    turn_radians, zoom : float
        Amplitudes of a sine of period `turn_seconds` in angle and in log scale.
    turn_seconds : float
        Period of the turn and of the zoom.
    """

    centre_px: tuple[float, float]
    drift_px_per_second: tuple[float, float] = (0.0, 0.0)
    swing_px: tuple[float, float] = (0.0, 0.0)
    swing_seconds: tuple[float, float] = (1.0, 1.0)
    swing_phase: tuple[float, float] = (0.0, 0.0)
    turn_radians: float = 0.0
    zoom: float = 0.0
    turn_seconds: float = 1.0

    def matrix(self, seconds: float) -> NDArray[np.float64]:
        """Compute the affine map from layer to picture at a time in `seconds`: float64 [2, 3]."""
        centre = [
            c + v * seconds + a * np.sin(2 * np.pi * seconds / period + phase)
            for c, v, a, period, phase in zip(
                self.centre_px,
                self.drift_px_per_second,
                self.swing_px,
                self.swing_seconds,
                self.swing_phase,
                strict=True,
            )
        ]
        wave = np.sin(2 * np.pi * seconds / self.turn_seconds)
        scale = np.exp(self.zoom * wave)
        cosine = scale * np.cos(self.turn_radians * wave)
        sine = scale * np.sin(self.turn_radians * wave)
        return np.array([[cosine, -sine, centre[0]], [sine, cosine, centre[1]]])

    def position(
        self, seconds: NDArray[np.float64], offset_px: tuple[float, float] = (0.0, 0.0)
    ) -> NDArray[np.float64]:
        """Locate the point `offset_px` of the layer at some `seconds`: float64 [n, 2], (x, y)."""
        point = np.array([*offset_px, 1.0])
        return np.array([self.matrix(t) @ point for t in seconds]).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class Layer:
    """A textured sheet that moves.

    Attributes
    ----------
    colour : ndarray, float32 [rows, columns, 3]
        RGB in [0, 255], `TEXELS_PER_PX` texels per pixel.
    coverage : ndarray, float32 [rows, columns]
        1 where the layer is opaque, 0 where it is transparent.
    motion : Motion
        Motion of the texture's centre.
    radius_px : float
        Radius of the layer's body; infinite for a background.
    """

    colour: NDArray[np.float32]
    coverage: NDArray[np.float32]
    motion: Motion
    radius_px: float = np.inf
    _premultiplied: NDArray[np.float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        alpha = self.coverage[..., None]
        object.__setattr__(self, "_premultiplied", np.dstack([self.colour * alpha, alpha]))

    def render(
        self, seconds: float, height_px: int, width_px: int
    ) -> tuple[NDArray[np.float32], tuple[slice, slice]]:
        """Draw the layer as seen at a time, in the part of the picture that it reaches.

        Parameters
        ----------
        seconds : float
            The time.
        height_px, width_px : int
            Size of the picture.

        Returns
        -------
        seen : ndarray, float32 [rows, columns, 4]
            RGB times coverage, and coverage.
        place : (slice, slice)
            Rows and columns of the picture that `seen` belongs to.
        """
        rows, columns = self.coverage.shape
        matrix = self.motion.matrix(seconds)
        matrix[:, :2] /= TEXELS_PER_PX
        matrix[:, 2] -= matrix[:, :2] @ ((columns - 1) / 2, (rows - 1) / 2)
        corners = np.array([[0, columns, 0, columns], [0, 0, rows, rows], [1, 1, 1, 1]])
        reached = matrix @ corners
        left, top = np.clip(np.floor(reached.min(axis=1)).astype(int), 0, (width_px, height_px))
        right, bottom = np.clip(np.ceil(reached.max(axis=1)).astype(int), 0, (width_px, height_px))
        place = (slice(top, bottom), slice(left, right))
        if right <= left or bottom <= top:
            return np.zeros((max(bottom - top, 0), max(right - left, 0), 4), np.float32), place
        matrix[:, 2] -= (left, top)
        seen = cv2.warpAffine(
            self._premultiplied, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR
        )
        return np.asarray(seen, np.float32), place


@dataclass(frozen=True, eq=False)
class Scene:
    """Layers from back to front, seen through a fixed window.

    Attributes
    ----------
    layers : tuple of Layer
        Layer 0 is the background and covers the window at all times.
    height_px, width_px : int
        Size of the picture.
    fps : float
        Frames per second.
    frames : int
        Length.
    """

    layers: tuple[Layer, ...]
    height_px: int
    width_px: int
    fps: float
    frames: int


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """One frame of a scene and its true motion to the next frame.

    Attributes
    ----------
    image : ndarray, uint8 [height, width, 3]
        RGB.
    layer : ndarray, uint8 [height, width]
        Index of the front-most layer in the scene.
    flow : ndarray, float32 [height, width, 2]
        (u, v): pixels by which this point moves right and down until the next frame.
    occluded : ndarray, bool [height, width]
        The point leaves the picture or goes behind a nearer layer by the next frame.
    mixed : ndarray, bool [height, width]
        Two layers mix here (soft edge), or at the position of the point in the next frame.
    """

    image: NDArray[np.uint8]
    layer: NDArray[np.uint8]
    flow: NDArray[np.float32]
    occluded: NDArray[np.bool_]
    mixed: NDArray[np.bool_]

    def every(self, stride: int) -> RenderedFrame:
        """Copy every `stride`-th pixel along both axes; motion stays in pixels of the frame."""
        arrays = (getattr(self, each.name) for each in fields(self))
        return RenderedFrame(*(array[::stride, ::stride].copy() for array in arrays))


def render_scene(scene: Scene) -> Iterator[RenderedFrame]:
    """Draw the frames of `scene` in order, each with the true motion to the next.

    The motion of the last frame leads to a frame that is not drawn; drop it where pairs are wanted.
    """
    image, coverage = _composite(scene, 0)
    for frame in range(scene.frames):
        next_image, next_coverage = _composite(scene, frame + 1)
        layer = _front_most(coverage)
        flow = _true_flow(scene, frame, layer)
        occluded, mixed = _visibility(layer, flow, coverage, next_coverage)
        yield RenderedFrame(image, layer, flow, occluded, mixed)
        image, coverage = next_image, next_coverage


def _composite(scene: Scene, frame: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Picture of a frame and the coverage of every layer, float32 [layers, height, width]."""
    picture = np.zeros((scene.height_px, scene.width_px, 3), np.float32)
    coverage = np.zeros((len(scene.layers), scene.height_px, scene.width_px), np.float32)
    for index, layer in enumerate(scene.layers):
        seen, place = layer.render(frame / scene.fps, scene.height_px, scene.width_px)
        coverage[index][place] = seen[..., 3]
        picture[place] = picture[place] * (1 - seen[..., 3:]) + seen[..., :3]
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), coverage


def _front_most(coverage: NDArray[np.float32]) -> NDArray[np.uint8]:
    layer = np.zeros(coverage.shape[1:], np.uint8)
    for index in range(1, len(coverage)):
        layer[coverage[index] >= 0.5] = index
    return layer


def _true_flow(scene: Scene, frame: int, layer: NDArray[np.uint8]) -> NDArray[np.float32]:
    y, x = np.mgrid[: scene.height_px, : scene.width_px].astype(np.float64)
    flow = np.empty((*layer.shape, 2), np.float32)
    for index, sheet in enumerate(scene.layers):
        here = np.vstack([sheet.motion.matrix(frame / scene.fps), [0, 0, 1]])
        there = np.vstack([sheet.motion.matrix((frame + 1) / scene.fps), [0, 0, 1]])
        step = there @ np.linalg.inv(here) - np.eye(3)
        mine = layer == index
        for axis in (0, 1):
            a, b, c = step[axis]
            flow[mine, axis] = a * x[mine] + b * y[mine] + c
    return flow


def _visibility(
    layer: NDArray[np.uint8],
    flow: NDArray[np.float32],
    coverage: NDArray[np.float32],
    next_coverage: NDArray[np.float32],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    height, width = layer.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    there_x, there_y = x + flow[..., 0], y + flow[..., 1]
    occluded = (there_x < 0) | (there_x > width - 1) | (there_y < 0) | (there_y > height - 1)
    mixed = np.zeros_like(occluded)
    for index in range(1, len(coverage)):
        later = cv2.remap(next_coverage[index], there_x, there_y, cv2.INTER_LINEAR)
        occluded |= (later >= 0.5) & (layer < index)
        for alpha in (coverage[index], later):
            mixed |= (alpha > _SOFT_EDGE[0]) & (alpha < _SOFT_EDGE[1]) & (layer <= index)
    return occluded, mixed
