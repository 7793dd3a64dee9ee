"""This module plans the clips of a store from completion marks, before any frame is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foveal.errors import StoreError
from foveal.storage.contents import Contents
from foveal.storage.kinds import ArrayInfo
from foveal.storage.reader import Store
from foveal.torch.cutting import (
    Short,
    Tail,
    choose_videos,
    clip_starts,
    keep_complete,
    read_facts,
)
from foveal.torch.interface import Indices, Variable, VideoFacts
from foveal.torch.variables import make_variable


@dataclass(frozen=True)
class Plan:
    """Where the clips of a store are.

    Attributes
    ----------
    variables : list of Variable
        What is read of each clip.
    infos : dict of str to ArrayInfo
        Description of each array, by name.
    facts : list of VideoFacts
        The videos that have every array.
    starts : list of ndarray, int64 [clips]
        By video, the first frame of each clip.
    first : list of int
        By video, the number of its first clip; at the end the number of all clips.
    skipped : dict of str to str
        Videos that give no clip, and why.
    """

    variables: list[Variable]
    infos: dict[str, ArrayInfo]
    facts: list[VideoFacts]
    starts: list[Indices]
    first: list[int]
    skipped: dict[str, str]


def plan_clips(
    store: Store,
    split: str | None,
    videos: Sequence[str] | None,
    variables: Sequence[str | Variable],
    frames: int,
    stride: int,
    short: Short,
    tail: Tail,
) -> Plan:
    """Plan the clips of a store's videos; see `foveal.torch.Clips` for what is chosen.

    Raises
    ------
    StoreError
        The split has no videos, no video has a variable, or no clip fits into any video.
    """
    chosen = choose_videos(store, split, videos)
    contents = store.contents(chosen)
    made = _made(variables, contents)
    if lacking := [video for video in chosen if not _has_all(made, contents, video)]:
        # They may have been written since the index was.
        contents |= store.contents_now(lacking)
        made = _made(variables, contents)
    infos = {name: info for of in contents.values() for name, info in of.infos.items()}
    all_facts, skipped = read_facts(store, chosen, contents, made)
    all_starts = []
    for facts in all_facts:
        starts = clip_starts(facts.frames, frames, stride, short, tail)
        why = f"no whole clip in its {facts.frames} frames"
        for variable in made:
            if len(starts):
                why = f"no clip in which every frame has {variable.key} too"
            starts = keep_complete(starts, variable.has(facts), frames)
        all_starts.append(starts)
        if not len(starts):
            skipped[facts.video] = why
    first: list[int] = np.cumsum([0, *map(len, all_starts)]).tolist()
    if not first[-1]:
        raise StoreError(
            f"{store.location}: no clip of {frames} frames fits into any of the {len(chosen)} "
            f"videos{f' of split {split!r}' if split else ''}, the longest of which has "
            f"{max((facts.frames for facts in all_facts), default=0)} frames "
            f"({some_skipped(skipped)}); take fewer frames, or short='pad'; where features are "
            "wanted, missing='mask', or windows of a smaller stride"
        )
    return Plan(made, infos, all_facts, all_starts, first, skipped)


def some_skipped(skipped: Mapping[str, str]) -> str:
    """Return the first few skipped videos, and why."""
    some = "; ".join(f"{video}: {why}" for video, why in list(skipped.items())[:3])
    return some + ("; …" if len(skipped) > 3 else "")


def _made(variables: Sequence[str | Variable], contents: Mapping[str, Contents]) -> list[Variable]:
    known = {name: info for of in contents.values() for name, info in of.infos.items()}
    return [make_variable(wanted, known) for wanted in variables]


def _has_all(variables: Sequence[Variable], contents: Mapping[str, Contents], video: str) -> bool:
    there = contents[video].infos if video in contents else {}
    return all(name in there for each in variables for name in (*each.arrays, *each.whole_arrays))
