"""This module defines the 62 layers that SalBCE, SalEMA and SalCLSTM share.

They are VGG-16 without its last pool, then its mirror image with nearest upsampling: the generator
of SalGAN, with the layer numbers of the release of Linardos et al. 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foveal.models.saliency.base import DARK_LOGIT, scaled

BOTTLENECK = 30
"""Index of the first layer of the decoder."""

ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the 3x3 convolutions, each with ReLU; max pooling between the groups."""

DECODER = ((512, 512, 512), (512, 512, 512), (256, 256, 256), (128, 128), (64, 64))
"""Channels of the 3x3 convolutions, each with ReLU; upsampling between the groups."""

_PIXEL_SCALE = 64.0
"""Approximate deviation of pixels 0 … 255."""


def salgan_layers(width: float = 1.0) -> nn.Sequential:
    """Build the 62 layers, indices 0 … 61, from pixels of `bgr_mean` to saliency 0 … 1.

    Random weights are He-normal. The first layer is divided by the scale of its input; the last one
    is small, with a bias for mostly dark maps. (The released code never trains from scratch; from
    saturated or grey maps, the first steps would make units of the last layers zero for ever.)

    Parameters
    ----------
    width : float
        Factor on all channel counts.
    """
    layers: list[nn.Module] = []
    channels = 3
    for groups, between in ((ENCODER, nn.MaxPool2d(2)), (DECODER, nn.Upsample(scale_factor=2))):
        for index, group in enumerate(groups):
            if index > 0:
                layers.append(between)
            for step in group:
                out_channels = scaled(step, width)
                layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.ReLU()]
                channels = out_channels
    layers += [nn.Conv2d(channels, 1, 1), nn.Sigmoid()]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    for convolution in convolutions:
        assert convolution.bias is not None
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        last = convolution is convolutions[-1]
        nn.init.constant_(convolution.bias, DARK_LOGIT if last else 0)
    with torch.no_grad():
        convolutions[0].weight /= _PIXEL_SCALE
        convolutions[-1].weight /= 10
    return nn.Sequential(*layers)


def run_layers(layers: nn.Sequential, x: Tensor, start: int, stop: int) -> Tensor:
    """Run layers [`start`, `stop`) of `layers` on `x`; the sigmoid always computes in float32."""
    for layer in layers[start:stop]:
        x = layer(x.float() if isinstance(layer, nn.Sigmoid) else x)
    return x
