"""Arrays of a store as plain files, for those who must hand them on.

Frame k of the store (counted from 0) becomes file number k + 1: ``0001.png`` is the first frame,
as DHF1K and the datasets after it number them. Flow file n is the motion from frame file n to
n + 1, so there is one less. Numbers have four digits, more where a video is longer than 9,999.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError, StoreError
from foveal.pipeline.export.files import FLOW_FILES, density_file, fixation_file, picture_file
from foveal.pipeline.preview.panels import flow_scale, resized
from foveal.pipeline.preview.view import Moment, VideoView, sample
from foveal.storage.marks import group_name
from foveal.storage.reader import Store, open_store

FORMS = {
    "frames": ("png", "jpg", "npy"),
    "flow": ("flo", "kitti", "color", "npy"),
    "density": ("png", "npy"),
    "fixations": ("png",),
}
"""File forms by what is exported, the default first; any other array is exported as ``npy``."""

FOLDERS = {"frames": "images", "density": "maps", "fixations": "fixation"}
"""Folder of a video's files, as in DHF1K's ``annotation/``; other arrays keep their own name."""

_SCALE_FRAMES = 64

Encode = Callable[[Moment], bytes | None]


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
    """

    folder: Path
    files: int
    videos: tuple[str, ...]
    skipped: Mapping[str, str]


def export(
    store_url: str | Path,
    folder: str | Path,
    what: str,
    form: str | None = None,
    *,
    videos: Sequence[str] | None = None,
    split: str | None = None,
    flat: bool = False,
    source_size: bool = False,
    quality: int = 95,
) -> Exported:
    """Write one kind of array of many videos as files.

    ``<folder>/<video>/<kind>/<number>.<suffix>``, where kind is ``images``, ``maps``, ``fixation``
    or the array's name: the layout of DHF1K's ``annotation/``. Ids of DHF1K get its four digits
    (``002`` is ``0002``). An ``npy`` is one file a video, ``<folder>/<video>/<array>.npy``.

    Parameters
    ----------
    store_url : str or Path
    folder : str or Path
        Made where it does not exist; files of the same name in it are replaced.
    what : str
        ``frames``, ``density``, ``fixations``, or the name of an array (``flow_tvl1``,
        ``i3d_rgb``, …).
    form : str, optional
        ``png`` or ``jpg`` of frames; ``flo`` (Middlebury), ``kitti`` (16-bit PNG) or ``color``
        (PNG, one scale a video) of flow; ``png`` of density (peak 255) and of fixations (binary,
        at the source's size); ``npy`` of any array. The first named is the default.
    videos : sequence of str, optional
        Only these.
    split : str, optional
        Only those of this split.
    flat : bool
        Leave the kind's folder out: ``<folder>/0601/0001.png`` is how DHF1K's evaluation takes
        predictions.
    source_size : bool
        Bring frames or density to the source video's size (by area or bilinearly), as DHF1K's
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
    kind = "flow" if what.startswith("flow_") else what
    forms = FORMS.get(kind, ("npy",))
    form = form or forms[0]
    if form not in forms:
        raise FovealError(f"{what} is exported as {', '.join(forms)}, not as {form!r}")
    if source_size and (kind not in ("frames", "density") or form == "npy"):
        raise FovealError(f"source_size is for pictures of frames or density, not {what} as {form}")
    if not 1 <= quality <= 100:
        raise FovealError(f"quality is 1 to 100, not {quality}")
    store = open_store(store_url)
    chosen, skipped = holding(store, (what,), videos, split)
    files = 0
    try:
        for video in chosen:
            view = VideoView(store, video)
            place = folder / folder_name(store, video)
            if form == "npy":
                place.mkdir(parents=True, exist_ok=True)
                _write_npy(view, what, place / f"{what}.npy")
                files += 1
                continue
            place = place if flat else place / FOLDERS.get(what, what)
            place.mkdir(parents=True, exist_ok=True)
            for name, content in _files(view, what, form, source_size, quality):
                (place / name).write_bytes(content)
                files += 1
    except OSError as error:
        raise FovealError(
            f"{error.filename or folder} cannot be written: {error.strerror}"
        ) from None
    return Exported(folder, files, tuple(chosen), skipped)


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
        names = set(store.arrays(video))
        if "fixation_x" in names:
            names.add("fixations")
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


def _files(
    view: VideoView, what: str, form: str, source_size: bool, quality: int
) -> Iterator[tuple[str, bytes]]:
    suffix, encode = _encoder(view, what, form, source_size, quality)
    digits = max(4, len(str(view.frames)))
    names = () if what == "fixations" else (what,)
    for moment in view.moments(names, range(view.frames)):
        content = encode(moment)
        if content is not None:
            yield f"{moment.frame + 1:0{digits}d}.{suffix}", content


def _encoder(
    view: VideoView, what: str, form: str, source_size: bool, quality: int
) -> tuple[str, Encode]:
    """The suffix of one frame's file, and what makes its content."""

    def sized(values: NDArray[Any]) -> NDArray[Any]:
        return resized(values, view.source_size) if source_size else values

    if what == "frames":
        return form, lambda moment: picture_file(sized(moment.items[what]), form, quality)
    if what == "density":
        return form, lambda moment: density_file(sized(moment.items[what]))
    if what == "fixations":
        return form, lambda moment: _fixated(view, moment)
    scale = 1.0
    if form == "color":
        scale = flow_scale(view, what, sample(range(view.frames), _SCALE_FRAMES))
    suffix, encode = FLOW_FILES[form]
    return (
        suffix,
        lambda moment: encode(moment.items[what], scale) if what in moment.items else None,
    )


def _fixated(view: VideoView, moment: Moment) -> bytes:
    assert view.points is not None
    rows = slice(view.points.offset[moment.frame], view.points.offset[moment.frame + 1])
    return fixation_file(view.points.x[rows], view.points.y[rows], view.source_size)


def _write_npy(view: VideoView, name: str, path: Path) -> None:
    """A whole array, a shard at a time; scaled integers as the float32 they stand for."""
    array = view.array(name)
    dtype = view.read(name, 0, 0).dtype
    if 0 in array.shape:
        np.save(path, np.zeros(array.shape, dtype))
        return
    values = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=array.shape)
    step = (array.shards or array.chunks)[0]
    for start in range(0, array.shape[0], step):
        values[start : start + step] = view.read(name, start, start + step)
    values.flush()
