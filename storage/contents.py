"""This module sums up what is complete of a video, so that reading is planned without its marks."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foveal.storage.kinds import SAID, ArrayInfo, array_info
from foveal.storage.marks import Mark, infos_of

_KEPT = ("shape", "dtype", "dims", *SAID)


@dataclass(frozen=True)
class Contents:
    """What is complete of one video.

    Attributes
    ----------
    infos : mapping of str to ArrayInfo
        Describes each complete array, by name.
    source_size : (int, int) or None
        Height and width of the source video in pixels; None where its timeline is not complete.
    """

    infos: Mapping[str, ArrayInfo]
    source_size: tuple[int, int] | None


def contents_of(marks: Mapping[str, Mark]) -> Contents:
    """Sum up the marks of one video, given by stage."""
    size = None
    if "time" in marks:
        height, width = marks["time"].provenance["video"]["source_size"]
        size = (int(height), int(width))
    return Contents(infos_of(marks), size)


def told_of_arrays(marks: Mapping[str, Mark]) -> str:
    """Return the arrays of one video by stage, without their checksums, as JSON for the index."""
    told: dict[str, Any] = {}
    for stage in sorted(marks):
        mark = marks[stage]
        arrays = {
            name: {key: about[key] for key in _KEPT if about.get(key) is not None}
            for name, about in mark.arrays.items()
        }
        told[stage] = {"arrays": arrays}
        counts = {"window": mark.window, "span": mark.span}
        told[stage] |= {key: count for key, count in counts.items() if count is not None}
    return json.dumps(told)


@functools.lru_cache(4096)
def arrays_told(text: str) -> Mapping[str, ArrayInfo]:
    """Read back what `told_of_arrays` wrote, by name of the array; cached, so not to be changed.

    Raises
    ------
    ValueError, TypeError, LookupError, AttributeError
        The text is something else.
    """
    found: dict[str, ArrayInfo] = {
        name: array_info(name, stage, about, of.get("window"), of.get("span"))
        for stage, of in json.loads(text).items()
        for name, about in of["arrays"].items()
    }
    return found
