"""This module defines GFSalNet (Koçak, Erdem & Erdem 2021): two ResNet-50 streams and a gate.

The spatial stream sees the frame, the temporal one a picture of the motion; the gate mixes both
pixel by pixel. Only a figure of the network was published; kernel sizes and channel counts are this
project's choice.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.models.saliency.base import (
    Inner,
    SaliencyNetwork,
    State,
    check_choice,
    check_size,
    scaled,
)
from foveal.models.saliency.resnet import ResNet50
from foveal.models.saliency.spec import Input, Schedule, Spec, Training
from foveal.models.strict_loading import load_strictly

PAPER = "Koçak, Erdem & Erdem, A gated fusion network for dynamic saliency prediction"
READS = {"spatial": "frame", "temporal": "flow_image"}
"""Input of each stream."""


class SpatialAttention(nn.Module):
    """Multiply all channels by one map: 1x1 convolution, sigmoid.

    Parameters
    ----------
    channels : int
        Channels of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [n, channels, h, w] to the same shape."""
        attended: Tensor = x * self.score(x).sigmoid()
        return attended


class ChannelAttention(nn.Module):
    """Multiply each channel by one number: global average, two layers with ReLU.

    The first layer has `reduction` times fewer units than there are channels.
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, max(1, channels // reduction))
        self.excite = nn.Linear(max(1, channels // reduction), channels)
        nn.init.ones_(self.excite.bias)  # starts near the identity; ReLU could start all at zero

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [n, channels, h, w] to the same shape."""
        weights = self.excite(self.squeeze(x.mean(dim=(2, 3))).relu()).relu()
        attended: Tensor = x * weights[:, :, None, None]
        return attended


class Stream(nn.Module):
    """One stream, from picture to saliency.

    Parameters
    ----------
    spatial_attention, multi_level, channel_attention : bool
        False leaves a part of the stream out, as in the paper's ablation.
    width : float
        Factor on all channel counts.
    """

    def __init__(
        self, spatial_attention: bool, multi_level: bool, channel_attention: bool, width: float
    ) -> None:
        super().__init__()
        self.backbone = ResNet50(width)
        c1, c2, c3, c4 = self.backbone.stage_channels
        wide, mid, narrow = scaled(256, width), scaled(64, width), scaled(32, width)
        half = scaled(128, width)
        self.spatial_attention = SpatialAttention(c4) if spatial_attention else nn.Identity()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(c4, wide, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(wide, mid, 8, stride=4, padding=2),
            nn.ReLU(),
        )
        self.levels: nn.ModuleList | None = None
        if multi_level:
            self.levels = nn.ModuleList(
                [
                    nn.Conv2d(c4 + c3, wide, 1),
                    nn.Conv2d(wide + c2, half, 1),
                    nn.Conv2d(half + c1, mid, 1),
                ]
            )
            self.detail = nn.Sequential(
                nn.ConvTranspose2d(mid, mid, 3, padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(mid, narrow, 3, padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(narrow, narrow, 3, padding=1),
                nn.ReLU(),
            )
        joined = mid + narrow if multi_level else mid
        self.channel_attention = ChannelAttention(joined) if channel_attention else nn.Identity()
        self.out = nn.ConvTranspose2d(joined, 1, 8, stride=4, padding=2)
        for module in (*self.main, *(self.detail if multi_level else ())):
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.weight.abs_()  # a ReLU that starts at 0 everywhere would never learn

    def forward(self, pictures: Tensor) -> Tensor:
        """Map `pictures` [n, 3, h, w] to saliency [n, 1, h, w], not negative."""
        stages = self.backbone(pictures)
        deepest = self.spatial_attention(stages[-1])  # [n, 2048, h/32, w/32]
        x = self.main(deepest)  # [n, 64, h/4, w/4]
        if self.levels is not None:
            level = deepest
            for fuse, stage in zip(self.levels, reversed(stages[:-1]), strict=True):
                upsampled = functional.interpolate(
                    level, size=stage.shape[2:], mode="bilinear", align_corners=False
                )
                level = fuse(torch.cat([upsampled, stage], dim=1))
            x = torch.cat([x, self.detail(level)], dim=1)  # [n, 96, h/4, w/4]
        saliency: Tensor = self.out(self.channel_attention(x)).relu()
        return saliency


class GFSalNet(SaliencyNetwork):
    """Both streams and their gate ``P``: ``S_spatial P + S_temporal (1 - P)``.

    Parameters
    ----------
    streams : {"both", "spatial", "temporal"}
        Which streams.
    fusion : {"gated", "conv1x1"}
        How both streams are mixed; ``conv1x1`` (then ReLU) is the ablation without the gate.
    spatial_attention, multi_level, channel_attention : bool
        Parts of each stream.
    input_size : (int, int)
        (height, width) in pixels, multiples of 32; also the output's size.
    width : float
        Factor on all channel counts.
    name : str
        Registered name.
    """

    def __init__(
        self,
        *,
        streams: str = "both",
        fusion: str = "gated",
        spatial_attention: bool = True,
        multi_level: bool = True,
        channel_attention: bool = True,
        input_size: tuple[int, int] = (480, 640),
        width: float = 1.0,
        name: str = "gfsalnet",
    ) -> None:
        super().__init__()
        check_choice(name, "streams", streams, ("both", "spatial", "temporal"))
        check_choice(name, "fusion", fusion, ("gated", "conv1x1"))
        height, input_width = check_size(name, input_size, 32)
        used = ("spatial", "temporal") if streams == "both" else (streams,)
        self.streams = nn.ModuleDict(
            {
                stream: Stream(spatial_attention, multi_level, channel_attention, width)
                for stream in used
            }
        )
        self.fusion = fusion
        self.mix: nn.Conv2d | None = nn.Conv2d(2, 1, 1) if streams == "both" else None
        if self.mix is not None and fusion == "conv1x1":
            assert self.mix.bias is not None
            nn.init.constant_(self.mix.weight, 0.5)  # starts as the mean, which is never all zero
            nn.init.zeros_(self.mix.bias)
        shape = (3, height, input_width)
        self.spec = Spec(
            name=name,
            paper=PAPER,
            inputs=tuple(
                Input(
                    READS[stream],
                    shape,
                    "imagenet",
                    "bilinear",
                    flow_method="pwcnet" if stream == "temporal" else None,
                )
                for stream in used
            ),
            output_size=(height, input_width),
            training=Training(
                loss="kl - 0.1*nss",
                optimiser="adam",
                learning_rate=1e-4,
                batch_size=16,
                batch_size_of={"ucf_sports": 8},
                epochs=3,
                schedule=Schedule(0.1, 3000, "iteration"),
            ),
            options={
                "fusion": fusion,
                "spatial_attention": spatial_attention,
                "multi_level": multi_level,
                "channel_attention": channel_attention,
                "input_size": [height, input_width],
                "width": width,
            },
        )

    def _saliency(self, tensors: list[Tensor], state: State | None) -> tuple[Tensor, State | None]:
        batch, time = tensors[0].shape[:2]
        maps = [
            stream(pictures.flatten(0, 1))
            for stream, pictures in zip(self.streams.values(), tensors, strict=True)
        ]
        saliency = maps[0]
        if self.mix is not None:
            mixed = self.mix(torch.cat(maps, dim=1))
            if self.fusion == "gated":
                gate = mixed.sigmoid()
                saliency = maps[0] * gate + maps[1] * (1 - gate)
            else:
                saliency = mixed.relu()
        return saliency.view(batch, time, *self.spec.output_size), None

    def inner(self) -> tuple[Inner, ...]:
        """Return the maps of both streams and their gate; nothing for a single stream."""
        if self.mix is None:
            return ()
        found = [
            Inner(name, f"saliency by {stream} alone", "map", self.streams[stream], _map)
            for name, stream in (("appearance", "spatial"), ("motion", "temporal"))
        ]
        if self.fusion == "gated":
            about = "share of the appearance stream; the motion stream has the rest"
            found.append(Inner("gate", about, "map", self.mix, lambda mixed: _map(mixed).sigmoid()))
        return tuple(found)

    def _load_backbone(self, state: dict[str, Tensor], path: Path) -> None:
        """Load each stream from ImageNet's ResNet-50 or from a trained single stream.

        A ResNet-50 file of torchvision (``layer1.0.conv1.weight``, …; without its classifier) fills
        the backbones. A file of a single-stream GFSalNet fills whole streams: the paper trains the
        appearance stream on SALICON and starts both streams with it.
        """
        single = {key.split(".", 2)[1] for key in state if key.startswith("streams.")}
        for stream in self.streams.values():
            assert isinstance(stream, Stream)
            if len(single) == 1:
                prefix = f"streams.{next(iter(single))}."
                whole = {key.removeprefix(prefix): value for key, value in state.items()}
                load_strictly(stream, whole, path, self.spec.options)
            else:
                load_strictly(
                    stream.backbone, state, path, self.spec.options, ("fc.weight", "fc.bias")
                )


def _map(values: Tensor) -> Tensor:
    """Reshape [n, 1, h, w] to [n, h, w]."""
    return values[:, 0]


gfsalnet = partial(GFSalNet, streams="both")
gfsalnet_spatial = partial(GFSalNet, streams="spatial")
gfsalnet_temporal = partial(GFSalNet, streams="temporal")
