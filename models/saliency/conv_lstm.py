"""This module computes a step of a convolutional LSTM (Shi et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv_lstm_gates(in_channels: int, hidden_channels: int) -> nn.Conv2d:
    """Build the 3x3 convolution of all four gates, with Xavier-normal weights and zero bias.

    It takes `in_channels` of the input and `hidden_channels` of the hidden state; it returns input
    gate, forget gate, output gate and candidate cell, in this order (that of Linardos et al.'s
    released SalCLSTM).
    """
    gates = nn.Conv2d(in_channels + hidden_channels, 4 * hidden_channels, 3, padding=1)
    nn.init.xavier_normal_(gates.weight)
    assert gates.bias is not None
    nn.init.zeros_(gates.bias)
    return gates


def conv_lstm_step(
    gates: nn.Conv2d,
    x: Tensor,
    state: tuple[Tensor, ...] | None,
    peepholes: Tensor | None = None,
    *,
    output_sees_new_cell: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return hidden state and cell after one more frame.

    Parameters
    ----------
    gates : Conv2d
        From `conv_lstm_gates`.
    x : Tensor, [batch, channels, height, width]
        Features of the frame.
    state : (hidden, cell) or None
        None starts from zeros.
    peepholes : Tensor, [3, hidden channels, 1, 1], optional
        Weights with which input, forget and output gate see the cell of the frame before, as in
        equations 1-3 of Linardos et al. 2019; one value per channel, so that any picture size fits.
    output_sees_new_cell : bool
        Whether the output gate sees the cell of this frame, as in Shi et al. 2015.

    Returns
    -------
    hidden, cell : Tensor, [batch, hidden channels, height, width]
    """
    if state is None:
        zeros = x.new_zeros(len(x), gates.out_channels // 4, *x.shape[2:])
        state = (zeros, zeros)
    hidden, cell = state
    former = cell
    into, forget, out, candidate = gates(torch.cat([x, hidden], dim=1)).chunk(4, dim=1)
    if peepholes is not None:
        into, forget = into + peepholes[0] * cell, forget + peepholes[1] * cell
    cell = forget.sigmoid() * cell + into.sigmoid() * candidate.tanh()
    if peepholes is not None:
        out = out + peepholes[2] * (cell if output_sees_new_cell else former)
    return out.sigmoid() * cell.tanh(), cell
