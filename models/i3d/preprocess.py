"""This module prepares frames and flow as in the towers' training: 224 x 224, values in [-1, 1].

There are two ways:

``lsts``
    Resize the whole frame to the network's size, without a crop (Öztürk's LSTS). Flow is resized
    in the same way, and its vectors are scaled.
``deepmind``
    Resize the shorter side to 256 (for a network size of 224; in proportion for other sizes), then
    crop the centre (Carreira & Zisserman 2017, ``kinetics-i3d`` README).

RGB becomes x / 127.5 - 1; flow is clipped to ±20 px and divided by 20. Resizing is bilinear with
half-pixel centres and without antialiasing, as in ``cv2.INTER_LINEAR`` and ``tf.image``, but
without rounding to whole grey levels in between.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from foveal.models.i3d.layers import Tower

Preprocessing = Literal["lsts", "deepmind", "none"]
"""How frames or flow are prepared."""

FLOW_CLIP_PX = 20.0
"""Largest absolute flow component in pixels."""

DEEPMIND_SHORT_SIDE = 256 / 224
"""Length of the resized shorter side, relative to the network's size."""


def preprocess(
    values: Tensor,
    tower: Tower,
    how: Preprocessing,
    size: tuple[int, int],
    scale_flow_on_resize: bool = True,
) -> Tensor:
    """Prepare frames or flow for a tower.

    Parameters
    ----------
    values : Tensor [n, h, w, 3 or 2]
        RGB, 0 … 255 in any dtype; or flow (u, v) in pixels of its own grid.
    tower : {"rgb", "flow"}
        What the values are.
    how : {"lsts", "deepmind", "none"}
        ``none`` takes values that are already prepared and have the right size.
    size : (height, width)
        Input size of the network, e.g. (224, 224).
    scale_flow_on_resize : bool
        Multiply u and v by the resize factors, so that they stay pixels of the new grid.

    Returns
    -------
    Tensor, float32 [n, height, width, 3 or 2]
        Values in [-1, 1].

    Raises
    ------
    ValueError
        `how` is ``none`` and the values have another size.
    """
    x = values.float()
    if how == "none":
        if tuple(x.shape[1:3]) != size:
            raise ValueError(f"prepared frames must be {size}, got {tuple(x.shape[1:3])}")
        return x
    height, width = x.shape[1:3]
    if how == "deepmind":
        factor = max(size) * DEEPMIND_SHORT_SIDE / min(height, width)
        resized = (round(height * factor), round(width * factor))
    else:
        resized = size
    if resized != (height, width):
        x = F.interpolate(
            x.permute(0, 3, 1, 2), resized, mode="bilinear", align_corners=False, antialias=False
        ).permute(0, 2, 3, 1)
        if tower == "flow" and scale_flow_on_resize:
            x = x * x.new_tensor([resized[1] / width, resized[0] / height])
    top, left = (resized[0] - size[0]) // 2, (resized[1] - size[1]) // 2
    x = x[:, top : top + size[0], left : left + size[1]]
    if tower == "flow":
        return x.clamp(-FLOW_CLIP_PX, FLOW_CLIP_PX) / FLOW_CLIP_PX
    return x / 127.5 - 1.0
