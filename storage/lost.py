"""Find marks that are missing: the index names them, the journal does not.

A build, a prediction or a mask leaves an index that agrees with the journal. Until the next one
begins, a stage that only the index names has lost its mark.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from foveal.storage.index import read_index, vouched_index
from foveal.storage.location import Location
from foveal.storage.marks import (
    Damage,
    Journal,
    journal_parts,
    journal_videos,
    read_journal_with_damage,
    read_marks,
)
from foveal.storage.names import journal_key


def read_damage(
    location: Location, videos: Iterable[str] | None = None, journal: Journal | None = None
) -> list[Damage]:
    """List what of the journal is damaged or lost.

    Parameters
    ----------
    location : Location
    videos : iterable of str, optional
        Only these; by default all that the journal or the index knows.
    journal : Journal, optional
        What it says of these videos, where it was read already.

    Returns
    -------
    list of Damage
        In order of their keys.

    Raises
    ------
    StoreUnreachable
        Where the store as a whole does not answer.
    """
    names = None if videos is None else list(videos)
    if journal is None:
        journal = read_journal_with_damage(location, names)
    told = told_by_index(location)
    found = [*journal.damaged, *_lost(location, told if names is None else names, journal, told)]
    return sorted(found, key=lambda damage: damage.key)


def read_journal_parts(location: Location) -> Iterator[tuple[list[str], Journal, list[Damage]]]:
    """The whole journal in parts: videos, what it says of them, and what is damaged or lost.

    Memory does not grow with the store.
    """
    told = told_by_index(location)
    for videos, journal in journal_parts(location, sorted({*journal_videos(location), *told})):
        yield videos, journal, [*journal.damaged, *_lost(location, videos, journal, told)]


def told_by_index(location: Location) -> dict[str, set[str]]:
    """Stages of each video that were complete when the index was written.

    Empty where a build was begun since, was killed, or there is no index that can be believed: then
    a mark may be missing with good reason.
    """
    table = read_index(location) if vouched_index(location) else None
    if table is None:
        return {}
    return {
        str(video): set(map(str, json.loads(stages)))
        for video, stages in zip(table["video"], table["stages"], strict=True)
    }


def lost_mark(location: Location, video: str, stage: str) -> Damage:
    """Describe a missing mark as damage."""
    key = journal_key(video, stage)
    reason = (
        f"{location}/{key} is missing, though the index says that {stage} of {video} is complete; "
        "build again: its stage is computed anew"
    )
    return Damage(video, stage, key, reason)


def _lost(
    location: Location, videos: Iterable[str], journal: Journal, told: Mapping[str, set[str]]
) -> list[Damage]:
    unreadable = {(each.video, each.stage) for each in journal.damaged}
    suspects = [
        (video, stage)
        for video in videos
        if (video, "") not in unreadable
        for stage in sorted(told.get(video, set()) - journal.marks.get(video, {}).keys())
        if (video, stage) not in unreadable
    ]
    if not suspects:
        return []
    # Read again: a build may have ended between the journal and the index.
    now = {video: read_marks(location, video) for video in {video for video, _ in suspects}}
    if not vouched_index(location):
        return []
    return [
        lost_mark(location, video, stage) for video, stage in suspects if stage not in now[video]
    ]
