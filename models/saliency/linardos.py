"""SalBCE, SalEMA and SalCLSTM (Linardos et al. 2019, "Simple vs complex temporal recurrences").

All three are one sequence of 62 layers, `salgan_layers`: VGG-16 without its last pool, then its
mirror image with nearest upsampling. SalBCE is that sequence; SalEMA averages the output of one or
two of its layers over time; SalCLSTM puts a convolutional LSTM at the bottleneck. Names of weights
are those of the authors' release (github.com/Linardos/SalEMA), whose files load as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.errors import RecipeError
from foveal.models.normalise import IMAGENET_STD
from foveal.models.saliency.base import (
    DARK_LOGIT,
    Inner,
    SaliencyNetwork,
    State,
    check_choice,
    check_size,
    scaled,
)
from foveal.models.saliency.conv_lstm import conv_lstm_gates, conv_lstm_step
from foveal.models.saliency.spec import Input, Spec, Training
from foveal.models.strict_loading import load_strictly

PAPER = "Linardos et al. 2019, Simple vs complex temporal recurrences for video saliency prediction"
BOTTLENECK = 30
PLACEMENTS: tuple[tuple[int, ...], ...] = ((7,), (30,), (54,), (56,), (61,), (7, 54), (7, 56))
"""The paper's tables call the late one 54 (a ReLU), its text 56 (a convolution)."""

ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""3x3 convolutions by their channels, each with ReLU; max pooling between the groups."""

DECODER = ((512, 512, 512), (512, 512, 512), (256, 256, 256), (128, 128), (64, 64))
"""Likewise, with upsampling between the groups."""

_PIXEL_SCALE = 64.0
"""Rough deviation of pixels 0 … 255 less their mean."""


def salgan_layers(width: float = 1.0) -> nn.Sequential:
    """Give the 62 layers, indices 0 … 61: pixels of `bgr_mean` in, saliency 0 … 1 out.

    Random weights are He-normal, the first layer divided by the scale of its input, the last one
    small with a bias for mostly dark maps: the released code never trains from scratch, and from
    saturated or grey maps the first steps kill the last layers' units.
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


class SalBCE(SaliencyNetwork):
    """The static network: every frame for itself.

    Parameters
    ----------
    input_size : (int, int)
        (height, width) in pixels, multiples of 16; also the output's size.
    width : float
        Multiplies all channel counts.
    """

    def __init__(
        self, *, input_size: tuple[int, int] = (192, 256), width: float = 1.0, name: str = "salbce"
    ) -> None:
        spec = _spec(name, input_size, {"width": width}, recurrent=False)
        super().__init__()
        self.salgan = salgan_layers(width)
        self.spec = spec

    def _saliency(self, tensors: list[Tensor], state: State | None) -> tuple[Tensor, State | None]:
        frames, shape = _flat(tensors[0])
        return _run(self.salgan, frames, 0, len(self.salgan)).view(shape), None

    def _load_backbone(self, state: dict[str, Tensor], path: Path) -> None:
        """Load the layers shared by the family from VGG-16 or from a trained SalBCE.

        A VGG-16 file of torchvision (``features.0.weight``, …) fills the encoder; its first layer
        is rescaled and its input channels swapped so that it sees `bgr_mean` pixels as it saw
        ImageNet-normalised RGB (but for half a grey level between the two published means). A
        SalBCE or SalGAN file (``salgan.0.weight`` or ``0.weight``, …) fills all 62 layers.
        """
        if "features.0.weight" not in state:
            shared = {
                key.removeprefix("salgan."): value for key, value in _canonical(state).items()
            }
            load_strictly(self.salgan, shared, path, self.spec.options)
            return
        features = {
            key.removeprefix("features."): value
            for key, value in state.items()
            if not key.startswith("classifier.")
        }
        first = features["0.weight"]
        if first.ndim == 4 and first.shape[1] == 3:
            std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
            features["0.weight"] = (first / (255 * std)).flip(1)
        load_strictly(self.salgan[:BOTTLENECK], features, path, self.spec.options)

    def _canonical(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return _canonical(state)


class SalEMA(SalBCE):
    """SalBCE with an exponential moving average over time of a layer's output.

    ``E_t = a S_t + (1 - a) E_{t-1}``, ``E_0 = S_0``; the next layer gets ``E_t``. The released
    inference script loads ``SalEMA30.pt`` into a network with ``alpha_mode="learned"``.

    Parameters
    ----------
    placement : int or sequence of int
        Index of the averaged layer, 7, 30 (the bottleneck), 54, 56 or 61, or (7, 54) or (7, 56)
        for two.
    alpha : float, optional
        Weight of the new frame, 0 … 1; for ``learned`` the value before the sigmoid. Default 0.1
        (two placements 0.3, ``learned`` 0, a weight of 0.5; the released code starts at 0.25).
    alpha_mode : {"fixed", "learned", "released"}
        Use `alpha` as it is; make ``sigmoid(alpha)`` a parameter; or apply the sigmoid to a fixed
        alpha as the released code does, where 0.1 acts as 0.525.
    residual : bool
        Add the averaged layer's input to its average; the layer must keep its input's shape.
    dropout : float, optional
        Probability with which channels of the averaged layer's input are dropped in training (the
        released code drops them at inference too). Default 0.5 at the bottleneck, else 0.
    released_inplace_relu : bool
        Rectify the average at placement 7 as well, as the released code does because VGG's next
        ReLU works in place: for weights that were trained that way.
    """

    def __init__(
        self,
        *,
        placement: int | Sequence[int] = BOTTLENECK,
        alpha: float | None = None,
        alpha_mode: str = "fixed",
        residual: bool = False,
        dropout: float | None = None,
        released_inplace_relu: bool = False,
        input_size: tuple[int, int] = (192, 256),
        width: float = 1.0,
        name: str = "salema",
    ) -> None:
        placements = (placement,) if isinstance(placement, int) else tuple(placement)
        check_choice(name, "placement", placements, PLACEMENTS)
        check_choice(name, "alpha_mode", alpha_mode, ("fixed", "learned", "released"))
        if residual and 61 in placements:
            raise RecipeError(
                f"{name}: residual=True at placement 61 would add logits to a probability; "
                "choose another placement or residual=False"
            )
        if released_inplace_relu and (7 not in placements or residual):
            raise RecipeError(
                f"{name}: released_inplace_relu=True acts at placement 7 without residual alone, "
                f"not at {placements} with residual={residual}; leave it out"
            )
        if alpha is None:
            alpha = 0.0 if alpha_mode == "learned" else 0.1 if len(placements) == 1 else 0.3
        if dropout is None:
            dropout = 0.5 if placements == (BOTTLENECK,) else 0.0
        within = alpha_mode == "learned" or 0 <= alpha <= 1
        if not within or not 0 <= dropout < 1:
            raise RecipeError(
                f"{name}: alpha={alpha} must be in 0 … 1, dropout={dropout} in [0, 1)"
            )
        super().__init__(input_size=input_size, width=width, name=name)
        self.placements = placements
        self.residual = residual
        self.dropout = dropout
        self.released_inplace_relu = released_inplace_relu
        if alpha_mode == "learned":
            self.alpha: nn.Parameter | float = nn.Parameter(torch.tensor([float(alpha)]))
        else:
            self.alpha = alpha if alpha_mode == "fixed" else 1 / (1 + math.exp(-alpha))
        options = {
            "placement": list(placements),
            "alpha": alpha,
            "alpha_mode": alpha_mode,
            "residual": residual,
            "dropout": dropout,
            "released_inplace_relu": released_inplace_relu,
            "width": width,
        }
        self.spec = _spec(name, input_size, options, recurrent=True)

    def _saliency(self, tensors: list[Tensor], state: State | None) -> tuple[Tensor, State | None]:
        x, shape = _flat(tensors[0])
        after, position = [], 0
        for index, placement in enumerate(self.placements):
            x = _run(self.salgan, x, position, placement)
            dropped = functional.dropout2d(x, self.dropout, self.training)
            new = _run(self.salgan, dropped, placement, placement + 1)
            averages = self._average(
                new.view(*shape[:2], *new.shape[1:]),
                None if state is None else state[index],
                rectified=self.released_inplace_relu and placement == 7,
            )
            after.append(averages[:, -1])
            average = averages.flatten(0, 1)
            x = average + x if self.residual else average
            position = placement + 1
        return _run(self.salgan, x, position, len(self.salgan)).view(shape), tuple(after)

    def _average(self, new: Tensor, previous: Tensor | None, *, rectified: bool) -> Tensor:
        """Moving average along time of [batch, time, channels, height, width]."""
        alpha = self.alpha.sigmoid() if isinstance(self.alpha, Tensor) else self.alpha
        averages = []
        for frame in new.unbind(dim=1):
            previous = frame if previous is None else alpha * frame + (1 - alpha) * previous
            previous = previous.relu() if rectified else previous
            averages.append(previous)
        return torch.stack(averages, dim=1)

    def inner(self) -> tuple[Inner, ...]:
        """The moving average after each frame, of every averaged layer."""
        return tuple(
            Inner(
                f"ema_{placement}",
                f"moving average of layer {placement} after the frame",
                "features",
                None,
                itemgetter(index),
            )
            for index, placement in enumerate(self.placements)
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All weights, and apart from them a learned alpha: learning rate 0.1, no decay."""
        groups: list[dict[str, Any]] = [{"params": list(self.salgan.parameters())}]
        if isinstance(self.alpha, nn.Parameter):
            groups.append({"params": [self.alpha], "lr": 0.1, "weight_decay": 0.0})
        return groups


class SalCLSTM(SalBCE):
    """SalBCE with a convolutional LSTM on the encoder's output; the decoder gets its cell.

    Parameters
    ----------
    peepholes : {"paper", "shi", "none"}
        How the gates see the cell: all three that of the frame before (equations 1-3); the output
        gate that of this frame (Shi et al. 2015); or not at all, as in the released code, whose
        files want this. Files of earlier versions say False for ``none`` and True for ``shi``.
    residual : bool
        Add the encoder's output to the cell.
    """

    def __init__(
        self,
        *,
        peepholes: str | bool = "paper",
        residual: bool = False,
        input_size: tuple[int, int] = (192, 256),
        width: float = 1.0,
        name: str = "salclstm",
    ) -> None:
        if isinstance(peepholes, bool):
            peepholes = "shi" if peepholes else "none"
        check_choice(name, "peepholes", peepholes, ("paper", "shi", "none"))
        super().__init__(input_size=input_size, width=width, name=name)
        channels = scaled(512, width)
        self.Gates = conv_lstm_gates(channels, channels)  # the release's spelling
        self.peepholes: nn.Parameter | None = None
        if peepholes != "none":
            self.peepholes = nn.Parameter(torch.zeros(3, channels, 1, 1))
        self.output_sees_new_cell = peepholes == "shi"
        self.residual = residual
        options = {"peepholes": peepholes, "residual": residual, "width": width}
        self.spec = _spec(name, input_size, options, recurrent=True)

    def _saliency(self, tensors: list[Tensor], state: State | None) -> tuple[Tensor, State | None]:
        frames, shape = _flat(tensors[0])
        encoded = _run(self.salgan, frames, 0, BOTTLENECK)
        cells = []
        for features in encoded.view(*shape[:2], *encoded.shape[1:]).unbind(dim=1):
            state = conv_lstm_step(
                self.Gates,
                features,
                state,
                self.peepholes,
                output_sees_new_cell=self.output_sees_new_cell,
            )
            cells.append(state[1])
        cell = torch.stack(cells, dim=1).flatten(0, 1)
        x = cell + encoded if self.residual else cell
        return _run(self.salgan, x, BOTTLENECK, len(self.salgan)).view(shape), state

    def _canonical(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Say what to do about a file of the authors' release, which has no peepholes."""
        if self.peepholes is not None and "Gates.weight" in state and "peepholes" not in state:
            raise RecipeError(
                f"{self.spec.name}: the file has no peepholes, as the authors' released code; "
                "build the network for it with peepholes=none"
            )
        return super()._canonical(state)

    def inner(self) -> tuple[Inner, ...]:
        """Output and cell of the LSTM after each frame."""
        return tuple(
            Inner(
                name,
                f"{name} of the LSTM after the frame",
                "features",
                None,
                itemgetter(index),
            )
            for index, name in enumerate(("hidden", "cell"))
        )


def _spec(
    name: str, input_size: tuple[int, int], options: Mapping[str, object], recurrent: bool
) -> Spec:
    height, width = check_size(name, input_size, 16)
    frame = Input("frame", (3, height, width), "bgr_mean", "area")
    training = Training(
        loss="bce",
        optimiser="adam",
        learning_rate=1e-7,
        batch_size=1,
        clip_frames=10,
        epochs=7,
        loss_over_time="sum",
        short="pad",
    )
    augment = {"mirror": 0.5, "rotate_degrees": 10.0}
    on_pictures = replace(training, clip_frames=1, epochs=27, augment=augment)
    training = replace(training, on_pictures=on_pictures)
    return Spec(
        name=name,
        paper=PAPER,
        inputs=(frame,),
        output_size=(height, width),
        training=training,
        recurrent=recurrent,
        options={**options, "input_size": [height, width]},
    )


def _run(layers: nn.Sequential, x: Tensor, start: int, stop: int) -> Tensor:
    """Run layers [`start`, `stop`) alone; the sigmoid works in float32 also under autocast."""
    for layer in layers[start:stop]:
        x = layer(x.float() if isinstance(layer, nn.Sigmoid) else x)
    return x


def _flat(clips: Tensor) -> tuple[Tensor, tuple[int, int, int, int]]:
    """Give [batch x time, channels, height, width], and the shape of the maps to come."""
    batch, time, _, height, width = clips.shape
    return clips.flatten(0, 1), (batch, time, height, width)


def _canonical(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Prefix the bare sequence (``0.weight``, …) of SalGAN files with ``salgan.``."""
    return {f"salgan.{key}" if key[0].isdigit() else key: value for key, value in state.items()}
