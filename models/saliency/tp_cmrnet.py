"""This module defines TP-CMRNet (Malladi et al.): two pathways of multiplicative residual blocks.

One pathway sees the frame, the other a stack of the flow maps that follow it; after every block the
motion's features gate the frame's. A bidirectional convolutional LSTM joins groups of five frames.
No code was published; this is the design that has the paper's 4.9 M parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.errors import RecipeError
from foveal.models.saliency.base import (
    Inner,
    SaliencyNetwork,
    State,
    check_choice,
    check_size,
    scaled,
)
from foveal.models.saliency.conv_lstm import conv_lstm_gates, conv_lstm_step
from foveal.models.saliency.spec import Input, Schedule, Spec, Training

PAPER = "Malladi et al., TP-CMRNet"
CHANNELS = 32
INNER_CHANNELS = (56, 64, 64, 64)
"""Channels in each block, see `CMRBlock`."""

POOLED_AFTER = (True, True, False, False)
"""Whether a block is followed by pooling: sizes 112, 56, 28, 28 for an input of 224."""

DOWNSCALING = 8
"""Ratio of the sizes of the input and of the last features."""


class CMRBlock(nn.Module):
    """Two levels of 3x3 and 5x5 convolutions that see each other's output, joined by a 1x1.

    Parameters
    ----------
    channels : int
        Channels of input and output.
    inner_channels : int
        Channels of each convolution of the first level; the second level has twice as many.
    combine : {"x*r", "x+x*r", "x+r"}
        How the input x and the residual r give the output; the paper's text multiplies. Both
        products grow like a power of the input: float16 overflows, float32 and bfloat16 do not at
        the paper's learning rate.
    """

    def __init__(self, channels: int, inner_channels: int, combine: str) -> None:
        super().__init__()
        double = 2 * inner_channels
        self.first3 = nn.Conv2d(channels, inner_channels, 3, padding=1)
        self.first5 = nn.Conv2d(channels, inner_channels, 5, padding=2)
        self.second3 = nn.Conv2d(double, double, 3, padding=1)
        self.second5 = nn.Conv2d(double, double, 5, padding=2)
        self.join = nn.Conv2d(2 * double, channels, 1)
        self.combine = combine
        if combine == "x*r":
            assert self.join.bias is not None
            nn.init.ones_(self.join.bias)  # starts near the identity: other products would vanish

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [n, channels, h, w] to the same shape."""
        t, f = self.first3(x).relu(), self.first5(x).relu()
        t2 = self.second3(torch.cat([t, f], dim=1)).relu()
        f2 = self.second5(torch.cat([f, t], dim=1)).relu()
        r: Tensor = self.join(torch.cat([t2, f2], dim=1))
        if self.combine == "x+r":
            return x + r
        return x * r if self.combine == "x*r" else x + x * r


class Attention(nn.Module):
    """Add to the features their product with a map that sums to 1 over the picture.

    3x3 convolution to half the channels, ReLU, BatchNorm, 1x1 convolution, sigmoid, spatial
    softmax: the attention of STRA-Net's code.

    Parameters
    ----------
    channels : int
        Channels of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.score = nn.Sequential(
            nn.Conv2d(channels, half, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.BatchNorm2d(half),
            nn.Conv2d(half, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [n, channels, h, w] to the same shape."""
        return x + attention_of(self.score(x)) * x


def attention_of(score: Tensor) -> Tensor:
    """Turn `score` [n, 1, h, w] into attention that sums to 1 over the picture."""
    return score.flatten(1).softmax(dim=1).view(score.shape)


class TPCMRNet(SaliencyNetwork):
    """Frame and flow pathways, recurrence over a group of frames, auto-encoder, decoder.

    Parameters
    ----------
    flow_maps : int
        Flow maps in the stack, 3 … 11 (9 in the paper's best); 0 leaves the flow pathway out.
    fusion : {"every_block", "last_sum"}
        Whether the motion's features gate the frame's after every block, or (ablation) both are
        only added after the last one.
    attention : bool
        Whether there is spatial attention after every block.
    recurrence : {"bidirectional", "forward"}
        Whether the group's later frames are used too, or (ablation) only earlier ones; ``forward``
        keeps its state from group to group.
    combine : {"x*r", "x+x*r", "x+r"}
        See `CMRBlock`.
    inner_channels : sequence of four int
        See `CMRBlock`.
    input_size : (int, int)
        (height, width) in pixels, multiples of 8; also the output's size.
    width : float
        Factor on all channel counts.
    name : str
        Registered name.
    """

    def __init__(
        self,
        *,
        flow_maps: int = 9,
        fusion: str = "every_block",
        attention: bool = True,
        recurrence: str = "bidirectional",
        combine: str = "x*r",
        inner_channels: Sequence[int] = INNER_CHANNELS,
        input_size: tuple[int, int] = (224, 224),
        width: float = 1.0,
        name: str = "tp_cmrnet",
    ) -> None:
        super().__init__()
        check_choice(name, "flow_maps", flow_maps, (0, *range(3, 12)))
        check_choice(name, "fusion", fusion, ("every_block", "last_sum"))
        check_choice(name, "recurrence", recurrence, ("bidirectional", "forward"))
        check_choice(name, "combine", combine, ("x*r", "x+x*r", "x+r"))
        height, input_width = check_size(name, input_size, DOWNSCALING)
        if len(inner_channels) != len(POOLED_AFTER):
            raise RecipeError(
                f"{name}: inner_channels needs {len(POOLED_AFTER)} entries, one per block, got "
                f"{tuple(inner_channels)}"
            )
        channels = scaled(CHANNELS, width)
        half, quarter = scaled(CHANNELS // 2, width), scaled(CHANNELS // 4, width)

        def pathway(in_channels: int) -> nn.ModuleList:
            stem = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
            blocks = [CMRBlock(channels, scaled(c, width), combine) for c in inner_channels]
            return nn.ModuleList([stem, *blocks])

        self.frame_path = pathway(3)
        self.flow_path = pathway(2 * flow_maps) if flow_maps else None
        self.attention = nn.ModuleList(
            [Attention(channels) if attention else nn.Identity() for _ in inner_channels]
        )
        self.fusion = fusion
        directions = 2 if recurrence == "bidirectional" else 1
        hidden = half if directions == 2 else channels
        self.recurrent = nn.ModuleList(
            [conv_lstm_gates(channels, hidden) for _ in range(directions)]
        )
        self.auto_encoder = nn.Sequential(
            nn.Conv2d(hidden * directions, half, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(half, quarter, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(quarter, half, 3, padding=1),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(half, quarter, 3, padding=1),
            nn.Sigmoid(),
            nn.Conv2d(quarter, 1, 3, padding=1),
        )
        frame = Input("frame", (3, height, input_width), "imagenet", "bilinear")
        flow_shape = (2 * flow_maps, height, input_width)
        flow = Input("flow_stack", flow_shape, "tpcmr_flow", "bilinear", flow_method="flownet2")
        self.spec = Spec(
            name=name,
            paper=PAPER,
            inputs=(frame, flow) if flow_maps else (frame,),
            output_size=(height, input_width),
            training=Training(
                loss="kl - 0.2*cc - 0.1*nss - 0.1*sim",
                optimiser="adam",
                learning_rate=1e-4,
                batch_size=1,
                clip_frames=5,
                short="pad",
                schedule=Schedule(0.1, 2, "epoch"),
            ),
            recurrent=recurrence == "forward",
            options={
                "flow_maps": flow_maps,
                "fusion": fusion,
                "attention": attention,
                "recurrence": recurrence,
                "combine": combine,
                "inner_channels": list(inner_channels),
                "input_size": [height, input_width],
                "width": width,
            },
        )

    def _saliency(self, tensors: list[Tensor], state: State | None) -> tuple[Tensor, State | None]:
        batch, time = tensors[0].shape[:2]
        features = self._features([tensor.flatten(0, 1) for tensor in tensors])
        joined, state = self._recur(features.view(batch, time, *features.shape[1:]), state)
        logits = self.decoder(self.auto_encoder(joined.flatten(0, 1)))
        coarse = logits.float().sigmoid()  # [n, 1, h/8, w/8]
        saliency = functional.interpolate(
            coarse, scale_factor=DOWNSCALING, mode="bicubic", align_corners=False
        ).clamp(0, 1)
        return saliency.view(batch, time, *self.spec.output_size), state

    def _features(self, tensors: list[Tensor]) -> Tensor:
        """Compute the features [n, 32, h/8, w/8] of frames and flow stacks."""
        frame: Tensor = self.frame_path[0](tensors[0]).relu()
        flow = None if self.flow_path is None else self.flow_path[0](tensors[1]).relu()
        for block, pooled in enumerate(POOLED_AFTER, start=1):
            frame = self.frame_path[block](frame)
            if flow is not None and self.flow_path is not None:
                flow = self.flow_path[block](flow)
                if self.fusion == "every_block":
                    frame = frame + frame * flow
                elif block == len(POOLED_AFTER):
                    frame = frame + flow
            frame = self.attention[block - 1](frame)
            if pooled:
                frame = functional.max_pool2d(frame, 2)
                flow = None if flow is None else functional.max_pool2d(flow, 2)
        return frame

    def inner(self) -> tuple[Inner, ...]:
        """Return the attention after each block; nothing without attention."""
        return tuple(
            Inner(
                f"attention_{block}",
                f"spatial attention after block {block}, summing to 1",
                "map",
                module.score,
                lambda score: attention_of(score)[:, 0],
            )
            for block, module in enumerate(self.attention, start=1)
            if isinstance(module, Attention)
        )

    def _recur(self, features: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        """Run the LSTM over [batch, time, channels, h, w], forwards and maybe backwards too."""
        frames = list(features.unbind(dim=1))
        bidirectional = len(self.recurrent) == 2
        outputs, state = _scan(self.recurrent[0], frames, None if bidirectional else state)
        if not bidirectional:
            return torch.stack(outputs, dim=1), state
        backwards, _ = _scan(self.recurrent[1], frames[::-1], None)
        both = [torch.cat(pair, dim=1) for pair in zip(outputs, backwards[::-1], strict=True)]
        return torch.stack(both, dim=1), None


def _scan(
    gates: nn.Module, frames: list[Tensor], state: State | None
) -> tuple[list[Tensor], State | None]:
    assert isinstance(gates, nn.Conv2d)
    outputs = []
    for frame in frames:
        state = conv_lstm_step(gates, frame, state)
        outputs.append(state[0])
    return outputs, state
