"""This module stores evaluation subsets as masks: which frames of a video a benchmark scores."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.sources.readers.frame_lists import mask_of_frames, read_frame_lists
from foveal.pipeline.stages.base import NO_ARRAYS, Arrays, PlainStage
from foveal.pipeline.stages.beside import write_beside
from foveal.pipeline.stages.frames import TIMELINE
from foveal.pipeline.video.types import ArrayBatch
from foveal.storage.claims import BESIDE
from foveal.storage.index import refresh_index
from foveal.storage.kinds import select_arrays
from foveal.storage.location import Location
from foveal.storage.marks import journal_videos, read_marks
from foveal.storage.reader import Store
from foveal.storage.root import store_lock
from foveal.storage.schema import ArraySpec

MASK_PREFIX = "mask_"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CHUNK_FRAMES = 2**14


class MaskStage(PlainStage):
    """The stage that writes ``mask_<name>``: whether each frame counts.

    Parameters
    ----------
    name : str
        Without ``mask_``.
    counts_at_30_hz : ndarray, bool [n]
        Whether each frame of the video resampled to 30 Hz counts.
    source : str
        Name of the list's file.
    """

    inputs = (TIMELINE,)

    def __init__(self, name: str, counts_at_30_hz: NDArray[np.bool_], source: str) -> None:
        self.name = MASK_PREFIX + name
        self.arrays = (self.name,)
        self.frames_counted = 0
        self._counts = counts_at_30_hz
        self._about = {"long_name": f"frame counts in {name}", "source": source}
        self._pts_seconds: list[NDArray[np.float64]] = []

    def parameters(self) -> dict[str, Any]:
        return {"list_sha256": hashlib.sha256(np.packbits(self._counts).tobytes()).hexdigest()}

    def outputs(self) -> Sequence[ArraySpec]:
        return [
            ArraySpec(
                self.name,
                ("time",),
                (),
                np.dtype(bool),
                self._about,
                _CHUNK_FRAMES,
                _CHUNK_FRAMES,
                axis="frame",
                kind="scalar",
                role="mask",
            )
        ]

    def push(self, batch: ArrayBatch) -> Arrays:
        self._pts_seconds.append(batch.values)
        return NO_ARRAYS

    def finish(self) -> Iterable[Arrays]:
        mask = mask_of_frames(self._counts, np.concatenate(self._pts_seconds))
        self.frames_counted = int(mask.sum())
        return [{self.name: mask}]

    def provenance(self) -> dict[str, Any]:
        return {"frames_counted": self.frames_counted}


def attach_masks(url: str, frame_list: Path, name: str) -> dict[str, int]:
    """Store a frame list as an array ``mask_<name>`` of each video that it names.

    Parameters
    ----------
    url : str
        The store.
    frame_list : Path
        CSV ``video,frame,mask`` that counts frames of the video resampled to 30 Hz (LEDOV-Meta,
        DIEM-Meta; Tangemann et al. 2020).
    name : str
        Lower-case letters, digits and underscores.

    Returns
    -------
    dict of str to int
        Number of frames that count, by video; without videos of the list that the store lacks.

    Raises
    ------
    GazeError
        The list cannot be read or names no video of the store, or `name` is not valid.
    """
    if not _NAME.fullmatch(name):
        raise GazeError(f"a mask cannot be called {name!r}; use a-z, 0-9 and _, a letter first")
    lists = read_frame_lists(frame_list)
    location = Location(url)
    counted: dict[str, int] = {}

    def one(video: str, place: Location) -> None:
        marks = read_marks(place, video)
        if TIMELINE in marks:
            stage = MaskStage(name, lists[video], frame_list.name)
            write_beside(place, video, marks, stage)
            counted[video] = stage.frames_counted

    with store_lock(location, BESIDE) as claims:
        claims.for_each(sorted(lists.keys() & set(journal_videos(location))), one)
        with claims.whole_store() as whole:
            refresh_index(whole, counted, current=not claims.others())
    if not counted:
        some = ", ".join(list(lists)[:3])
        raise GazeError(f"{url} has none of the {len(lists)} videos of {frame_list}: {some}, …")
    return counted


def stored_masks(store: Store, videos: Sequence[str], name: str) -> dict[str, NDArray[np.bool_]]:
    """Read masks that `attach_masks` stored.

    Parameters
    ----------
    store : Store
    videos : sequence of str
        Ids of the videos.
    name : str
        Name of the mask, with or without ``mask_``.

    Returns
    -------
    dict of str to ndarray, bool [frames]
        By video, without those that lack the mask or of which no frame counts (Tangemann et al.
        2020 skip these).

    Raises
    ------
    RecipeError
        None of the videos has the mask.
    """
    array = name if name.startswith(MASK_PREFIX) else MASK_PREFIX + name
    contents = store.contents_now(videos)
    having = [video for video in videos if video in contents and array in contents[video].infos]
    if not having:
        infos = [info for of in contents.values() for info in of.infos.values()]
        known = ", ".join(sorted(set(select_arrays(infos, role="mask")))) or "none"
        raise RecipeError(
            f"{store.location}: none of {len(videos)} videos has {array}; masks there: {known}; "
            "`foveal mask` attaches a list of frames"
        )
    masks = {video: np.asarray(store.array(video, array)[:], bool) for video in having}
    return {video: mask for video, mask in masks.items() if mask.any()}
