"""This module says what an array is: what its leading axis counts, and what one item is.

Every array describes itself by the attributes ``axis``, ``kind`` and, where they apply, ``starts``,
``role``, ``source_frames`` and ``offset``. Code that reads, draws, exports or counts arrays asks
these attributes and never the name. Both vocabularies are open: an array of a kind that foveal does
not know is still inspected, verified, exported as npy and read by `foveal.torch.Clips`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

AXES = {
    "frame": "one item per frame",
    "pair": "one item per pair of consecutive frames; item k goes from frame k to frame k + 1",
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
    "inner": "intermediate result of a network",
}
"""What an array is for, where its kind alone does not say it."""

ITEMS_BEYOND_FRAMES = {"frame": 0, "pair": -1, "frame_plus_1": 1}
"""Number of items minus number of frames, for each axis that fixes it."""


@dataclass(frozen=True)
class ArrayInfo:
    """What one complete array is, as its completion mark says.

    Attributes
    ----------
    name, stage : str
        Names of the array and of the stage that wrote it.
    axis : str
        What the leading axis counts, see `AXES`.
    kind : str
        What one item is, see `KINDS`.
    shape : tuple of int
        The whole shape; the first side counts items.
    dtype : str
        As stored.
    dims : tuple of str
        Names of the dimensions.
    starts : str or None
        For windows, the array that holds the first frame of each window.
    role : str or None
        What the array is for, see `ROLES`.
    source_frames : str or None
        Where frames are sampled at another rate, the array of their numbers in the source.
    offset : str or None
        Where each frame has a run of items (samples of sound), the array of the first item of each
        frame.
    window : int or None
        For windows, frames per window; None where it differs or is unknown.
    span : int or None
        Frames that one item covers, where items belong to frames by time.
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
        """Return the number of items for a number of frames; None where the axis does not fix it.

        Parameters
        ----------
        frames : int
            Frames of the video.
        """
        beyond = None if self.source_frames else ITEMS_BEYOND_FRAMES.get(self.axis)
        return None if beyond is None else max(0, frames + beyond)


SAID = ("axis", "kind", "starts", "role", "source_frames", "offset")
"""Keys by which an array describes itself."""

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
"""What arrays of stores of the first edition are, by name: they do not describe themselves."""


def array_info(
    name: str,
    stage: str,
    about: Mapping[str, Any],
    window: int | None = None,
    span: int | None = None,
) -> ArrayInfo:
    """Describe an array by its entry in a completion mark.

    Parameters
    ----------
    name, stage : str
        Names of the array and of its stage.
    about : mapping
        ``shape``, ``dtype``, ``dims`` and the array's description of itself. Where that is missing,
        the table of the first edition's names is used.
    window, span : int, optional
        See `ArrayInfo`.
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
    """Describe the array called `name` of a store of the first edition; empty for other names."""
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
    """Return the names of the arrays of a kind, an axis or a role, sorted.

    Parameters
    ----------
    infos : iterable of ArrayInfo
        The arrays to choose from.
    kind, axis, role : str, optional
        Only arrays of this kind, axis and role.
    """
    return sorted(
        info.name
        for info in infos
        if kind in (None, info.kind) and axis in (None, info.axis) and role in (None, info.role)
    )
