"""Arrays of a store as plain files, for those who must hand them on.

Frame k of the store (counted from 0) becomes file number k + 1: ``0001.png`` is the first frame,
as DHF1K and the datasets after it number them. Flow file n is the motion from frame file n to
n + 1, so there is one less. Of frames kept at another rate each has its number in the source
(``0001.png``, ``0007.png``, …). Numbers have four digits, more where a video is longer than 9,999.
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
from foveal.pipeline.preview.panels import SAMPLED_FRAMES, drawn_as, flow_scale, resized
from foveal.pipeline.preview.view import VideoView, sample
from foveal.storage.kinds import select_arrays
from foveal.storage.marks import group_name
from foveal.storage.reader import Store, open_store

FORMS = {
    "picture": ("png", "jpg", "npy"),
    "flow": ("flo", "kitti", "color", "npy"),
    "map": ("png", "npy"),
    "points": ("png",),
}
"""File forms by what an array has for each frame, the default first; ``npy`` of anything else."""

_FOLDERS = {"picture": "images", "ground_truth": "maps", "points": "fixation"}
"""Folders of DHF1K's ``annotation/``."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    folder : Path
    files : int
    videos : tuple of str
    skipped : mapping of str to str
        Videos without the array, and why.
    for_evaluation : bool
        Whether the files are pictures of maps in the tree that DHF1K's evaluation takes, at the
        source's size (see `foveal.pipeline.export.tree_check`).
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
) -> Exported:
    """Write one array of many videos as files.

    ``<folder>/<video>/<kind>/<number>.<suffix>``, where kind is ``images`` (pictures), ``maps``
    (where people looked) and ``fixation`` (points), the layout of DHF1K's ``annotation/``; other
    arrays, and the second picture or map of a video, keep their own name. Ids of DHF1K get its
    four digits (``002`` is ``0002``). An ``npy`` is one file per video,
    ``<folder>/<video>/<array>.npy``; beside windows lies the array of their starts, since row k is
    not frame k there.

    Parameters
    ----------
    store_url : str or Path
    folder : str or Path
        Made where it does not exist; files of the same name in it are replaced.
    what : str
        The name of an array (``frames``, ``density``, ``flow_tvl1``, ``i3d_rgb``, …), or
        of a stage that keeps points (``fixations``).
    form : str, optional
        By kind: ``png`` or ``jpg`` of pictures; ``flo`` (Middlebury), ``kitti`` (16-bit PNG) or
        ``color`` (PNG, one scale a video) of flow; ``png`` of maps (peak 255) and of points
        (binary, at the source's size); ``npy`` of any array. The first named is the default.
    videos : sequence of str, optional
        Only these.
    split : str, optional
        Only those of this split.
    flat : bool, optional
        Leave the kind's folder out: ``<folder>/0601/0001.png`` is how DHF1K's evaluation takes
        predictions. None does so for predictions at the source's size alone.
    source_size : bool
        Bring pictures or maps to the source video's size (by area or bilinearly), as DHF1K's
        maps have it, instead of leaving them as stored.
    quality : int
        Of ``jpg``, 1 to 100.

    Raises
    ------
    StoreError
        Where the store, a video or the split is not there, or no video has the array.
    FovealError
        Where the form does not suit the array, or a file cannot be written.
    """
    folder = Path(folder)
    if not 1 <= quality <= 100:
        raise FovealError(f"quality is 1 to 100, not {quality}")
    store = open_store(store_url)
    chosen, skipped = holding(store, (what,), videos, split)
    files = 0
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
                continue
            is_flat = source_size and is_prediction(view, what) if flat is None else flat
            for_evaluation &= is_flat and kind == "map"
            if not is_flat:
                place = place / _kind_folder(view, what, kind)
            place.mkdir(parents=True, exist_ok=True)
            for name, content in _files(view, what, kind, chosen_form, source_size, quality):
                (place / name).write_bytes(content)
                files += 1
    return Exported(folder, files, tuple(chosen), skipped, for_evaluation)


def holding(
    store: Store, arrays: Sequence[str], videos: Sequence[str] | None, split: str | None
) -> tuple[list[str], dict[str, str]]:
    """Videos that have all of some arrays, and why the others are left out.

    Raises
    ------
    StoreError
        Where there are none; the message lists what there is.
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


def folder_name(store: Store, video: str) -> str:
    """Folder of a video's files; four digits for DHF1K, as its annotation has them."""
    if store.dataset == "dhf1k" and video.isdigit():
        return f"{int(video):04d}"
    return group_name(video)


def frame_file(view: VideoView, frame: int, suffix: str) -> str:
    """Name of a frame's file: numbers from 1, four digits, more where the video is longer."""
    return f"{frame + 1:0{max(4, len(str(view.frames)))}d}.{suffix}"


def is_prediction(view: VideoView, what: str) -> bool:
    """Whether an array holds a network's maps of where people look."""
    return what in view.infos and view.infos[what].role == "prediction"


def kind_by_frame(view: VideoView, what: str) -> str:
    """What is exported of each frame: a key of `FORMS`; empty where only the whole array can be."""
    if what not in view.infos:
        if what not in view.points:
            raise FovealError(f"{what} of {view.video} keeps no points by frame: x, y and offset")
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
    """The suffix of one frame's file, and what makes its content of the frame's item."""
    if kind == "flow":
        suffix, encode = FLOW_FILES[form]
        shown = sample(range(view.infos[what].items), SAMPLED_FRAMES)
        scale = flow_scale(view, what, shown) if form == "color" else 1.0
        return suffix, lambda flow: encode(flow, scale)

    def picture(item: NDArray[Any]) -> bytes:
        if source_size:
            # OpenCV resizes no float16, which predictions are stored as.
            whole = item if item.dtype == np.uint8 else item.astype(np.float32)
            item = resized(whole, view.source_size)
        return density_file(item) if kind == "map" else picture_file(item, form, quality)

    return form, picture


def _write_npy(view: VideoView, name: str, path: Path) -> None:
    """A whole array, a shard at a time; scaled integers as the float32 they stand for."""
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
