"""Which clips there are: decided from completion marks, before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foveal.errors import StoreError
from foveal.storage.marks import Mark, read_journal
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
    store: Store, videos: Sequence[str], variables: Sequence[Variable]
) -> tuple[list[VideoFacts], dict[str, str]]:
    """What the clips must know of each video.

    Returns
    -------
    facts, skipped
        Of the videos that have every array the variables need; and why the others are left out.

    Raises
    ------
    StoreError
        Where an array is in none of them; the message lists those that are.
    """
    marks, _ = read_journal(store.location, videos)
    arrays = {
        video: {
            name: about for mark in marks[video].values() for name, about in mark.arrays.items()
        }
        for video in videos
        if "time" in marks.get(video, {})
    }
    needed = [name for variable in variables for name in (*variable.arrays, *variable.whole_arrays)]
    there = sorted({name for found in arrays.values() for name in found})
    for name in needed:
        if name not in there:
            raise StoreError(
                f"{store.location}: none of these {len(videos)} videos has a complete array "
                f"{name!r}; there are {', '.join(there) or 'none at all'}"
            )
    facts, skipped = [], {}
    ends = _window_ends(store, marks, arrays, [name for name in needed if name.startswith("i3d_")])
    for video in videos:
        found = arrays.get(video, {})
        missing = [name for name in needed if name not in found]
        if not found or missing:
            skipped[video] = f"no complete {', '.join(missing or ['time'])}"
            continue
        height, width = marks[video]["time"].provenance["video"]["source_size"]
        facts.append(
            VideoFacts(
                video,
                found["time"]["shape"][0],
                (height, width),
                {name: tuple(about["shape"]) for name, about in found.items()},
                {name: tuple(about["dims"]) for name, about in found.items()},
                ends.get(video, {}),
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
    before = np.concatenate([[0], np.cumsum(~has)])
    stops = np.minimum(starts + length, len(has))
    complete: Indices = starts[before[stops] == before[starts]]
    return complete


def _window_ends(
    store: Store,
    marks: Mapping[str, Mapping[str, Mark]],
    arrays: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
) -> dict[str, dict[str, Indices]]:
    """Last frame of each window, by video and array."""
    wanted, slices = [], []
    for video, found in arrays.items():
        for name in names:
            if name in found:
                mark = next(mark for mark in marks[video].values() if name in mark.arrays)
                start = next(other for other in mark.arrays if other.endswith("window_start"))
                wanted.append((name, int(mark.provenance["parameters"]["window"])))
                slices.append(Slice(video, start, 0, found[start]["shape"][0]))
    ends: dict[str, dict[str, Indices]] = {}
    values = Gatherer(store.location).read(slices)
    for (name, window), read, starts in zip(wanted, slices, values, strict=True):
        ends.setdefault(read.video, {})[name] = starts.astype(np.int64) + window - 1
    return ends
