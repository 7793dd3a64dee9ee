"""The I3D tower cut into single time steps, so that each can be computed once and kept.

A convolution over time reads `kernel` steps of the level below, laid side by side on channels, as a
two-dimensional convolution: same products, same sum, and any set of steps makes one batch. Batch
normalisation is folded into the weights. Whatever concerns one step alone (1x1 convolutions, the
spatial part of max-pooling) runs when the step is made, and its result is what is kept. Tensors are
[steps, height, width, channels].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from foveal.models.i3d.network import (
    I3D,
    IN_CHANNELS,
    POOLS,
    Endpoint,
    Mixed,
    Tower,
    Unit,
    layers_until,
    same_padding,
    time_layers,
)
from foveal.models.i3d.window_plan import Plan, plan_windows, window_levels

State = tuple[Tensor, ...]
"""What is kept of time steps: one or more tensors [steps, height, width, channels]."""

CHUNK_BYTES = {"cpu": 16 << 20, "cuda": 256 << 20}
"""Bytes gathered for one convolution at a time; on a CPU they should stay in its caches."""


def fold(unit: Unit) -> tuple[Tensor, Tensor]:
    """Weight [out, in, t, y, x] and bias [out] that do convolution and BatchNorm at once."""
    bn = unit.bn
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("batch normalisation without running statistics cannot be folded")
    scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    weight = unit.conv3d.weight.double() * scale[:, None, None, None, None]
    bias = bn.bias.double() - bn.running_mean.double() * scale
    return weight.float().detach(), bias.float().detach()


def _gather(steps: Tensor, rows: Tensor) -> Tensor:
    """[n, h, w, c] and rows [m, kernel] to [m, h, w, kernel * c]."""
    return torch.cat([steps.index_select(0, taps) for taps in rows.unbind(1)], dim=3)


def _gather_max(steps: Tensor, rows: Tensor) -> Tensor:
    """[n, h, w, c] and rows [m, kernel] to the maximum over the kernel, [m, h, w, c]."""
    return reduce(torch.maximum, [steps.index_select(0, taps) for taps in rows.unbind(1)])


def _max_of_neighbours(x: Tensor, dim: int) -> Tensor:
    """Maximum of each item and the two beside it along an axis."""
    y, last = x.clone(), x.shape[dim] - 1
    for into, beside in ((1, 0), (0, 1)):
        inside = y.narrow(dim, into, last)
        torch.maximum(inside, x.narrow(dim, beside, last), out=inside)
    return y


def _spatial_max(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    if (kernel, stride) == ((3, 3), (1, 1)) and x.device.type == "cpu":
        # torch's pooling also writes 8 bytes of indices for each value (measured: 1.5 to 2.7x).
        return _max_of_neighbours(_max_of_neighbours(x, 2), 1)
    front = [same_padding(n, k, s)[0] for n, k, s in zip(x.shape[1:3], kernel, stride, strict=True)]
    y: Tensor = F.max_pool2d(x.permute(0, 3, 1, 2), kernel, stride, padding=front, ceil_mode=True)
    return y.permute(0, 2, 3, 1)


class _Conv:
    """Folded units that read the same input, as one two-dimensional convolution with ReLU."""

    def __init__(self, units: Sequence[Unit], device: torch.device, dtype: torch.dtype) -> None:
        folded = [fold(unit) for unit in units]
        weight = torch.cat([w for w, _ in folded]).permute(0, 2, 1, 3, 4).flatten(1, 2)
        self.weight = weight.to(device, dtype).contiguous(memory_format=torch.channels_last)
        self.bias = torch.cat([b for _, b in folded]).to(device, dtype)
        self.stride = units[0].stride
        self.padding = units[0].kernel // 2 if self.stride == 1 else 0
        self.widths = [len(b) for _, b in folded]

    def __call__(self, x: Tensor) -> Tensor:
        y = F.conv2d(x.permute(0, 3, 1, 2), self.weight, self.bias, self.stride, self.padding)
        return y.relu_().permute(0, 2, 3, 1)


class _Stage:
    """One level: how its steps come from those below, and what is done to each alone after."""

    def __init__(self, kernel: int, stride: int, mix: Callable[[State, Tensor], Tensor]) -> None:
        self.kernel, self.stride, self.mix = kernel, stride, mix
        self.after: list[Callable[[Tensor], Tensor]] = []
        self.split: Callable[[Tensor], State] = lambda x: (x,)

    def __call__(self, below: State, rows: Tensor) -> State:
        x = self.mix(below, rows)
        for single in self.after:
            x = single(x)
        return self.split(x)


class StepNetwork:
    """A tower up to an endpoint, evaluated step by step as a `Plan` says. The stages are those of
    `network.time_layers`, in order.
    """

    def __init__(
        self,
        network: I3D,
        endpoint: Endpoint,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device, self.dtype = device, dtype
        self.in_channels = IN_CHANNELS[network.tower]
        self._stages: list[_Stage] = []

        def conv(*units: Unit) -> _Conv:
            return _Conv(units, device, dtype)

        def add_conv(unit: Unit) -> None:
            convolve = conv(unit)
            stage = _Stage(
                unit.kernel, unit.stride, lambda below, rows: convolve(_gather(below[0], rows))
            )
            self._stages.append(stage)

        def add_mixed(block: Mixed) -> None:
            heads, b1b, b2b, b3b = (
                conv(block.b0, block.b1a, block.b2a),
                conv(block.b1b),
                conv(block.b2b),
                conv(block.b3b),
            )

            def split(x: Tensor) -> State:
                return (
                    *torch.split(heads(x), heads.widths, dim=3),
                    _spatial_max(x, (3, 3), (1, 1)),
                )

            def mix(below: State, rows: Tensor) -> Tensor:
                b0, b1, b2, pooled = below
                branches = [
                    b0.index_select(0, rows[:, 1]),
                    b1b(_gather(b1, rows)),
                    b2b(_gather(b2, rows)),
                    b3b(_gather_max(pooled, rows)),
                ]
                return torch.cat(branches, dim=3)

            self._stages[-1].split = split
            self._stages.append(_Stage(3, 1, mix))

        def add_pool(name: str) -> None:
            (kernel, high, wide), (stride, down, across) = POOLS[name]
            self._stages[-1].after.append(lambda x: _spatial_max(x, (high, wide), (down, across)))
            if kernel > 1:
                stage = _Stage(kernel, stride, lambda below, rows: _gather_max(below[0], rows))
                self._stages.append(stage)

        for name in layers_until(endpoint):
            if name in POOLS:
                add_pool(name)
                continue
            layer = network.get_submodule(name)
            if isinstance(layer, Mixed):
                add_mixed(layer)
            elif isinstance(layer, Unit) and layer.kernel == 1:
                self._stages[-1].after.append(conv(layer))
            elif isinstance(layer, Unit):
                add_conv(layer)

    def frames(self, x: Tensor) -> Tensor:
        """Pad frames [n, h, w, c] as Conv3d_1a_7x7 wants them; `run` takes these."""
        top, bottom = same_padding(x.shape[1], 7, 2)
        left, right = same_padding(x.shape[2], 7, 2)
        return F.pad(x, (0, 0, left, right, top, bottom))

    def run(
        self, frames: Tensor, first_frame: int, plan: Plan, kept: Sequence[State]
    ) -> tuple[Tensor, list[State]]:
        """Compute what a plan asks for.

        Parameters
        ----------
        frames : Tensor, float [n, h, w, c]
            From `frames`, consecutive, in any floating dtype.
        first_frame : int
            Number of ``frames[0]`` as the plan counts.
        plan : Plan
        kept : sequence of State
            What the run before gave, one entry a level; empty states at first.

        Returns
        -------
        results : Tensor [steps, height, width, channels]
        kept : list of State
            For the next run. The caller's own list stays valid if this run fails.
        """
        chosen = [frame - first_frame for (frame,) in plan.reads[0]]
        store = _store((), [(frames[chosen].to(self.dtype),)], len(chosen))
        keep: list[State] = [()]
        for level, stage in enumerate(self._stages, start=1):
            reads = plan.reads[level]
            store = _store(kept[level], self._compute(stage, store, reads), len(reads))
            keep.append(self._select(store, plan.keep_rows[level]))
        (results,) = self._select(store, plan.results)
        return results, keep

    def _compute(
        self, stage: _Stage, below: State, reads: Sequence[Sequence[int]]
    ) -> Iterator[State]:
        """Fresh steps of a level, in chunks that bound what is gathered at a time."""
        step_bytes = stage.kernel * sum(x[0].numel() * x.element_size() for x in below)
        at_once = max(1, CHUNK_BYTES.get(self.device.type, CHUNK_BYTES["cpu"]) // step_bytes)
        for start in range(0, len(reads), at_once):
            yield stage(below, self._rows(reads[start : start + at_once]))

    def _rows(self, rows: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        """Rows of a store, whose row 0 is the step of zeros (`ZERO` is -1)."""
        return torch.tensor(rows, dtype=torch.long).add_(1).to(self.device)

    def _select(self, store: State, rows: Sequence[int]) -> State:
        index = self._rows(rows)
        return tuple(x.index_select(0, index) for x in store)

    def macs_per_step(self, size: tuple[int, int]) -> list[int]:
        """Multiply-accumulates of one step of each level 1 … last, for frames of `size`.

        Counted by running every stage once, so build the network on the meta device for this.
        """
        channels = self.in_channels
        state: State = (self.frames(torch.empty(1, *size, channels, device=self.device)),)
        macs = []
        for stage in self._stages:
            rows = torch.zeros(1, stage.kernel, dtype=torch.long, device=self.device)
            with FlopCounterMode(display=False) as counter:
                state = stage(state, rows)
            macs.append(counter.get_total_flops() // 2)
        return macs


def _store(kept: State, fresh: Iterable[State], count: int) -> State:
    """Rows of a level: a step of zeros, those kept, then `count` fresh ones, given in chunks."""
    store: State = ()
    filled = 1 + (len(kept[0]) if kept else 0)
    for chunk in fresh:
        if not store:
            store = tuple(x.new_empty(filled + count, *x.shape[1:]) for x in chunk)
            for new, old in zip(store, kept, strict=bool(kept)):
                new[1:filled].copy_(old)
        for new, values in zip(store, chunk, strict=True):
            new[filled : filled + len(values)].copy_(values)
        filled += len(chunk[0])
    if not store:
        store = tuple(torch.cat([x.new_empty(1, *x.shape[1:]), x]) for x in kept)
    for new in store:
        new[0].zero_()
    return store


def count_macs(
    tower: Tower,
    size: tuple[int, int] = (224, 224),
    window: int = 79,
    stride: int = 1,
    batch_windows: int = 8,
    endpoint: Endpoint = "mixed_5c",
    width: float = 1.0,
) -> tuple[int, int]:
    """Multiply-accumulates a window costs alone, and among overlapping ones (steady state)."""
    network = StepNetwork(I3D(tower, width).to("meta"), endpoint, torch.device("meta"))
    macs = network.macs_per_step(size)
    levels = window_levels(window, time_layers(endpoint))
    alone = sum(each * level.steps for each, level in zip(macs, levels[1:], strict=True))
    kept: tuple[tuple[int, ...], ...] = tuple(() for _ in levels)
    moved = batch_windows * stride
    for _ in range(2 + window // moved):
        plan = plan_windows(levels, stride, batch_windows, kept)
        kept = tuple(tuple(anchor - moved for anchor in anchors) for anchors in plan.kept)
    shared = sum(each * len(reads) for each, reads in zip(macs, plan.reads[1:], strict=True))
    return alone, shared // batch_windows
