"""How videos are cut into clips: decided from completion marks, before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foveal.errors import StoreError
from foveal.storage.contents import Contents
from foveal.storage.kinds import ArrayInfo
from foveal.storage.reader import Store
from foveal.storage.slices import Gatherer, Slice
from foveal.torch.interface import Indices, Variable, VideoFacts

Padding = Literal["repeat_last", "repeat_first", "loop"]
Short = Literal["skip", "pad"]
Tail = Literal["drop", "shift", "pad"]


def choose_videos(store: Store, split: str | None, videos: Sequence[str] | None) -> list[str]:
    """Videos of a split, or those of them that are named.

    Raises
    ------
    StoreError
        Where the split has none, or a named video is not among them.
    """
    found = store.select(split)
    if videos is None:
        return found
    for video in videos:
        if video not in found:
            store.marks(video)
            raise StoreError(f"{store.location}: video {video!r} is not in split {split!r}")
    return list(videos)


def read_facts(
    store: Store,
    videos: Sequence[str],
    contents: Mapping[str, Contents],
    variables: Sequence[Variable],
) -> tuple[list[VideoFacts], dict[str, str]]:
    """What the clips must know of each video.

    Parameters
    ----------
    store : Store
    videos : sequence of str
    contents : mapping of str to Contents
        What is complete, by video.
    variables : sequence of Variable

    Returns
    -------
    facts, skipped
        Of the videos that have every array the variables need; and why the others are left out.

    Raises
    ------
    StoreError
        Where an array is in none of them; the message lists those that are.
    """
    arrays = {video: of.infos for video, of in contents.items() if of.source_size is not None}
    needed = [name for variable in variables for name in (*variable.arrays, *variable.whole_arrays)]
    there = sorted({name for found in arrays.values() for name in found})
    for name in needed:
        if name not in there:
            raise StoreError(
                f"{store.location}: none of these {len(videos)} videos has a complete array "
                f"{name!r}; there are {', '.join(there) or 'none at all'}"
            )
    facts, skipped = [], {}
    window_of = _windows_of_frames(store, arrays, needed)
    for video in videos:
        found = arrays.get(video, {})
        missing = [name for name in needed if name not in found]
        if not found or missing:
            skipped[video] = f"no complete {', '.join(missing or ['time'])}"
            continue
        size = contents[video].source_size
        assert size is not None
        facts.append(
            VideoFacts(
                video,
                found["time"].items,
                size,
                found,
                window_of.get(video, {}),
            )
        )
    return facts, skipped


def clip_starts(frames: int, length: int, stride: int, short: Short, tail: Tail) -> Indices:
    """First frame of each clip of a video.

    Parameters
    ----------
    frames : int
        Of the video.
    length, stride : int
        Frames in a clip and between the starts of clips.
    short, tail
        See `Clips`.

    Examples
    --------
    >>> [clip_starts(10, 4, 4, "skip", tail).tolist() for tail in ("drop", "shift", "pad")]
    [[0, 4], [0, 4, 6], [0, 4, 8]]
    """
    if frames < length:
        return np.arange(1 if short == "pad" and frames else 0)
    starts = np.arange(0, frames - length + 1, stride)
    following = int(starts[-1]) + stride
    if tail == "shift" and starts[-1] + length < frames:
        starts = np.append(starts, frames - length)
    elif tail == "pad" and following < frames:
        starts = np.append(starts, following)
    return starts


def clip_frames(
    start: int, frames: int, length: int, padding: Padding
) -> tuple[Indices, NDArray[np.bool_]]:
    """Frames of the clip that begins at `start`, and which of them are no padding.

    Examples
    --------
    >>> [clip_frames(2, 5, 5, rule)[0].tolist() for rule in ("repeat_last", "repeat_first", "loop")]
    [[2, 3, 4, 4, 4], [2, 2, 2, 3, 4], [2, 3, 4, 2, 3]]
    """
    there = min(length, frames - start)
    if there == length:
        return np.arange(start, start + length), np.ones(length, bool)
    number = np.arange(length)
    if padding == "repeat_first":
        number = number - (length - there)
        return start + np.maximum(number, 0), number >= 0
    valid = number < there
    number = number % there if padding == "loop" else np.minimum(number, there - 1)
    return start + number, valid


def keep_complete(starts: Indices, has: NDArray[np.bool_], length: int) -> Indices:
    """Those starts whose clip has every frame, by ``has`` of each frame of the video."""
    if has.all():
        return starts
    before = np.concatenate([[0], np.cumsum(~has)])
    stops = np.minimum(starts + length, len(has))
    complete: Indices = starts[before[stops] == before[starts]]
    return complete


def window_of_frames(starts: Indices, window: int | None, frames: int) -> Indices:
    """Number of the window that belongs to each frame, -1 for none.

    Parameters
    ----------
    starts : ndarray, int64 [windows]
        First frame of each window, increasing.
    window : int or None
        Frames in a window: it belongs to its last frame. None where they differ or are not known:
        a frame then has the latest window that has begun.
    frames : int
        Of the video.

    Examples
    --------
    >>> window_of_frames(np.array([0, 2]), 3, 6).tolist()
    [-1, -1, 0, -1, 1, -1]
    >>> window_of_frames(np.array([1, 4]), None, 6).tolist()
    [-1, 0, 0, 0, 1, 1]
    """
    if window is None:
        return starts.searchsorted(np.arange(frames), side="right") - 1
    ends = starts + window - 1
    numbers = np.flatnonzero((ends >= 0) & (ends < frames))
    found = np.full(frames, -1)
    found[ends[numbers]] = numbers
    return found


def _windows_of_frames(
    store: Store,
    arrays: Mapping[str, Mapping[str, ArrayInfo]],
    names: Sequence[str],
) -> dict[str, dict[str, Indices]]:
    """`window_of_frames` by video and array, of those arrays that hold windows."""
    wanted = [
        (info, Slice(video, starts, 0, found[starts].items))
        for video, found in arrays.items()
        for info in (found[name] for name in names if name in found)
        if (starts := info.starts) is not None and starts in found
    ]
    windows: dict[str, dict[str, Indices]] = {}
    values = Gatherer(store.location).read([read for _, read in wanted])
    for (info, read), starts in zip(wanted, values, strict=True):
        frames = arrays[read.video]["time"].items
        of_frames = window_of_frames(starts.astype(np.int64), info.window, frames)
        windows.setdefault(read.video, {})[info.name] = of_frames
    return windows
