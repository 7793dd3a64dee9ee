"""What an array is: along which axis it grows, and what kind of thing its items are.

Every array says so itself, by the attributes ``axis``, ``kind`` and, where they apply, ``starts``,
``role``, ``source_frames`` and ``offset``. Whoever reads, draws, exports or counts asks these and
never the name. Both vocabularies are open: an array of a kind that foveal does not know is still
inspected, verified, exported as npy and read by `foveal.torch.Clips`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

AXES = {
    "frame": "one item per frame",
    "pair": "one item per pair of consecutive frames; item k leads from frame k to k + 1",
    "window": "one item per window of frames; the array named by `starts` holds first frames",
    "point": "one item per fixated point",
    "frame_plus_1": "one item per frame and one more: where each frame's rows begin and end",
    "sample": "one item per audio sample",
    "hop": "one item per step of a spectrogram along the sound",
}
"""What the leading axis of an array counts."""

KINDS = {
    "picture": "RGB picture, [y, x, rgb]",
    "map": "one number per pixel, [y, x]",
    "flow": "motion per pixel, [y, x, uv]",
    "features": "activations of a network, of any shape",
    "points": "one coordinate or label per fixated point",
    "waveform": "audio samples",
    "scalar": "one number per item",
}
"""What one item of an array is."""

ROLES = {
    "timeline": "presentation times of the frames",
    "ground_truth": "where people looked",
    "prediction": "where a network says people look",
    "mask": "which frames count in an evaluation",
    "inner": "what a network computed on the way to its estimate",
}
"""What an array is for, where its kind alone does not tell."""

ITEMS_BEYOND_FRAMES = {"frame": 0, "pair": -1, "frame_plus_1": 1}
"""How many items more than frames an array has, by axis, where its axis fixes that."""


@dataclass(frozen=True)
class ArrayInfo:
    """What one complete array is, as its mark says.

    Attributes
    ----------
    name, stage : str
    axis : str
        What the leading axis counts, see `AXES`.
    kind : str
        What one item is, see `KINDS`.
    shape : tuple of int
        The whole shape; the first side counts items.
    dtype : str
        As stored.
    dims : tuple of str
    starts : str or None
        For windows, the array that holds the first frame of each.
    role : str or None
        See `ROLES`.
    source_frames : str or None
        Where frames are sampled at another rate, the array of their numbers in the source.
    offset : str or None
        Where a frame has a run of items (samples of sound), the array that says where each begins.
    window : int or None
        For windows, frames in each; None where they differ or are not known.
    span : int or None
        Frames that an item reaches over, where items go to frames by time.
    """

    name: str
    stage: str
    axis: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    dims: tuple[str, ...]
    starts: str | None = None
    role: str | None = None
    source_frames: str | None = None
    offset: str | None = None
    window: int | None = None
    span: int | None = None

    @property
    def items(self) -> int:
        """Length of the leading axis."""
        return self.shape[0]

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of one item."""
        return self.shape[1:]

    def items_expected(self, frames: int) -> int | None:
        """Items that so many frames ask for; None where the axis does not fix it."""
        beyond = None if self.source_frames else ITEMS_BEYOND_FRAMES.get(self.axis)
        return None if beyond is None else max(0, frames + beyond)


SAID = ("axis", "kind", "starts", "role", "source_frames", "offset")
"""Keys by which an array says what it is."""

_FIRST_EDITION: tuple[tuple[str, dict[str, str]], ...] = (
    ("time", {"axis": "frame", "kind": "scalar", "role": "timeline"}),
    ("frames", {"axis": "frame", "kind": "picture"}),
    ("density", {"axis": "frame", "kind": "map", "role": "ground_truth"}),
    (r"flow_\w+", {"axis": "pair", "kind": "flow"}),
    (r"fixation_(frame|x|y|subject)", {"axis": "point", "kind": "points", "role": "ground_truth"}),
    ("fixation_offset", {"axis": "frame_plus_1", "kind": "scalar", "role": "ground_truth"}),
    (r"(i3d_\w+)_(window_start|valid_frames)", {"axis": "window", "kind": "scalar"}),
    (r"(i3d_\w+)", {"axis": "window", "kind": "features"}),
    (r"saliency_\w+", {"axis": "frame", "kind": "map", "role": "prediction"}),
    (r"mask_\w+", {"axis": "frame", "kind": "scalar", "role": "mask"}),
)
"""Names by which stores of the first edition, whose arrays do not say it, are understood."""


def array_info(
    name: str,
    stage: str,
    about: Mapping[str, Any],
    window: int | None = None,
    span: int | None = None,
) -> ArrayInfo:
    """What an array is, from its entry in a completion mark.

    Parameters
    ----------
    name, stage : str
    about : mapping
        ``shape``, ``dtype``, ``dims`` and what the array says of itself; the table of the first
        edition's names helps out where it says nothing.
    window, span : int, optional
    """
    said = {key: about[key] for key in SAID if about.get(key) is not None}
    if "kind" not in said:
        said = said_by_name(name) | said
    return ArrayInfo(
        name=name,
        stage=stage,
        axis=said.get("axis", "unknown"),
        kind=said.get("kind", "unknown"),
        shape=tuple(about["shape"]),
        dtype=about["dtype"],
        dims=tuple(about["dims"]),
        starts=said.get("starts"),
        role=said.get("role"),
        source_frames=said.get("source_frames"),
        offset=said.get("offset"),
        window=window,
        span=span,
    )


def said_by_name(name: str) -> dict[str, str]:
    """What an array of this name is in stores of the first edition; empty for other names."""
    for pattern, said in _FIRST_EDITION:
        match = re.fullmatch(pattern, name)
        if match and said["axis"] == "window":
            return {**said, "starts": f"{match[1]}_window_start"}
        if match:
            return dict(said)
    return {}


def select_arrays(
    infos: Iterable[ArrayInfo],
    kind: str | None = None,
    *,
    axis: str | None = None,
    role: str | None = None,
) -> list[str]:
    """Names of the arrays of a kind, an axis or a role, sorted."""
    return sorted(
        info.name
        for info in infos
        if kind in (None, info.kind) and axis in (None, info.axis) and role in (None, info.role)
    )
