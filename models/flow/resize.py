"""This module resizes flow; vectors are in pixels of their own grid, so they are scaled with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def resize_flow(
    flow: NDArray[np.float32], size: tuple[int, int], *, scale_flow_on_resize: bool = True
) -> NDArray[np.float32]:
    """Resize flow to another grid.

    Parameters
    ----------
    flow : ndarray, float32 [n, height, width, 2]
        (u, v) in pixels of its own grid.
    size : (height, width)
        The new grid.
    scale_flow_on_resize : bool
        Multiply u by new / old width and v by new / old height.

    Returns
    -------
    ndarray, float32 [n, *size, 2]
        Averaged over areas if both sides shrink, else bilinear (half-pixel centres); `flow` itself
        if it has the size. A non-finite vector makes every vector it is mixed into non-finite.
    """
    height, width = flow.shape[1:3]
    if (height, width) == tuple(size):
        return flow
    import cv2

    shrinks = size[0] <= height and size[1] <= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = np.empty((len(flow), *size, 2), np.float32)
    for source, target in zip(flow, resized, strict=True):
        target[:] = cv2.resize(source, (size[1], size[0]), interpolation=how)
    if scale_flow_on_resize:
        resized *= np.array([size[1] / width, size[0] / height], np.float32)
    return resized
