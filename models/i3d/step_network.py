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
from foveal.models.i3d.window_plan import ZERO, Plan, plan_windows, window_levels

State = tuple[Tensor, ...]
"""What is kept of time steps: one or more tensors [steps, height, width, channels]."""

Taps = tuple[int, int]
"""Half-open range of a kernel's time steps."""

LEAST_STEPS_APART = 4
"""Steps that read the same taps are computed apart from the others if there are so many: products
with the zeros of a window's ends are left out (8 % of all at stride 1)."""

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

        self.kernel = units[0].kernel
        self._of_taps: dict[Taps, Tensor] = {}

    def __call__(self, x: Tensor, taps: Taps | None = None) -> Tensor:
        weight = self.weight if taps is None else self._weight_of(taps)
        y = F.conv2d(x.permute(0, 3, 1, 2), weight, self.bias, self.stride, self.padding)
        return y.relu_().permute(0, 2, 3, 1)

    def _weight_of(self, taps: Taps) -> Tensor:
        """The part of the weight that some of the time steps meet."""
        if taps == (0, self.kernel):
            return self.weight
        if taps not in self._of_taps:
            channels = self.weight.shape[1] // self.kernel
            part = self.weight[:, taps[0] * channels : taps[1] * channels]
            self._of_taps[taps] = part.contiguous(memory_format=torch.channels_last)
        return self._of_taps[taps]


class _Stage:
    """One level: how its steps come from those below, and what is done to each alone after.

    `mix` is given the taps at which rows are read, all others being zeros.
    """

    def __init__(
        self, kernel: int, stride: int, mix: Callable[[State, Tensor, Taps], Tensor]
    ) -> None:
        self.kernel, self.stride, self.mix = kernel, stride, mix
        self.after: list[Callable[[Tensor], Tensor]] = []
        self.split: Callable[[Tensor], State] = lambda x: (x,)

    def __call__(self, below: State, rows: Tensor, taps: Taps) -> State:
        x = self.mix(below, rows, taps)
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
                unit.kernel,
                unit.stride,
                lambda below, rows, taps: convolve(_gather(below[0], rows[:, slice(*taps)]), taps),
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

            def mix(below: State, rows: Tensor, taps: Taps) -> Tensor:
                b0, b1, b2, pooled = below
                read = rows[:, slice(*taps)]
                branches = [
                    b0.index_select(0, rows[:, 1]),
                    b1b(_gather(b1, read), taps),
                    b2b(_gather(b2, read), taps),
                    b3b(_gather_max(pooled, read)),
                ]
                return torch.cat(branches, dim=3)

            self._stages[-1].split = split
            self._stages.append(_Stage(3, 1, mix))

        def add_pool(name: str) -> None:
            (kernel, high, wide), (stride, down, across) = POOLS[name]
            self._stages[-1].after.append(lambda x: _spatial_max(x, (high, wide), (down, across)))
            if kernel > 1:
                stage = _Stage(
                    kernel,
                    stride,
                    lambda below, rows, taps: _gather_max(below[0], rows[:, slice(*taps)]),
                )
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
        inputs = frames.index_select(0, self._index(chosen)).to(self.dtype)
        store = _store((), [(slice(0, len(chosen)), (inputs,))], len(chosen))
        keep: list[State] = [()]
        for level, stage in enumerate(self._stages, start=1):
            reads = plan.reads[level]
            store = _store(kept[level], self._compute(stage, store, reads), len(reads))
            keep.append(self._select(store, plan.keep_rows[level]))
        (results,) = self._select(store, plan.results)
        return results, keep

    def _compute(
        self, stage: _Stage, below: State, reads: Sequence[Sequence[int]]
    ) -> Iterator[tuple[slice | Tensor, State]]:
        """Fresh steps of a level and their places, in chunks that bound what is gathered."""
        step_bytes = stage.kernel * sum(x[0].numel() * x.element_size() for x in below)
        at_once = max(1, CHUNK_BYTES.get(self.device.type, CHUNK_BYTES["cpu"]) // step_bytes)
        for taps, places in steps_by_taps(reads, stage.kernel).items():
            for start in range(0, len(places), at_once):
                some = places[start : start + at_once]
                where: slice | Tensor = slice(some[0], some[-1] + 1)
                if some[-1] - some[0] >= len(some):
                    where = self._index(some)
                yield where, stage(below, self._rows([reads[i] for i in some]), taps)

    def _rows(self, rows: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        """Rows of a store, whose row 0 is the step of zeros (`ZERO` is -1)."""
        return self._index(rows).add_(1)

    def _index(self, rows: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        index = torch.tensor(rows, dtype=torch.long)
        if self.device.type == "cuda":  # not waiting for the device: it has work queued
            return index.pin_memory().to(self.device, non_blocking=True)
        return index.to(self.device)

    def _select(self, store: State, rows: Sequence[int]) -> State:
        index = self._rows(rows)
        return tuple(x.index_select(0, index) for x in store)

    def macs(
        self, size: tuple[int, int], reads: Sequence[Sequence[Sequence[int]]] | None = None
    ) -> list[int]:
        """Multiply-accumulates of each level 1 … last, for frames of `size`.

        Of the steps that `reads` lists for each level (as in `Plan`), products with padding in time
        left out as they are when computing; of one step that reads no padding without `reads`.
        Counted by running every stage, so build the network on the meta device for this.
        """
        frame = torch.empty(1, *size, self.in_channels, device=self.device)
        state: State = (self.frames(frame),)
        macs = []
        for level, stage in enumerate(self._stages):
            with FlopCounterMode(display=False) as counter:
                for taps, places in steps_by_taps(
                    [[0] * stage.kernel] if reads is None else reads[level], stage.kernel
                ).items():
                    rows = torch.zeros(len(places), stage.kernel, dtype=torch.long)
                    made = stage(state, rows.to(self.device), taps)
            macs.append(counter.get_total_flops() // 2)
            state = tuple(x[:1] for x in made)
        return macs


def steps_by_taps(reads: Sequence[Sequence[int]], kernel: int) -> dict[Taps, list[int]]:
    """Which steps read which range of taps; the rest of their taps is zeros.

    Ranges that fewer than `LEAST_STEPS_APART` steps share are joined to the whole kernel.
    """
    groups: dict[Taps, list[int]] = {}
    for place, rows in enumerate(reads):
        real = [tap for tap, row in enumerate(rows) if row != ZERO]
        groups.setdefault((real[0], real[-1] + 1) if real else (0, kernel), []).append(place)
    whole = (0, kernel)
    few = [taps for taps, places in groups.items() if len(places) < LEAST_STEPS_APART]
    joined = sorted(place for taps in {*few, whole} for place in groups.pop(taps, []))
    return {whole: joined, **groups} if joined else groups


def _store(kept: State, fresh: Iterable[tuple[slice | Tensor, State]], count: int) -> State:
    """Rows of a level: a step of zeros, those kept, then `count` fresh ones, given in chunks."""
    store: State = ()
    filled = 1 + (len(kept[0]) if kept else 0)
    for where, chunk in fresh:
        if not store:
            store = tuple(x.new_empty(filled + count, *x.shape[1:]) for x in chunk)
            for new, old in zip(store, kept, strict=bool(kept)):
                new[1:filled].copy_(old)
        for new, values in zip(store, chunk, strict=True):
            new[filled:][where] = values
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
    """Multiply-accumulates a window costs in the plain network, and among overlapping ones
    (steady state).
    """
    network = StepNetwork(I3D(tower, width).to("meta"), endpoint, torch.device("meta"))
    levels = window_levels(window, time_layers(endpoint))
    macs = network.macs(size)
    alone = sum(each * level.steps for each, level in zip(macs, levels[1:], strict=True))
    kept: tuple[tuple[int, ...], ...] = tuple(() for _ in levels)
    moved = batch_windows * stride
    for _ in range(2 + window // moved):
        plan = plan_windows(levels, stride, batch_windows, kept)
        kept = tuple(tuple(anchor - moved for anchor in anchors) for anchors in plan.kept)
    return alone, sum(network.macs(size, plan.reads[1:])) // batch_windows
