"""This module stores the maps of other models beside this project's predictions, to score both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveal.errors import FovealError, InputError, RecipeError
from foveal.pipeline.export.export import folder_name
from foveal.pipeline.learn.foreign_maps import ForeignMaps, entries_of, entry_names, find_maps
from foveal.pipeline.learn.predict import PREFIX, Advance, check_name
from foveal.pipeline.stages.base import OF_THIS_RUN, Arrays, PlainStage
from foveal.pipeline.stages.beside import write_beside
from foveal.pipeline.stages.frames import TIMELINE
from foveal.pipeline.video.resize import resize_frames
from foveal.storage.claims import BESIDE
from foveal.storage.index import refresh_index
from foveal.storage.location import Location
from foveal.storage.marks import Mark, group_name, infos_of, read_journal
from foveal.storage.reader import Store, open_store
from foveal.storage.root import store_lock
from foveal.storage.schema import ArraySpec

ORIGIN = "imported maps"
RULE = "the map covers the whole picture; by area where it shrinks, bilinear where it grows"
"""How maps are resized to the size asked for, and to the grid of the ground truth."""


@dataclass(frozen=True)
class Imported:
    """The result for one video.

    Attributes
    ----------
    video : str
        Id of the video.
    status : {'complete', 'unchanged', 'fits', 'skipped'}
        ``fits`` where nothing was to be written.
    reason : str
        Why it was skipped.
    form : str
        See `ForeignMaps`.
    frames : int
        Number of maps.
    size : (int, int) or None
        Height and width of the maps in the folder, in pixels.
    """

    video: str
    status: Literal["complete", "unchanged", "fits", "skipped"]
    reason: str = ""
    form: str = ""
    frames: int = 0
    size: tuple[int, int] | None = None


class ImportedStage(PlainStage):
    """The stage that writes ``saliency_<name>``: another model's map of each frame of one video.

    Parameters
    ----------
    array : str
        Name of the array.
    maps : ForeignMaps
    size : (int, int), optional
        Height and width to resize them to; None keeps their size.
    source : str
        Whose maps they are, in words.
    folder : Path
        The folder that holds them.
    """

    inputs = ()
    reads = (TIMELINE,)

    def __init__(
        self, array: str, maps: ForeignMaps, size: tuple[int, int] | None, source: str, folder: Path
    ) -> None:
        self.name = array
        self.arrays = (array,)
        self._maps, self._source, self._folder = maps, source, folder
        self._size = size if size not in (None, maps.size) else None
        self._sha256 = maps.digest()

    def parameters(self) -> dict[str, Any]:
        return {
            "origin": ORIGIN,
            "form": self._maps.form,
            "variable": self._maps.variable,
            "sha256": self._sha256,
            "resized_to": None if self._size is None else list(self._size),
        }

    def outputs(self) -> Sequence[ArraySpec]:
        whose = self._source or self.name.removeprefix(PREFIX)
        return [
            ArraySpec(
                self.name,
                ("time", f"{self.name}_y", f"{self.name}_x"),
                self._size or self._maps.size,
                self._maps.dtype if self._size is None else np.dtype(np.float32),
                {"long_name": f"saliency of another model: {whose}", "units": "1"},
                axis="frame",
                kind="map",
                role="prediction",
            )
        ]

    def finish(self) -> Iterator[Arrays]:
        for maps in self._maps.read():
            if self._size is None:
                yield {self.name: maps}
            else:
                yield {self.name: resize_frames(maps.astype(np.float32), self._size)}

    def provenance(self) -> dict[str, Any]:
        files = self._maps.files
        return {
            "source": self._source,
            "files": len(files),
            "first_file": files[0].name,
            "last_file": files[-1].name,
            "numbered_from": self._maps.first_number,
            "given_size": list(self._maps.size),
            "resize_rule": RULE,
            OF_THIS_RUN: {"folder": str(self._folder)},
        }


def import_maps(
    url: str,
    name: str,
    folder: str | Path,
    *,
    split: str | None = None,
    videos: Sequence[str] | None = None,
    size: tuple[int, int] | Literal["source"] | None = None,
    source: str = "",
    inside: str | None = None,
    variable: str | None = None,
    only_check: bool = False,
    advance: Advance = lambda video, done, frames: None,
) -> tuple[list[Imported], list[str]]:
    """Store another model's maps as ``saliency_<name>`` of each video.

    1. compare names and numbers of all files of a video with its frames, one by one;
    2. skip what is complete from the same files;
    3. write the maps, exactly as they are or resized to `size`, and mark them as complete.

    A video whose maps do not fit is skipped with the reason; nothing of it is written.

    Parameters
    ----------
    url : str
        The store.
    name : str
        Lower-case letters, digits and ``_``.
    folder : str or Path
        See `foveal.pipeline.learn.foreign_maps`. A video's maps are named by its id, or as
        `foveal export` names its folder (DHF1K: four digits).
    split : str, optional
        Only videos of this split.
    videos : sequence of str, optional
        Only these videos.
    size : (int, int) or 'source', optional
        Height and width to store (float32), resized by `RULE`; None stores the maps as they are.
    source : str
        Whose maps they are: model, weights, paper; stored with them.
    inside, variable : str, optional
        See `find_maps`.
    only_check : bool
        Whether nothing is written.
    advance : callable
        Called with a video, the number of frames done and the number of its frames.

    Returns
    -------
    results : list of Imported
        One per video.
    strangers : list of str
        Entries of the folder that belong to no video of the store.

    Raises
    ------
    RecipeError
        `name` is not valid, or the folder does not exist.
    StoreError, StoreLocked
        The store lacks a video, or a build that must be alone is at work on it.
    """
    folder = Path(folder)
    check_name(name)
    if not folder.is_dir():
        raise RecipeError(f"{folder} is not a folder; give the one that holds a folder per video")
    store, location = open_store(url), Location(url)
    wanted = store.select(split) if videos is None else list(videos)
    for video in set(wanted) - set(store):
        store.marks(video)

    def one(video: str, marks: Mapping[str, Mark], place: Location) -> Imported:
        frames = infos_of(marks)[TIMELINE].items
        maps = find_maps(folder, names_of(store, video), frames, inside=inside, variable=variable)
        if maps is None:
            return Imported(video, "skipped", f"no maps: {folder} holds nothing of that name")
        fits = Imported(video, "fits", form=maps.form, frames=maps.frames, size=maps.size)
        if only_check:
            return fits
        array = PREFIX + name
        there = marks.get(array)
        if there is not None and there.identity["parameters"].get("origin") != ORIGIN:
            reason = f"{array} is there already, estimated by a network; import under another name"
            return Imported(video, "skipped", reason)
        about = marks[TIMELINE].provenance["video"]["source_size"]
        to = (int(about[0]), int(about[1])) if size == "source" else size
        stage = ImportedStage(array, maps, to, source, folder)
        if there is not None and there.identity["parameters"] != stage.parameters():
            for _ in maps.read():  # the old maps are removed only when all new ones can be read
                pass
        mark = write_beside(
            place, video, marks, stage, advance=lambda done: advance(video, done, frames)
        )
        return replace(fits, status="unchanged" if mark is None else "complete")

    def checked(video: str, place: Location) -> Imported:
        advance(video, 0, 1)
        marks, quarantined = read_journal(place, [video])
        if video in quarantined:
            return Imported(video, "skipped", f"quarantined: {quarantined[video].reason}")
        if TIMELINE not in marks.get(video, {}):
            raise FovealError(f"{url}: nothing of video {video!r} is complete; build it first")
        try:
            return one(video, marks[video], place)
        except InputError as error:
            return Imported(video, "skipped", str(error))

    if only_check:
        results = [checked(video, location) for video in wanted]
    else:
        with store_lock(location, BESIDE) as claims:
            results = claims.for_each(wanted, checked)
            made = [each.video for each in results if each.status == "complete"]
            with claims.whole_store() as whole:
                refresh_index(whole, made, current=not claims.others())
    known = {path.name for video in store for path in entries_of(folder, names_of(store, video))}
    return results, [entry for entry in entry_names(folder) if entry not in known]


def names_of(store: Store, video: str) -> tuple[str, ...]:
    """Return the possible names of a video's maps: its id, and its folder in an export."""
    return tuple(dict.fromkeys((group_name(video), folder_name(store, video))))
