"""This module cuts the I3D tower into single time steps, so that each is computed once and kept.

A convolution over time reads `kernel` steps of the level below, side by side on channels, as a
two-dimensional convolution: the same products, the same sum, and any set of steps is one batch.
Batch normalisation is folded into the weights. What needs one step only (1x1 convolutions, the
spatial part of max-pooling) runs when the step is made, and its result is kept. Tensors are [steps,
height, width, channels].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from foveal.models.i3d.layers import IN_CHANNELS, POOLS, Endpoint, Tower, layers_until, time_layers
from foveal.models.i3d.network import I3D, Mixed, Unit, same_padding
from foveal.models.i3d.step_layers import Conv, Taps, gather, gather_max, spatial_max
from foveal.models.i3d.window_plan import ZERO, Plan, plan_windows, window_levels

State = tuple[Tensor, ...]
"""What is kept of time steps: one or more tensors [steps, height, width, channels]."""

LEAST_STEPS_APART = 4
"""Least number of steps that read the same taps to be computed apart from the others: this saves
the products with the zeros at the ends of a window (8 % of all at stride 1)."""

CHUNK_BYTES = {"cpu": 16 << 20, "cuda": 256 << 20}
"""Most bytes gathered for one convolution; on a CPU they should stay in its caches."""


class _Stage:
    """One level: `mix` makes its steps from those below, `after` and `split` change each alone.

    `mix` takes the range of taps that it reads; all others are zeros.
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
    """The tower `network` up to an `endpoint`, computed step by step as a `Plan` says."""

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

        def conv(*units: Unit) -> Conv:
            return Conv(units, device, dtype)

        def add_conv(unit: Unit) -> None:
            convolve = conv(unit)
            stage = _Stage(
                unit.kernel,
                unit.stride,
                lambda below, rows, taps: convolve(gather(below[0], rows[:, slice(*taps)]), taps),
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
                    spatial_max(x, (3, 3), (1, 1)),
                )

            def mix(below: State, rows: Tensor, taps: Taps) -> Tensor:
                b0, b1, b2, pooled = below
                read = rows[:, slice(*taps)]
                branches = [
                    b0.index_select(0, rows[:, 1]),
                    b1b(gather(b1, read), taps),
                    b2b(gather(b2, read), taps),
                    b3b(gather_max(pooled, read)),
                ]
                return torch.cat(branches, dim=3)

            self._stages[-1].split = split
            self._stages.append(_Stage(3, 1, mix))

        def add_pool(name: str) -> None:
            (kernel, high, wide), (stride, down, across) = POOLS[name]
            self._stages[-1].after.append(lambda x: spatial_max(x, (high, wide), (down, across)))
            if kernel > 1:
                stage = _Stage(
                    kernel,
                    stride,
                    lambda below, rows, taps: gather_max(below[0], rows[:, slice(*taps)]),
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
        """Pad preprocessed frames `x` [n, h, w, c] as Conv3d_1a_7x7 needs them, for `run`."""
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
            What to compute.
        kept : sequence of State
            What the run before returned, one entry per level; empty states at first.

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
        """Yield fresh steps of a level and their places, in chunks of bounded size."""
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
        """Return rows of a store, whose row 0 is the step of zeros (`ZERO` is -1)."""
        return self._index(rows).add_(1)

    def _index(self, rows: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        index = torch.tensor(rows, dtype=torch.long)
        if self.device.type == "cuda":  # does not wait for the device, which has work queued
            return index.pin_memory().to(self.device, non_blocking=True)
        return index.to(self.device)

    def _select(self, store: State, rows: Sequence[int]) -> State:
        index = self._rows(rows)
        return tuple(x.index_select(0, index) for x in store)

    def macs(
        self, size: tuple[int, int], reads: Sequence[Sequence[Sequence[int]]] | None = None
    ) -> list[int]:
        """Count the multiply-accumulates of each level 1 … last for frames of a `size`.

        Every stage runs for this, so build the network on the meta device. `reads` lists the steps
        of each level, as in `Plan`; products with padding in time do not count. By default one step
        that reads no padding.
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
    """Group steps by the range of taps that they read; the rest of their taps is zeros.

    `reads` are the rows that each step reads with its `kernel`, `ZERO` for padding. Ranges that
    fewer than `LEAST_STEPS_APART` steps share are joined to the whole kernel.
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
    """Return the rows of a level: a step of zeros, the kept steps, then `count` fresh ones."""
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
    """Count the multiply-accumulates per window: alone in the plain network, and among others.

    Others are the overlapping windows of a long video that are computed `batch_windows` at a time.
    `tower`, `size`, `window`, `stride`, `endpoint` and `width` are those of `WindowFeatures` and
    `I3D`.
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
