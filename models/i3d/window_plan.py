"""This module finds the activations that overlapping windows share, and plans their order.

It computes with integers, and only over time. A *level* is the output of a layer that mixes time
steps; level 0 is the frames. Step ``i`` of a window that starts at frame ``s`` has the *anchor*
``s + scale * i``. Steps of a window that zero padding does not reach depend only on frames: two
windows with such a step at the same anchor have the same numbers there. These steps are *shared*
and have the name ``(SHARED, anchor)``; each other step belongs to one window and has the name
``(start, i)``. A plan names every step once, so nothing is computed twice at any stride.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

SHARED = -1
"""Stands in the name of a shared step for the start of a window."""

ZERO = -1
"""Row number of the step of zeros that padding reads."""

Key = tuple[int, int]
"""Name of a step."""


@dataclass(frozen=True)
class Level:
    """One level of a window; the module's docstring explains steps and anchors.

    Attributes
    ----------
    kernel, stride, front : int
        What a step reads of the level below: steps ``i * stride - front`` … ``+ kernel - 1``.
    steps : int
        Time steps in one window.
    scale : int
        Frames from one step to the next.
    first, stop : int
        The half-open range of steps that no zero padding reaches; empty if both are equal.
    """

    kernel: int
    stride: int
    front: int
    steps: int
    scale: int
    first: int
    stop: int


def window_levels(window: int, layers: Iterable[tuple[int, int]]) -> tuple[Level, ...]:
    """Return the levels of a window under layers with SAME padding.

    `window` is its number of frames; `layers` are kernel and stride over time of each layer.
    """
    levels = [Level(1, 1, 0, window, 1, 0, window)]
    for kernel, stride in layers:
        below = levels[-1]
        steps = -(-below.steps // stride)
        front = max((steps - 1) * stride + kernel - below.steps, 0) // 2
        first = -(-(below.first + front) // stride)
        stop = min((below.stop - kernel + front) // stride + 1, steps)
        first, stop = (first, stop) if first < stop else (0, 0)
        levels.append(Level(kernel, stride, front, steps, below.scale * stride, first, stop))
    return tuple(levels)


@dataclass(frozen=True)
class Plan:
    """What to compute for a batch, level by level (each tuple has an entry per level 0 … last).

    At each level the rows are the kept steps of earlier batches, then the fresh ones.

    Attributes
    ----------
    reads : tuple of tuple of tuple of int
        For each fresh step the `kernel` rows of the level below, `ZERO` for padding; at level 0 the
        numbers of the frames, as one-tuples.
    kept : tuple of tuple of int
        Anchors of the steps that the next batches will use, in the order of keeping.
    keep_rows : tuple of tuple of int
        Rows of these steps in this batch.
    results : tuple of int
        Rows of the last level with the wanted steps, in order.
    """

    reads: tuple[tuple[tuple[int, ...], ...], ...]
    kept: tuple[tuple[int, ...], ...]
    keep_rows: tuple[tuple[int, ...], ...]
    results: tuple[int, ...]


def _plan(
    last: int,
    wanted: Sequence[Key],
    kept: Sequence[Sequence[int]],
    inputs: Callable[[int, Key], list[Key | None]],
    wanted_later: Callable[[int, int], bool],
) -> Plan:
    rows: list[dict[Key, int]] = [{} for _ in range(last + 1)]
    fresh: list[list[Key]] = [[] for _ in range(last + 1)]
    for level in range(last, -1, -1):
        known = rows[level]
        known.update({(SHARED, anchor): row for row, anchor in enumerate(kept[level])})
        if level == last:
            need: Iterable[Key] = wanted
        else:
            need = [k for key in fresh[level + 1] for k in inputs(level + 1, key) if k is not None]
        for key in need:
            if key not in known:
                known[key] = len(known)
                fresh[level].append(key)
    reads: list[tuple[tuple[int, ...], ...]] = [tuple((frame,) for _, frame in fresh[0])]
    for level in range(1, last + 1):
        below = rows[level - 1]
        reads.append(
            tuple(
                tuple(ZERO if k is None else below[k] for k in inputs(level, key))
                for key in fresh[level]
            )
        )
    keep = [
        sorted(a for owner, a in known if owner == SHARED and wanted_later(level, a))
        for level, known in enumerate(rows)
    ]
    return Plan(
        reads=tuple(reads),
        kept=tuple(tuple(anchors) for anchors in keep),
        keep_rows=tuple(
            tuple(known[SHARED, a] for a in anchors)
            for known, anchors in zip(rows, keep, strict=True)
        ),
        results=tuple(rows[last][key] for key in wanted),
    )


@lru_cache(maxsize=64)
def plan_windows(
    levels: tuple[Level, ...], stride: int, count: int, kept: tuple[tuple[int, ...], ...]
) -> Plan:
    """Plan `count` windows that start at frames 0, `stride`, 2 `stride` …

    Frame numbers count from the start of the first window, so that all batches after the first few
    have the same plan. `kept` are the anchors kept from the batch before, by level, counted from
    the same frame; those of the plan count from there too, and the caller shifts them. Frames are
    never kept: level 0 reads them again.
    """

    def key(level: int, start: int, step: int) -> Key:
        at = levels[level]
        if at.first <= step < at.stop:
            return SHARED, start + at.scale * step
        return start, step

    def inputs(level: int, of: Key) -> list[Key | None]:
        at, below = levels[level], levels[level - 1]
        owner, position = of
        if owner == SHARED:
            return [(SHARED, position + below.scale * (tap - at.front)) for tap in range(at.kernel)]
        steps = range(position * at.stride - at.front, position * at.stride - at.front + at.kernel)
        return [key(level - 1, owner, i) if 0 <= i < below.steps else None for i in steps]

    def wanted_later(level: int, anchor: int) -> bool:
        at = levels[level]
        earliest = max(count * stride, anchor - at.scale * (at.stop - 1))
        earliest += -earliest % stride
        latest = anchor - at.scale * at.first
        return level > 0 and any(
            (anchor - start) % at.scale == 0 for start in range(earliest, latest + 1, stride)
        )

    last = len(levels) - 1
    starts = [stride * n for n in range(count)]
    wanted = [key(last, start, step) for start in starts for step in range(levels[last].steps)]
    return _plan(last, wanted, kept, inputs, wanted_later)
