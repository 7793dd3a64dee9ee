"""What is complete of a video, in short: enough to plan reading without opening its marks."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foveal.storage.kinds import SAID, ArrayInfo, array_info
from foveal.storage.marks import Mark, infos_of

_TOLD = ("shape", "dtype", "dims", *SAID)


@dataclass(frozen=True)
class Contents:
    """What is complete of a video.

    Attributes
    ----------
    infos : mapping of str to ArrayInfo
        What each complete array is, by name.
    source_size : (int, int) or None
        Height and width of the source video in pixels, where its timeline is complete.
    """

    infos: Mapping[str, ArrayInfo]
    source_size: tuple[int, int] | None


def contents_of(marks: Mapping[str, Mark]) -> Contents:
    """What the marks of a video say, by stage."""
    size = None
    if "time" in marks:
        height, width = marks["time"].provenance["video"]["source_size"]
        size = (int(height), int(width))
    return Contents(infos_of(marks), size)


def told_of_arrays(marks: Mapping[str, Mark]) -> str:
    """The arrays of a video by stage, without their checksums, as JSON: for the index."""
    told: dict[str, Any] = {}
    for stage in sorted(marks):
        mark = marks[stage]
        arrays = {
            name: {key: about[key] for key in _TOLD if about.get(key) is not None}
            for name, about in mark.arrays.items()
        }
        told[stage] = {"arrays": arrays}
        counts = {"window": mark.window, "span": mark.span}
        told[stage] |= {key: count for key, count in counts.items() if count is not None}
    return json.dumps(told)


@functools.lru_cache(4096)
def arrays_told(text: str) -> Mapping[str, ArrayInfo]:
    """What `told_of_arrays` said, by name of the array; remembered, so not to be changed.

    Raises
    ------
    ValueError, TypeError, LookupError, AttributeError
        Where it is something else.
    """
    found: dict[str, ArrayInfo] = {
        name: array_info(name, stage, about, of.get("window"), of.get("span"))
        for stage, of in json.loads(text).items()
        for name, about in of["arrays"].items()
    }
    return found
