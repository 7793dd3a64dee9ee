"""This module draws flow in the colours of the Middlebury wheel.

Source: Baker et al. 2011, ``colorcode.cpp``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNKNOWN_PX = 1e9
"""Larger or non-finite motion is unknown and drawn black."""

_TRANSITIONS = (
    (15, 0, 1, 1),
    (6, 1, 0, -1),
    (4, 1, 2, 1),
    (11, 2, 1, -1),
    (13, 2, 0, 1),
    (6, 0, 2, -1),
)


def color_wheel() -> NDArray[np.float32]:
    """Return the wheel's 55 colours: red, yellow, green, cyan, blue, magenta and back to red.

    Returns
    -------
    ndarray, float32 [55, 3]
        RGB in [0, 255].

    Notes
    -----
    Each arc keeps one channel at 255 and moves another by whole grey levels.
    """
    arcs = []
    for steps, full, moving, direction in _TRANSITIONS:
        ramp = np.floor(255 * np.arange(steps) / steps)
        arc = np.zeros((steps, 3))
        arc[:, full] = 255
        arc[:, moving] = ramp if direction > 0 else 255 - ramp
        arcs.append(arc)
    return np.concatenate(arcs).astype(np.float32)


_WHEEL = color_wheel() / np.float32(255)


def flow_to_color(flow: NDArray[np.float32], max_px: float | None = None) -> NDArray[np.uint8]:
    """Draw flow: direction as hue, magnitude as saturation.

    Parameters
    ----------
    flow : ndarray, float [..., height, width, 2]
        (u, v) in pixels; one field or a batch of any shape.
    max_px : float, optional
        Motion with full colour; faster motion is darker. None takes the largest motion of each
        image (the input of Koçak et al.'s GFSalNet).

    Returns
    -------
    ndarray, uint8 [..., height, width, 3]
        RGB; white for no motion, black for unknown motion.

    Raises
    ------
    ValueError
        `max_px` is not positive, or the last axis is not (u, v).
    """
    if max_px is not None and not max_px > 0:
        raise ValueError(f"max_px must be positive (or None for each image's own), got {max_px}")
    if flow.ndim < 3 or flow.shape[-1] != 2:
        raise ValueError(f"flow must be [..., height, width, 2], got {flow.shape}")
    fields = flow.reshape(-1, *flow.shape[-3:])
    images = np.empty((*fields.shape[:-1], 3), np.uint8)
    for one, image in zip(fields, images, strict=True):
        image[:] = _draw(one.astype(np.float32, copy=False), max_px)
    return images.reshape(*flow.shape[:-1], 3)


def _draw(flow: NDArray[np.float32], max_px: float | None) -> NDArray[np.uint8]:
    known = np.all(np.abs(flow) <= UNKNOWN_PX, axis=-1, keepdims=True)
    u, v = (np.where(known[..., 0], flow[..., axis], 0) for axis in (0, 1))
    radius = np.hypot(u, v)
    radius /= max_px or radius.max(initial=0.0) or 1.0
    place = (np.arctan2(-v, -u) / np.float32(np.pi) + 1) / 2 * (len(_WHEEL) - 1)
    first = place.astype(np.intp)
    share = (place - first)[..., None]
    hue = (1 - share) * _WHEEL[first] + share * _WHEEL[(first + 1) % len(_WHEEL)]
    radius = radius[..., None]
    color = np.where(radius <= 1, 1 - radius * (1 - hue), hue * 0.75)
    return np.asarray(255 * color * known, np.uint8)
