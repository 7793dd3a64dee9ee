"""Encode the array of one frame as the content of a file that other programs read."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError
from foveal.models.flow.color import UNKNOWN_PX, flow_to_color

_KITTI_STEPS_PER_PX = 64.0
_KITTI_ZERO = 2**15


def picture_file(image: NDArray[np.uint8], suffix: str, quality: int = 95) -> bytes:
    """Encode `image`, uint8 grey or RGB, in the format `suffix`: ``png`` (exact) or ``jpg``.

    `quality` of ``jpg`` is 1 to 100.
    """
    shown = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return _encoded(shown, suffix, [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == "jpg" else [])


def flo_file(flow: NDArray[Any]) -> bytes:
    """Encode `flow` [height, width, 2] as Middlebury's ``.flo`` (Baker et al. 2011).

    Values are float32; unknown motion is 1e10.
    """
    height, width = flow.shape[:2]
    flow = flow.astype("<f4")
    values = np.where(_known(flow)[..., None], flow, np.float32(1e10))
    return struct.pack("<fii", 202021.25, width, height) + values.astype("<f4").tobytes()


def kitti_file(flow: NDArray[Any]) -> bytes:
    """Encode `flow` [height, width, 2] as KITTI's 16-bit PNG (Menze and Geiger 2015).

    Red is 64 u + 2^15, green is 64 v + 2^15, so steps are 1/64 px, up to 512 px; blue is 1 where
    the motion is known and fits.
    """
    flow = flow.astype(np.float32)
    steps = np.rint(flow * _KITTI_STEPS_PER_PX) + _KITTI_ZERO
    fits = _known(flow) & ((steps >= 0) & (steps < 2**16)).all(axis=-1)
    image = np.zeros((*flow.shape[:2], 3), np.uint16)
    image[..., 0] = fits
    image[..., 1] = np.where(fits, steps[..., 1], 0)
    image[..., 2] = np.where(fits, steps[..., 0], 0)
    return _encoded(image, "png", [])


def density_file(density: NDArray[Any]) -> bytes:
    """Encode `density` [height, width] as a grey PNG with its peak at 255, as DHF1K's maps.

    Zero is black, or the smallest value where there are negative ones; uint8 is not changed.
    """
    if density.dtype != np.uint8:
        density = np.nan_to_num(density.astype(np.float32))
        density = density - min(float(density.min(initial=0.0)), 0.0)
        peak = float(density.max(initial=0.0))
        density = np.rint(density * (255 / peak if peak > 0 else 0.0)).astype(np.uint8)
    return picture_file(density, "png")


def fixation_file(
    x: NDArray[np.float32], y: NDArray[np.float32], source_size: tuple[int, int]
) -> bytes:
    """Encode the pixels `x` and `y` (from 0) as a binary PNG (0, 255) of `source_size`."""
    height, width = source_size
    image = np.zeros(source_size, np.uint8)
    rows = np.clip(np.rint(y).astype(int), 0, height - 1)
    image[rows, np.clip(np.rint(x).astype(int), 0, width - 1)] = 255
    return picture_file(image, "png")


def npy_file(values: NDArray[Any]) -> bytes:
    """Encode `values` as ``.npy``."""
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    return content.getvalue()


FLOW_FILES: dict[str, tuple[str, Callable[[NDArray[Any], float], bytes]]] = {
    "flo": ("flo", lambda flow, max_px: flo_file(flow)),
    "kitti": ("png", lambda flow, max_px: kitti_file(flow)),
    "color": ("png", lambda flow, max_px: picture_file(_coloured(flow, max_px), "png")),
}
"""Suffix and encoder of each form of flow; the second argument is the motion of full colour."""


def _coloured(flow: NDArray[Any], max_px: float) -> NDArray[np.uint8]:
    return flow_to_color(flow.astype(np.float32), max_px)


def _known(flow: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((np.abs(flow) <= UNKNOWN_PX).all(axis=-1))


def _encoded(image: NDArray[Any], suffix: str, options: Sequence[int]) -> bytes:
    done, content = cv2.imencode(f".{suffix}", image, list(options))
    if not done:
        raise FovealError(f"OpenCV cannot write {image.dtype} {image.shape} as {suffix}")
    return bytes(content)
