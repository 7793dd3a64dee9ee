"""This module cuts videos into clips by their completion marks, before any frame is read."""

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
    """Return the videos of a split, or the named ones among them.

    Raises
    ------
    StoreError
        The split has none, or a named video is not in it.
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
    """Return what the clips must know of each video.

    Parameters
    ----------
    store : Store
    videos : sequence of str
    contents : mapping of str to Contents
        What is complete, by video.
    variables : sequence of Variable

    Returns
    -------
    facts : list of VideoFacts
        Of the videos that have every array that the variables need.
    skipped : dict of str to str
        The other videos, and why they are left out.

    Raises
    ------
    StoreError
        No video has an array; the message lists the arrays that exist.
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
    offset_of = _offsets(store, arrays, needed)
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
                offset_of.get(video, {}),
            )
        )
    return facts, skipped


def clip_starts(frames: int, length: int, stride: int, short: Short, tail: Tail) -> Indices:
    """Return the first frame of each clip of a video.

    Parameters
    ----------
    frames : int
    length, stride : int
        Frames per clip and between the starts of clips.
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
    """Return the frames of the clip that starts at `start`, and which of them are not padding.

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
    """Return the starts whose clip has every frame, given ``has`` of each frame of the video."""
    if has.all():
        return starts
    before = np.concatenate([[0], np.cumsum(~has)])
    stops = np.minimum(starts + length, len(has))
    complete: Indices = starts[before[stops] == before[starts]]
    return complete


def window_of_frames(starts: Indices, window: int | None, frames: int) -> Indices:
    """Return the number of the window that belongs to each frame, -1 for none.

    Parameters
    ----------
    starts : ndarray, int64 [windows]
        First frame of each window, increasing.
    window : int or None
        Frames per window: it belongs to its last frame. None if the number differs or is unknown: a
        frame then has the latest window that has started.
    frames : int

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


def nearest_items(seconds: NDArray[np.float64], starts: Indices, span: int) -> Indices:
    """Return the number of the item whose middle is nearest in time to each frame, -1 for none.

    Parameters
    ----------
    seconds : ndarray, float64 [frames]
        Presentation times of all frames.
    starts : ndarray, int64 [items]
        First frame of each item, increasing.
    span : int
        Frames that an item covers; 1 for items of single frames. If two items are equally near, the
        earlier one counts.

    Examples
    --------
    >>> nearest_items(np.arange(6) / 10, np.array([0, 3]), 1).tolist()
    [0, 0, 1, 1, 1, 1]
    """
    if not len(starts):
        return np.full(len(seconds), -1)
    last = len(seconds) - 1
    begin, end = np.clip(starts, 0, last), np.clip(starts + span - 1, 0, last)
    middle = (seconds[begin] + seconds[end]) / 2
    after = np.clip(middle.searchsorted(seconds), 1, max(1, len(middle) - 1))
    if len(middle) == 1:
        return np.zeros(len(seconds), np.int64)
    closer = (middle[after] - seconds) < (seconds - middle[after - 1]) - _SAME_SECONDS
    found: Indices = np.where(closer, after, after - 1)
    return found


_SAME_SECONDS = 1e-9


def _windows_of_frames(
    store: Store,
    arrays: Mapping[str, Mapping[str, ArrayInfo]],
    names: Sequence[str],
) -> dict[str, dict[str, Indices]]:
    """Return the item of each frame, by video and array of windows or of frames at another rate.

    Windows of a stage that records their ``span`` are assigned by `nearest_items`, as kept frames
    are; all others by `window_of_frames`.
    """
    wanted = [
        (info, Slice(video, starts, 0, found[starts].items))
        for video, found in arrays.items()
        for info in (found[name] for name in names if name in found)
        if (starts := info.starts or info.source_frames) is not None and starts in found
    ]
    windows: dict[str, dict[str, Indices]] = {}
    gatherer = Gatherer(store.location)
    values = gatherer.read([read for _, read in wanted])
    spans = [1 if info.source_frames is not None else info.span for info, _ in wanted]
    by_time = sorted({read.video for (_, read), span in zip(wanted, spans, strict=True) if span})
    clocks = gatherer.read(
        [Slice(video, "time", 0, arrays[video]["time"].items) for video in by_time]
    )
    seconds = dict(zip(by_time, clocks, strict=True))
    for (info, read), starts, span in zip(wanted, values, spans, strict=True):
        starts = starts.astype(np.int64)
        if span:
            of_frames = nearest_items(seconds[read.video], starts, span)
        else:
            frames = arrays[read.video]["time"].items
            of_frames = window_of_frames(starts, info.window, frames)
        windows.setdefault(read.video, {})[info.name] = of_frames
    return windows


def _offsets(
    store: Store, arrays: Mapping[str, Mapping[str, ArrayInfo]], names: Sequence[str]
) -> dict[str, dict[str, Indices]]:
    """Return where each frame's run of items starts, by video and array."""
    wanted = [
        (info.name, Slice(video, info.offset, 0, found[info.offset].items))
        for video, found in arrays.items()
        for info in (found[name] for name in names if name in found)
        if info.offset is not None and info.offset in found
    ]
    offsets: dict[str, dict[str, Indices]] = {}
    values = Gatherer(store.location).read([read for _, read in wanted])
    for (name, read), offset in zip(wanted, values, strict=True):
        offsets.setdefault(read.video, {})[name] = offset.astype(np.int64)
    return offsets
