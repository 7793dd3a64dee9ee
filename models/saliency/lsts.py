"""This module defines LSTS-RGB, LSTS-Flow and LSTS-RGB&Flow (Öztürk): decoders of I3D features.

I3D is not trained. For each frame, a network reads the features of the window of 79 frames that
ends with it. No code was published: the output padding of the decoder is the only one that gives
360x640; channel counts and the last 3D kernel are this project's choice.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from foveal.errors import RecipeError
from foveal.models.saliency.base import DARK_LOGIT, SaliencyNetwork, State, check_choice, scaled
from foveal.models.saliency.spec import Input, Schedule, Spec, Training

PAPER = "Öztürk, LSTS"
I3D_CHANNELS = 1024

DECODER = (
    ((3, 3), (1, 1), (2, 2), (1, 1)),
    ((4, 3), (1, 1), (3, 2), (1, 1)),
    ((1, 3), (0, 1), (1, 2), (0, 1)),
    ((4, 3), (1, 1), (3, 2), (1, 1)),
    ((1, 3), (0, 1), (1, 2), (0, 1)),
    ((3, 3), (1, 1), (2, 2), (1, 1)),
    ((3, 3), (1, 1), (2, 2), (1, 1)),
)
"""Kernel, padding, stride and output padding of each layer, over (height, width)."""

UPSCALING = (72, 128)
"""Product of the decoder's strides: a 5x5 grid of features becomes 360x640."""

STREAMS: dict[str, tuple[str, ...]] = {
    "rgb": ("i3d_rgb",),
    "flow": ("i3d_flow",),
    "rgb_flow": ("i3d_rgb", "i3d_flow"),
}
"""Inputs of each network."""

EPOCHS = {"rgb": 10, "flow": 2, "rgb_flow": 1}
"""Epochs of training in the paper."""


class LSTS(SaliencyNetwork):
    """A 3D convolution over the window's time, then seven deconvolutions to the map.

    Parameters
    ----------
    streams : {"rgb", "flow", "rgb_flow"}
        Which features it reads; both are concatenated on channels.
    feature_shape : (int, int, int)
        (time, height, width) of the features: (5, 5, 5) as pooled in the paper, (8, 5, 5) or
        (10, 7, 7) for other poolings. The last 3D kernel covers the whole time, and the output is
        72 times as high and 128 times as wide.
    feature_channels : int
        Channels of the features of one stream.
    channels : tuple of seven int
        Channels before each deconvolution; the last one makes the map.
    literal_schedule : bool
        Whether the learning rate is halved after every 50 iterations, as the paper says. With
        249,497 windows in batches of 128, an epoch has 1,949 iterations; after 500 of them the rate
        is a thousandth. False keeps it constant, and so does the setting ``schedule: constant``.
    width : float
        Factor on `channels`.
    name : str
        Registered name.
    """

    def __init__(
        self,
        *,
        streams: str = "rgb",
        feature_shape: tuple[int, int, int] = (5, 5, 5),
        feature_channels: int = I3D_CHANNELS,
        channels: tuple[int, ...] = (512, 256, 128, 64, 32, 16, 8),
        literal_schedule: bool = True,
        width: float = 1.0,
        name: str = "lsts",
    ) -> None:
        super().__init__()
        check_choice(name, "streams", streams, tuple(STREAMS))
        if len(channels) != len(DECODER) or len(feature_shape) != 3:
            raise RecipeError(
                f"{name}: channels needs {len(DECODER)} entries and feature_shape "
                f"(time, height, width), got {tuple(channels)} and {tuple(feature_shape)}"
            )
        time, height, width_cells = (int(side) for side in feature_shape)
        kinds = STREAMS[streams]
        widths = [scaled(count, width) for count in channels] + [1]
        self.fuse = nn.Conv3d(feature_channels * len(kinds), widths[0], (time, 1, 1))
        self.decoder = nn.Sequential()
        for layer, (kernel, padding, stride, output_padding) in enumerate(DECODER):
            self.decoder.append(
                nn.ConvTranspose2d(
                    widths[layer], widths[layer + 1], kernel, stride, padding, output_padding
                )
            )
            if layer < len(DECODER) - 1:
                self.decoder.extend([nn.BatchNorm2d(widths[layer + 1]), nn.ReLU()])
        nn.init.constant_(self.decoder.get_parameter(f"{len(self.decoder) - 1}.bias"), DARK_LOGIT)
        shape = (feature_channels, time, height, width_cells)
        self.spec = Spec(
            name=name,
            paper=PAPER,
            inputs=tuple(
                Input(kind, shape, "none", flow_method="tvl1" if kind == "i3d_flow" else None)
                for kind in kinds
            ),
            output_size=(UPSCALING[0] * height, UPSCALING[1] * width_cells),
            training=Training(
                loss="mse",
                optimiser="rmsprop",
                learning_rate=1e-4,
                weight_decay=5e-5,
                batch_size=128,
                epochs=EPOCHS[streams],
                schedule=Schedule(0.5, 50, "iteration") if literal_schedule else None,
            ),
            options={
                "feature_shape": [time, height, width_cells],
                "feature_channels": feature_channels,
                "channels": list(channels),
                "literal_schedule": literal_schedule,
                "width": width,
            },
        )

    def _saliency(self, tensors: list[Tensor], state: State | None) -> tuple[Tensor, State | None]:
        batch, time = tensors[0].shape[:2]
        features = torch.cat(tensors, dim=2)
        fused = self.fuse(features.flatten(0, 1)).relu().squeeze(2)  # [n, 512, 5, 5]
        logits = self.decoder(fused)
        return logits.float().sigmoid().view(batch, time, *self.spec.output_size), None


lsts_rgb = partial(LSTS, streams="rgb")
lsts_flow = partial(LSTS, streams="flow")
lsts_rgb_flow = partial(LSTS, streams="rgb_flow")
