"""This module runs RAFT (Teed & Deng 2020) on consecutive frames, without results nobody uses.

ptlflow's ``raft.forward`` takes separate pairs: it runs the feature network twice on every frame,
and predicts and applies the upsampling mask after each of the 32 iterations although only the
last flow is returned. Here the feature network runs once per frame and only the last flow is
upsampled; every operation is the model's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def raft_flow(model: Any, frames: Tensor) -> Tensor:
    """Compute the flow of consecutive frames by ptlflow's ``raft`` or ``raft_small``.

    Parameters
    ----------
    model : ptlflow RAFT
        In evaluation mode.
    frames : Tensor, float [n + 1, 3, h, w]
        BGR in [0, 1]; each side has at least 128 px.

    Returns
    -------
    Tensor, float [n, 2, h, w]
        (u, v) in pixels.
    """
    from ptlflow.models.raft.corr import get_corr_block
    from ptlflow.models.raft.utils import upflow8

    images, resizer = model.preprocess_images(
        frames,
        bgr_add=-0.5,
        bgr_mult=2.0,
        bgr_to_rgb=True,
        resize_mode="pad",
        pad_mode="replicate",
        pad_two_side=True,
    )
    features = model.fnet(images)
    correlate = get_corr_block(
        fmap1=features[:-1],
        fmap2=features[1:],
        radius=model.corr_radius,
        num_levels=model.corr_levels,
        alternate_corr=model.alternate_corr,
    )
    context = model.cnet(images[:-1])
    hidden, given = torch.split(context, [model.hidden_dim, model.context_dim], dim=1)
    hidden, given = torch.tanh(hidden), torch.relu(given)

    block = model.update_block
    start, places = model.initialize_flow(images[:-1])
    for _ in range(model.iters):
        motion = block.encoder(places - start, correlate(places))
        hidden = block.gru(hidden, torch.cat([given, motion], dim=1))
        places = places + block.flow_head(hidden)
    flow = places - start
    if hasattr(block, "mask"):
        flow = model.upsample_flow(flow, 0.25 * block.mask(hidden))
    else:
        flow = upflow8(flow)
    up: Tensor = model.postprocess_predictions(flow, resizer, is_flow=True)
    return up
