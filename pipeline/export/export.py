"""Write arrays of a store as plain files, for other programs.

Frame k of the store (counted from 0) becomes file number k + 1: ``0001.png`` is the first frame, as
in DHF1K and later datasets. Flow file n is the motion from frame n to n + 1, so there is one file
less. Frames that are kept at another rate have their number in the source (``0001.png``,
``0007.png``, …). Numbers have four digits, or more where a video is longer than 9,999 frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError, StoreError, writing
from foveal.pipeline.export.files import FLOW_FILES, density_file, fixation_file, picture_file
from foveal.pipeline.preview.panels import drawn_as, flow_scale, resized
from foveal.pipeline.preview.view import VideoView
from foveal.pipeline.sources import known_dataset
from foveal.storage.kinds import select_arrays
from foveal.storage.marks import group_name
from foveal.storage.reader import Store, open_store

FORMS = {
    "picture": ("png", "jpg", "npy"),
    "flow": ("flo", "kitti", "color", "npy"),
    "map": ("png", "npy"),
    "points": ("png",),
}
"""File forms by the kind of the items of frames, the default first; all others allow ``npy``."""

_FOLDERS = {"picture": "images", "ground_truth": "maps", "points": "fixation"}
"""Folders as in DHF1K's ``annotation/``."""

Advance = Callable[[str, int, int], None]
"""Called during an export: video, frames done, and frames of all videos."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    folder : Path
        Folder of the files.
    files : int
        Number of files.
    videos : tuple of str
        Videos that were exported.
    skipped : mapping of str to str
        Videos without the array, and the reason.
    for_evaluation : bool
        Whether the files are maps at the source's size in the tree that DHF1K's evaluation expects
        (see `foveal.pipeline.export.tree_check`).
    """

    folder: Path
    files: int
    videos: tuple[str, ...]
    skipped: Mapping[str, str]
    for_evaluation: bool = False


def export(
    store_url: str | Path,
    folder: str | Path,
    what: str,
    form: str | None = None,
    *,
    videos: Sequence[str] | None = None,
    split: str | None = None,
    flat: bool | None = None,
    source_size: bool = False,
    quality: int = 95,
    advance: Advance = lambda video, done, of: None,
) -> Exported:
    """Write one array of many videos as files.

    Files are ``<folder>/<video>/<kind>/<number>.<suffix>``, where kind is ``images`` (pictures),
    ``maps`` (ground truth) or ``fixation`` (points), as in DHF1K's ``annotation/``. Other arrays,
    and a second picture or map of a video, use their own name. The folder of a video is the one
    that the dataset's authors use (``0002`` for the video ``002`` of DHF1K). An ``npy`` is one file
    per video, ``<folder>/<video>/<array>.npy``. For windows, the array of their starts is exported
    too, because row k is not frame k there.

    Parameters
    ----------
    store_url : str or Path
        The store.
    folder : str or Path
        Made where it does not exist; files of the same name in it are replaced.
    what : str
        The name of an array (``frames``, ``density``, ``flow_tvl1``, ``i3d_rgb``, …), or
        of a stage that keeps points (``fixations``).
    form : str, optional
        Pictures: ``png`` or ``jpg``. Flow: ``flo`` (Middlebury), ``kitti`` (16-bit PNG) or
        ``color`` (PNG, one scale per video). Maps: ``png`` (peak 255). Points: ``png`` (binary, at
        the source's size). Any array: ``npy``. The first is the default.
    videos : sequence of str, optional
        Ids of the videos to export; default is all.
    split : str, optional
        Export only videos of this split.
    flat : bool, optional
        Omit the folder of the kind: DHF1K's evaluation expects predictions as
        ``<folder>/0601/0001.png``. The default does so only for predictions at the source's size.
    source_size : bool
        Resize pictures or maps to the source video's size (by area or bilinearly), as DHF1K's
        maps have it.
    quality : int
        Quality of ``jpg``, 1 to 100.
    advance : callable
        Called during the export: video, frames done, and frames of all videos.

    Raises
    ------
    StoreError
        The store, a video or the split does not exist, or no video has the array.
    FovealError
        The form does not suit the array, or a file cannot be written.
    """
    folder = Path(folder)
    if not 1 <= quality <= 100:
        raise FovealError(f"quality is 1 to 100, not {quality}")
    store = open_store(store_url)
    chosen, skipped = holding(store, (what,), videos, split)
    files = done = 0
    of = frames_of(store, chosen)
    for_evaluation = source_size
    with writing(folder):
        for video in chosen:
            view = VideoView(store, video)
            kind = kind_by_frame(view, what)
            chosen_form = _checked_form(what, kind, form, source_size)
            place = folder / folder_name(store, video)
            if chosen_form == "npy":
                place.mkdir(parents=True, exist_ok=True)
                info = view.infos[what]
                for name in dict.fromkeys((what, info.starts, info.source_frames, info.offset)):
                    if name in view.infos:
                        _write_npy(view, name, place / f"{name}.npy")
                        files += 1
                done += view.frames
                advance(video, done, of)
                continue
            is_prediction = what in view.select(role="prediction")
            is_flat = source_size and is_prediction if flat is None else flat
            for_evaluation &= is_flat and kind == "map"
            if not is_flat:
                place = place / _kind_folder(view, what, kind)
            place.mkdir(parents=True, exist_ok=True)
            for name, content in _files(view, what, kind, chosen_form, source_size, quality):
                (place / name).write_bytes(content)
                files += 1
                done += 1
                advance(video, done, of)
    return Exported(folder, files, tuple(chosen), skipped, for_evaluation)


def holding(
    store: Store, arrays: Sequence[str], videos: Sequence[str] | None, split: str | None
) -> tuple[list[str], dict[str, str]]:
    """Select the videos that have some arrays.

    Parameters
    ----------
    store : Store
    arrays : sequence of str
        Names of arrays, or of stages that keep points.
    videos : sequence of str or None
        Ids of the videos to select from; None selects from all.
    split : str or None
        Select only from this split.

    Returns
    -------
    list of str, dict of str to str
        Videos that have all of the arrays; and the others, with the reason.

    Raises
    ------
    StoreError
        No video has them; the message lists the arrays that exist.
    """
    if videos is not None and split is not None:
        raise FovealError(f"give videos or a split, not both ({split!r})")
    found, skipped = [], {}
    there: set[str] = set()
    for video in store.select(split) if videos is None else videos:
        infos = store.infos(video)
        points = {infos[name].stage for name in select_arrays(infos.values(), "points")}
        names = {*infos, *points}
        there.update(names)
        missing = [name for name in arrays if name not in names]
        if missing:
            skipped[video] = f"has no complete {', '.join(missing)}"
        else:
            found.append(video)
    if not found:
        raise StoreError(
            f"{store.location}: no video has {' and '.join(arrays)}; "
            f"there are {', '.join(sorted(there)) or 'no arrays'}"
        )
    return found, skipped


def frames_of(store: Store, videos: Sequence[str]) -> int:
    """Count the frames of all `videos` together."""
    return int(store.videos.frames.reindex(list(videos)).fillna(0).sum())


def folder_name(store: Store, video: str) -> str:
    """Name the folder of a `video`'s files as the authors of its dataset do."""
    dataset = known_dataset(store.dataset)
    return group_name(video if dataset is None else dataset.folder_name(video))


def frame_file(view: VideoView, frame: int, suffix: str) -> str:
    """Name the file of a `frame`: numbers from 1, four digits, more where the video is longer."""
    return f"{frame + 1:0{max(4, len(str(view.frames)))}d}.{suffix}"


def kind_by_frame(view: VideoView, what: str) -> str:
    """Find the key of `FORMS` for the items of frames in `what`; empty where it allows only npy."""
    if what not in view.infos:
        if what not in view.points:
            raise FovealError(f"{what} of {view.video} stores no points by frame: x, y and offset")
        return "points"
    shape = drawn_as(view, what)
    if shape == "heat":
        return "map" if len(view.infos[what].item_shape) == 2 else ""
    return shape or ""


def _checked_form(what: str, kind: str, form: str | None, source_size: bool) -> str:
    forms = FORMS.get(kind, ("npy",))
    form = form or forms[0]
    if form not in forms:
        raise FovealError(f"{what} is exported as {', '.join(forms)}, not as {form!r}")
    if source_size and (kind not in ("picture", "map") or form == "npy"):
        raise FovealError(f"source_size is for pictures and maps, not {what} as {form}")
    return form


def _kind_folder(view: VideoView, what: str, kind: str) -> str:
    if kind == "points":
        return _FOLDERS[kind] if list(view.points)[:1] == [what] else what
    if what == view.ground:
        return _FOLDERS["picture"]
    return _FOLDERS["ground_truth"] if what == view.ground_truth_map else what


def _files(
    view: VideoView, what: str, kind: str, form: str, source_size: bool, quality: int
) -> Iterator[tuple[str, bytes]]:
    if kind == "points":
        points = view.points[what]
        for frame in range(view.frames):
            rows = points.rows(frame, frame + 1)
            content = fixation_file(points.x[rows], points.y[rows], view.source_size)
            yield frame_file(view, frame, form), content
        return
    suffix, encode = _encoder(view, what, kind, form, source_size, quality)
    frames = view.first_frames(what) if view.is_of_kept_frames(what) else None
    for moment in view.moments((what,), range(view.frames) if frames is None else frames.tolist()):
        if what in moment.items:
            yield frame_file(view, moment.frame, suffix), encode(moment.items[what])


def _encoder(
    view: VideoView, what: str, kind: str, form: str, source_size: bool, quality: int
) -> tuple[str, Callable[[NDArray[Any]], bytes]]:
    """Suffix of a frame's file, and the function that encodes the frame's item."""
    if kind == "flow":
        suffix, encode = FLOW_FILES[form]
        scale = flow_scale(view, what) if form == "color" else 1.0
        return suffix, lambda flow: encode(flow, scale)

    def picture(item: NDArray[Any]) -> bytes:
        if source_size:
            # OpenCV cannot resize float16, the type of predictions.
            whole = item if item.dtype == np.uint8 else item.astype(np.float32)
            item = resized(whole, view.source_size)
        return density_file(item) if kind == "map" else picture_file(item, form, quality)

    return form, picture


def _write_npy(view: VideoView, name: str, path: Path) -> None:
    """Write a whole array shard by shard; scaled integers become float32."""
    array = view.array(name)
    dtype = view.read(name, 0, 0).dtype
    about = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": array.shape,
    }
    step = (array.shards or array.chunks)[0]
    # No memory map: where a disk fills up under one, the process is killed by SIGBUS.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, about)
        for start in range(0, array.shape[0] if array.size else 0, step):
            file.write(np.ascontiguousarray(view.read(name, start, start + step), dtype).data)
