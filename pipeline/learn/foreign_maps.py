"""This module finds, counts and reads the saliency maps of other models in a folder.

``FOLDER/<video>`` holds one file per frame (PNG, JPEG, or MAT with one matrix), numbered without a
gap from 0 or from 1; or ``FOLDER/<video>.mat`` holds one array [height, width, frame]; or
``FOLDER/<video>.mp4`` (or another video) holds one grey picture per frame. Nothing is guessed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import GazeError
from foveal.machine import file_sha256
from foveal.pipeline.sources.readers.files import VIDEO_SUFFIXES, file_names, numbered_files
from foveal.pipeline.sources.readers.mat import mat_names, read_mat, real_numbers
from foveal.pipeline.sources.readers.pictures import PICTURE_SUFFIXES, picture_size, read_grey
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Video
from foveal.storage.problems import some

MAT = ".mat"
MAPS_AT_ONCE = 32
_MOST_COLOUR = 16
"""Largest difference between the channels of a compressed grey video, in grey levels."""


@dataclass(frozen=True)
class ForeignMaps:
    """Maps of one video that were found and counted, but not yet read.

    Attributes
    ----------
    form : {'pictures', 'matrices', 'mat', 'video'}
        One picture or one MAT file per frame; one MAT file, or one video, of all frames.
    files : tuple of Path
        In the order of frames, or the only one.
    frames : int
    size : (int, int)
        Height and width in pixels of every map.
    first_number : int or None
        Number of the first frame's file.
    variable : str or None
        For MAT files, the variable that is read.
    """

    form: str
    files: tuple[Path, ...]
    frames: int
    size: tuple[int, int]
    first_number: int | None = None
    variable: str | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 of pictures and videos, float32 of MAT files."""
        return np.dtype(np.uint8 if self.form in ("pictures", "video") else np.float32)

    def digest(self) -> str:
        """Return the SHA-256 of a single file, or of the lines ``name sha256`` of many files."""
        if len(self.files) == 1 and self.first_number is None:
            return file_sha256(self.files[0])
        lines = "".join(f"{path.name} {file_sha256(path)}\n" for path in self.files)
        return hashlib.sha256(lines.encode()).hexdigest()

    def read(self) -> Iterator[NDArray[Any]]:
        """Yield all maps in order, a few at a time: `dtype` [n, height, width].

        Raises
        ------
        InputError
            A file is damaged, coloured, of another size than the others, or holds values that are
            not finite.
        """
        if self.form == "video":
            yield from _grey_frames(self.files[0])
        elif self.form == "mat":
            values = _matrices(self.files[0], self.variable)
            for start in range(0, len(values), MAPS_AT_ONCE):
                yield np.ascontiguousarray(values[start : start + MAPS_AT_ONCE])
        else:
            for start in range(0, len(self.files), MAPS_AT_ONCE):
                paths = self.files[start : start + MAPS_AT_ONCE]
                maps = [self._read_one(path) for path in paths]
                for path, one in zip(paths, maps, strict=True):
                    _same_size(path, one.shape, self.size)
                yield np.stack(maps)

    def _read_one(self, path: Path) -> NDArray[Any]:
        return read_grey(path) if self.form == "pictures" else _matrices(path, self.variable)[0]


def find_maps(
    folder: Path,
    names: Sequence[str],
    frames: int,
    *,
    inside: str | None = None,
    variable: str | None = None,
) -> ForeignMaps | None:
    """Find the maps of one video and compare their number with its frames.

    Parameters
    ----------
    folder : Path
        The folder of all maps.
    names : sequence of str
        Possible names of the video's folder or file (without ending).
    frames : int
        Frames of the video in the store.
    inside : str, optional
        Folder below the video's folder that holds the files (``saliency``).
    variable : str, optional
        Variable to read, for MAT files that hold several.

    Returns
    -------
    ForeignMaps or None
        None where nothing has one of the names.

    Raises
    ------
    InputError
        What is there is ambiguous or does not fit the video; the message says how.
    """
    there = entries_of(folder, names)
    if not there:
        return None
    if len(there) > 1:
        shown = ", ".join(path.name for path in there)
        raise GazeError(f"each of {shown} could be its maps; leave one of them in the folder")
    path = there[0]
    _check_inside(folder, path)
    if path.is_dir():
        found = _numbered(folder, path / inside if inside else path, frames, variable)
    elif path.suffix.lower() == MAT:
        found = _mat(path, frames, variable)
    else:
        found = _video(path)
    if found.frames != frames:
        raise GazeError(f"{path.name}: {found.frames} maps, but the video has {frames} frames")
    return found


def entries_of(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the folders, MAT files and videos in `folder` that have one of the names."""
    wanted = dict.fromkeys(names)
    candidates = [folder / name for name in wanted if (folder / name).is_dir()]
    for name in wanted:
        for suffix in (MAT, *VIDEO_SUFFIXES):
            candidates += [path for path in (folder / (name + suffix),) if path.is_file()]
    return candidates


def entry_names(folder: Path) -> list[str]:
    """Return the names of everything in `folder` that could be a video's maps, sorted."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and (entry.is_dir() or Path(entry.name).suffix.lower() in (MAT, *VIDEO_SUFFIXES))
        )


def _numbered(root: Path, folder: Path, frames: int, variable: str | None) -> ForeignMaps:
    """Find one file per frame, numbered from 0 or from 1 without a gap."""
    if not folder.is_dir():
        raise GazeError(f"{folder.relative_to(root)} is not there")
    where = folder.relative_to(root)
    names = file_names(folder)
    suffixes = {Path(name).suffix.lower() for name in names}
    pictures = tuple(suffix for suffix in PICTURE_SUFFIXES if suffix in suffixes)
    kinds = pictures + ((MAT,) if MAT in suffixes else ())
    if not kinds:
        raise GazeError(
            f"{where} holds no {', '.join((*PICTURE_SUFFIXES, MAT))}; if the files are one folder "
            "deeper, name that folder with --inside"
        )
    if pictures and MAT in kinds:
        raise GazeError(f"{where} holds both pictures and MAT files; leave one kind there")
    numbered = numbered_files(folder, kinds)
    others = set(numbered.values())
    strays = [n for n in names if Path(n).suffix.lower() in kinds and n not in others]
    if strays:
        raise GazeError(f"{where}: {some(strays)} have no frame number like the others")
    first = min(numbered)
    expected = range(first, first + frames)
    missing = sorted(set(expected) - numbered.keys())
    beyond = sorted(numbered.keys() - set(expected))
    if first not in (0, 1):
        raise GazeError(
            f"{where}: the first file is number {first}; frames are counted from 0 or 1"
        )
    if missing or beyond:
        said = [f"no file of number {some(list(map(str, missing)))}"] if missing else []
        said += [f"no frame for number {some(list(map(str, beyond)))}"] if beyond else []
        raise GazeError(
            f"{where}: {len(numbered)} maps, but the video has {frames} frames: {'; '.join(said)}"
        )
    paths = tuple(folder / name for name in numbered.values())
    for path in paths:
        _check_inside(root, path)
    if pictures:
        size = picture_size(paths[0])
        for path in paths:
            _same_size(path, picture_size(path), size)
        return ForeignMaps("pictures", paths, len(paths), size, first)
    variable = _variable(paths[0], variable)
    height, width = _matrices(paths[0], variable).shape[1:]
    return ForeignMaps("matrices", paths, len(paths), (height, width), first, variable)


def _mat(path: Path, frames: int, variable: str | None) -> ForeignMaps:
    variable = _variable(path, variable)
    values = _matrices(path, variable)
    count, height, width = values.shape
    if count != frames and height == frames:
        raise GazeError(
            f"{path.name}: {variable} is {height}x{width}x{count}; MATLAB files are read as "
            "[height, width, frame], but here frames seem to come first: permute them"
        )
    return ForeignMaps("mat", (path,), count, (height, width), None, variable)


def _video(path: Path) -> ForeignMaps:
    info = probe(Video(path.stem, None, path))
    count = sum(len(batch) for batch in decode(Video(path.stem, None, path), info))
    return ForeignMaps("video", (path,), count, (info.height_px, info.width_px))


def _grey_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    video = Video(path.stem, None, path)
    for batch in decode(video, probe(video)):
        pixels = batch.frames.astype(np.int16)
        apart = int((pixels.max(axis=-1) - pixels.min(axis=-1)).max())
        if apart > _MOST_COLOUR:
            raise GazeError(
                f"{path.name} is coloured near frame {batch.start}; a map has one grey channel: "
                "give the model's own grey maps, not heat maps"
            )
        yield np.rint(pixels.mean(axis=-1)).astype(np.uint8)


def _variable(path: Path, wanted: str | None) -> str:
    """Return the variable to read: the one named, or the only one."""
    there = mat_names(path)
    if wanted is not None or len(there) == 1:
        return wanted or there[0]
    raise GazeError(
        f"{path.name} holds {', '.join(there) or 'no variables'}; name one with --variable"
    )


def _matrices(path: Path, variable: str | None) -> NDArray[np.float32]:
    """Return [frame, height, width] of a MAT file's [height, width, frame] or [height, width]."""
    assert variable is not None
    try:
        values = real_numbers(read_mat(path, variable))
    except (TypeError, ValueError) as error:
        raise GazeError(f"{path.name}: {variable} is not a map: {error}") from None
    if values.ndim not in (2, 3) or not values.size:
        raise GazeError(
            f"{path.name}: {variable} has the shape {values.shape}; [height, width] or "
            "[height, width, frame] is expected"
        )
    if not np.isfinite(values).all():
        raise GazeError(f"{path.name}: {variable} holds values that are not finite")
    stacked = values[..., None] if values.ndim == 2 else values
    return np.moveaxis(stacked, -1, 0).astype(np.float32)


def _same_size(path: Path, found: tuple[int, ...], size: tuple[int, int]) -> None:
    if tuple(found) != tuple(size):
        raise GazeError(
            f"{path.name} is {found[1]}x{found[0]}, the first map of the video "
            f"{size[1]}x{size[0]} (width x height)"
        )


def _check_inside(root: Path, path: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        raise GazeError(f"{path.name} leads out of {root}; copy the file there")
