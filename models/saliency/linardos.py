"""This module defines SalBCE, SalEMA and SalCLSTM.

Source: Linardos et al. 2019, "Simple vs complex temporal recurrences". SalBCE is a sequence of 62
layers, see `salgan`. SalEMA averages the output of one or two of these layers over time. SalCLSTM
has a convolutional LSTM at the bottleneck. Names of weights are those of the authors' release
(github.com/Linardos/SalEMA), so its files load without changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
    Inner,
    SaliencyNetwork,
    State,
    check_choice,
    check_size,
    scaled,
)
from foveal.models.saliency.conv_lstm import conv_lstm_gates, conv_lstm_step
from foveal.models.saliency.salgan import BOTTLENECK, run_layers, salgan_layers
from foveal.models.saliency.spec import Input, Spec, Training
from foveal.models.strict_loading import load_strictly

PAPER = "Linardos et al. 2019, Simple vs complex temporal recurrences for video saliency prediction"
PLACEMENTS: tuple[tuple[int, ...], ...] = ((7,), (30,), (54,), (56,), (61,), (7, 54), (7, 56))
"""Layers that can be averaged. The late one is 54 (a ReLU) in the paper's tables and 56 (a
convolution) in its text."""


class SalBCE(SaliencyNetwork):
    """The network without memory: it sees every frame alone.

    Parameters
    ----------
    input_size : (int, int)
        (height, width) in pixels, multiples of 16; also the output's size.
    width : float
        Factor on all channel counts.
    name : str
        Registered name.
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
        return run_layers(self.salgan, frames, 0, len(self.salgan)).view(shape), None

    def _load_backbone(self, state: dict[str, Tensor], path: Path) -> None:
        """Load the shared layers from VGG-16 or from a trained SalBCE.

        A VGG-16 file of torchvision (``features.0.weight``, …) fills the encoder. Its first layer
        is rescaled and its input channels are swapped, so that `bgr_mean` pixels have the same
        effect as ImageNet-normalised RGB (except for half a grey level between the two published
        means). A SalBCE or SalGAN file (``salgan.0.weight`` or ``0.weight``, …) fills all layers.
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
    """SalBCE with an exponential moving average of a layer's output over time.

    ``E_t = a S_t + (1 - a) E_{t-1}``, ``E_0 = S_0``; the next layer takes ``E_t``. The released
    inference script loads ``SalEMA30.pt`` into a network with ``alpha_mode="learned"``.

    Parameters
    ----------
    placement : int or sequence of int
        Index of the averaged layer, 7, 30 (the bottleneck), 54, 56 or 61, or (7, 54) or (7, 56)
        for two.
    alpha : float, optional
        Weight of the new frame, 0 … 1; for ``learned`` the value before the sigmoid. By default
        0.1, for two placements 0.3, for ``learned`` 0 (a weight of 0.5; the released code starts at
        0.25).
    alpha_mode : {"fixed", "learned", "released"}
        ``fixed`` uses `alpha`; ``learned`` makes ``sigmoid(alpha)`` a parameter; ``released``
        applies the sigmoid to a fixed alpha as the released code does, so that 0.1 means 0.525.
    residual : bool
        Whether the averaged layer's input is added to its average; the layer must not change the
        shape.
    dropout : float, optional
        Probability that a channel of the averaged layer's input is dropped in training (the
        released code drops at inference too). By default 0.5 at the bottleneck, else 0.
    released_inplace_relu : bool
        Whether the average at placement 7 is rectified too, for weights that were trained in this
        way: in the released code VGG's next ReLU works in place.
    input_size, width, name
        See `SalBCE`.
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
                f"{name}: released_inplace_relu=True has an effect only at placement 7 without "
                f"residual, not at {placements} with residual={residual}; leave it out"
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
            x = run_layers(self.salgan, x, position, placement)
            dropped = functional.dropout2d(x, self.dropout, self.training)
            new = run_layers(self.salgan, dropped, placement, placement + 1)
            averages = self._average(
                new.view(*shape[:2], *new.shape[1:]),
                None if state is None else state[index],
                rectified=self.released_inplace_relu and placement == 7,
            )
            after.append(averages[:, -1])
            average = averages.flatten(0, 1)
            x = average + x if self.residual else average
            position = placement + 1
        return run_layers(self.salgan, x, position, len(self.salgan)).view(shape), tuple(after)

    def _average(self, new: Tensor, previous: Tensor | None, *, rectified: bool) -> Tensor:
        """Average [batch, time, channels, height, width] along time."""
        alpha = self.alpha.sigmoid() if isinstance(self.alpha, Tensor) else self.alpha
        averages = []
        for frame in new.unbind(dim=1):
            previous = frame if previous is None else alpha * frame + (1 - alpha) * previous
            previous = previous.relu() if rectified else previous
            averages.append(previous)
        return torch.stack(averages, dim=1)

    def inner(self) -> tuple[Inner, ...]:
        """Return the moving average after each frame, of every averaged layer."""
        return _states(
            (f"ema_{placement}", f"moving average of layer {placement}")
            for placement in self.placements
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return all weights, and separately a learned alpha: learning rate 0.1, no decay."""
        groups: list[dict[str, Any]] = [{"params": list(self.salgan.parameters())}]
        if isinstance(self.alpha, nn.Parameter):
            groups.append({"params": [self.alpha], "lr": 0.1, "weight_decay": 0.0})
        return groups


class SalCLSTM(SalBCE):
    """SalBCE with a convolutional LSTM on the encoder's output; the decoder takes its cell.

    Parameters
    ----------
    peepholes : {"paper", "shi", "none"}
        Which cell the gates see. ``paper``: all three see that of the frame before (equations 1-3);
        ``shi``: the output gate sees that of this frame (Shi et al. 2015); ``none``: no cell, as in
        the released code and its files. Files of earlier versions have False for ``none`` and True
        for ``shi``.
    residual : bool
        Whether the encoder's output is added to the cell.
    input_size, width, name
        See `SalBCE`.
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
        encoded = run_layers(self.salgan, frames, 0, BOTTLENECK)
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
        return run_layers(self.salgan, x, BOTTLENECK, len(self.salgan)).view(shape), state

    def _canonical(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Refuse a file of the authors' release if this network has peepholes."""
        if self.peepholes is not None and "Gates.weight" in state and "peepholes" not in state:
            raise RecipeError(
                f"{self.spec.name}: the file has no peepholes, as in the authors' released code; "
                "build the network with peepholes=none"
            )
        return super()._canonical(state)

    def inner(self) -> tuple[Inner, ...]:
        """Return output and cell of the LSTM after each frame."""
        return _states((name, f"{name} of the LSTM") for name in ("hidden", "cell"))


def _states(named: Iterable[tuple[str, str]]) -> tuple[Inner, ...]:
    """Describe each tensor of the state."""
    return tuple(
        Inner(name, f"{about} after the frame", "features", None, itemgetter(index))
        for index, (name, about) in enumerate(named)
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


def _flat(clips: Tensor) -> tuple[Tensor, tuple[int, int, int, int]]:
    """Return [batch x time, channels, height, width], and the shape of the maps."""
    batch, time, _, height, width = clips.shape
    return clips.flatten(0, 1), (batch, time, height, width)


def _canonical(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Prefix the bare sequence (``0.weight``, …) of SalGAN files with ``salgan.``."""
    return {f"salgan.{key}" if key[0].isdigit() else key: value for key, value in state.items()}
