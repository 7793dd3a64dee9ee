"""Evaluation subsets as per-frame masks: which frames of a video a benchmark scores."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.sources.readers.frame_lists import mask_of_frames, read_frame_lists
from foveal.storage.arrays import read_array
from foveal.storage.location import Location
from foveal.storage.marks import read_journal
from foveal.storage.reader import Store
from foveal.storage.root import store_lock
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter

MASK_PREFIX = "mask_"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FRAMES_A_CHUNK = 2**14


def attach_masks(url: str, frame_list: Path, name: str) -> dict[str, int]:
    """Keep a frame list in a store as an array ``mask_<name>`` of each video it names.

    Parameters
    ----------
    url : str
        The store.
    frame_list : Path
        CSV ``video,frame,mask`` that counts frames on the video resampled to 30 Hz (LEDOV-Meta,
        DIEM-Meta; Tangemann et al. 2020).
    name : str
        Lower-case letters, digits and underscores.

    Returns
    -------
    dict of str to int
        Frames that count, by video; a video of the list that the store lacks is not in it.

    Raises
    ------
    GazeError
        Where the list cannot be read, names no video of the store, or `name` is no name.
    """
    if not _NAME.fullmatch(name):
        raise GazeError(f"a mask cannot be called {name!r}; use a-z, 0-9 and _, a letter first")
    lists = read_frame_lists(frame_list)
    location = Location(url)
    array = stage = MASK_PREFIX + name
    counted: dict[str, int] = {}
    with store_lock(location):
        marks, _ = read_journal(location)
        for video in sorted(lists.keys() & marks.keys()):
            time = marks[video].get("time")
            if time is None:
                continue
            pts_seconds = np.asarray(read_array(location, video, "time")[:], np.float64)
            mask = mask_of_frames(lists[video], pts_seconds)
            spec = ArraySpec(
                array,
                ("time",),
                (),
                np.dtype(bool),
                {"long_name": f"frame counts in {name}", "source": frame_list.name},
                _FRAMES_A_CHUNK,
                _FRAMES_A_CHUNK,
                axis="frame",
                kind="scalar",
                role="mask",
            )
            digest = hashlib.sha256(np.packbits(lists[video]).tobytes()).hexdigest()
            identity = {
                "stage": stage,
                "version": 1,
                "parameters": {"list_sha256": digest},
                "upstream": {"time": time.fingerprint},
            }
            writer = VideoWriter(location, video, time.provenance["video"])
            writer.invalidate([stage] if stage in marks[video] else [], [array])
            sink = writer.stage(stage, identity, [spec])
            sink.append({array: mask})
            sink.complete({"frames_counted": int(mask.sum())})
            counted[video] = int(mask.sum())
    if not counted:
        some = ", ".join(list(lists)[:3])
        raise GazeError(f"{url} has none of the {len(lists)} videos of {frame_list}: {some}, …")
    return counted


def stored_masks(store: Store, videos: Sequence[str], name: str) -> dict[str, NDArray[np.bool_]]:
    """Frames that count, as `attach_masks` keeps them.

    Parameters
    ----------
    store : Store
    videos : sequence of str
    name : str
        Of the mask, with or without ``mask_``.

    Returns
    -------
    dict of str to ndarray, bool [frames]
        Of those videos that have it and of which any frame counts (Tangemann et al. 2020 skip the
        others).

    Raises
    ------
    RecipeError
        None of the videos has it.
    """
    array = name if name.startswith(MASK_PREFIX) else MASK_PREFIX + name
    marks, _ = read_journal(store.location, videos)
    having = [video for video in videos if array in marks.get(video, {})]
    if not having:
        there = sorted({each for found in marks.values() for each in found})
        known = ", ".join(each for each in there if each.startswith(MASK_PREFIX)) or "none"
        raise RecipeError(
            f"{store.location}: none of {len(videos)} videos has {array}; masks there: {known}; "
            "`foveal mask` attaches a list of frames"
        )
    masks = {video: np.asarray(store.array(video, array)[:], bool) for video in having}
    return {video: mask for video, mask in masks.items() if mask.any()}
