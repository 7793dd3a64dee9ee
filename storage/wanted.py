"""This module records which stages the builds of a store want of each video.

Without the record, a video of which a build was stopped would look complete.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from foveal.errors import StoreError
from foveal.storage.digests import sealed, unsealed
from foveal.storage.location import Location
from foveal.storage.names import OF_STORE

WANTED = f"{OF_STORE}/wanted"


def write_wanted(location: Location, wanted: Mapping[str, Collection[str]]) -> None:
    """Record which stages a build wants, before it computes any. The caller holds the lock.

    Parameters
    ----------
    location : Location
    wanted : mapping of str to collection of str
        Names of stages by video. Other videos, of earlier builds, keep theirs.
    """
    try:
        before = read_wanted(location)
    except StoreError:
        before = {}
    now = {**before, **{video: tuple(sorted(stages)) for video, stages in wanted.items()}}
    if now == before:
        return
    kinds = sorted(set(now.values()))
    numbers = {kind: number for number, kind in enumerate(kinds)}
    videos = {video: numbers[stages] for video, stages in sorted(now.items())}
    location.write_json(WANTED, sealed({"stages": kinds, "videos": videos}))


def read_wanted(location: Location) -> dict[str, tuple[str, ...]]:
    """Read the names of the wanted stages by video; empty for stores of the first edition.

    Raises
    ------
    StoreError
        The record is damaged.
    """
    content = location.read(WANTED)
    if content is None:
        return {}
    try:
        values = unsealed(json.loads(content))
        kinds = [tuple(map(str, stages)) for stages in values["stages"]]
        return {str(video): kinds[number] for video, number in values["videos"].items()}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"{location}/{WANTED} is damaged ({error}); the next build writes it anew"
        ) from None
