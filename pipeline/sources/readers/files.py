"""Paths inside a dataset: listed quickly and in natural order, and confined to its root."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

from foveal.errors import GazeError, InputError, RecipeError
from foveal.pipeline.video.types import Video

VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)  # fmt: skip
"""Suffixes of files that count as videos; ffmpeg decodes all of them."""

MAX_FILE_BYTES = 1 << 33
"""Larger files of a dataset are refused."""

_SHOWN_NAMES = 5
_DIGITS = re.compile(r"(\d+)")
_NUMBERED = re.compile(r"(.*?)(\d{1,9})(\.[A-Za-z]+)")


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Make a sort key of `name` that orders numbers in it by value: ``2`` precedes ``10``.

    Examples
    --------
    >>> sorted(["shot_10", "shot_2", "Shot_1"], key=natural_key)
    ['Shot_1', 'shot_2', 'shot_10']
    """
    return [
        (0, int(part)) if index % 2 else (1, part.casefold())
        for index, part in enumerate(_DIGITS.split(name))
        if part
    ]


def dataset_root(root: Path) -> Path:
    """Resolve the dataset's folder, the recipe's `root`.

    Raises
    ------
    RecipeError
        It does not exist or is no folder.
    """
    if not root.is_dir():
        raise RecipeError(
            f"dataset.root {root} is {'not a folder' if root.exists() else 'not there'}; "
            "give the folder the dataset was unpacked into"
        )
    return root.resolve()


def check_file(path: Path, max_bytes: int = MAX_FILE_BYTES) -> None:
    """Check that `path` is a plain file of up to `max_bytes`, so that reading it cannot block.

    Raises
    ------
    GazeError
        It is missing, not a plain file (a folder, a pipe, a device), or larger than `max_bytes`.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise GazeError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(about.st_mode):
        raise GazeError(f"{path} is no plain file; put the dataset's own there")
    if about.st_size > max_bytes:
        raise GazeError(f"{path} is larger than {max_bytes} bytes; such a file is not read")


def check_confined(root: Path, video: Video) -> None:
    """Check that all files of `video` and of its annotation are below `root`, the dataset's folder.

    Symbolic links and ``..`` are followed before the comparison.

    Raises
    ------
    InputError
        A file is outside; the message names the first one.
    """
    folder = os.fspath(video.path)
    files = [*(f"{folder}/{name}" for name in video.image_names or ()), folder]
    files.extend(map(os.fspath, video.annotation_paths))
    folders = {file.rpartition(os.sep)[0] for file in files}
    top = os.path.realpath(root)
    for path in folders.union(filter(os.path.islink, files)):
        target = os.path.realpath(path)
        if target != top and not target.startswith(top.rstrip(os.sep) + os.sep):
            raise InputError(
                f"{path} leads out of the dataset, to {target}; only files below {top} are read: "
                "copy or mount the file there, or make the common folder the root"
            )


def file_names(folder: Path) -> list[str]:
    """List the names of the files in `folder` in natural order; none where it does not exist.

    Hidden files are left out. Broken links, pipes and devices are listed; opening them fails.

    Raises
    ------
    InputError
        The folder cannot be listed.
    """
    return sorted((one.name for one in _entries(folder) if not _is_dir(one)), key=natural_key)


def folder_names(folder: Path) -> list[str]:
    """List the names of the folders in `folder` in natural order; see `file_names`."""
    return sorted((one.name for one in _entries(folder) if _is_dir(one)), key=natural_key)


def left_out(folder: Path, taken: Collection[str]) -> str:
    """Write a sentence about the files of `folder` whose names are not in `taken`; maybe empty."""
    return not_read(folder, [name for name in file_names(folder) if name not in taken])


def not_read(folder: Path, names: Sequence[str]) -> str:
    """Write a sentence about `names`, files of `folder` that are not read; maybe empty."""
    more = ", …" if len(names) > _SHOWN_NAMES else ""
    shown = ", ".join(names[:_SHOWN_NAMES]) + more
    what = "file is" if len(names) == 1 else "files are"
    return f"{folder}: {len(names)} {what} not read, {shown}" if names else ""


def numbered_files(folder: Path, suffixes: tuple[str, ...]) -> dict[int, str]:
    """Find the files in `folder` whose name ends in a number and one of `suffixes` (lower case).

    Files whose text before the number differs from that of most others are left out.

    Returns
    -------
    dict of int to str
        Names by number, in ascending order.

    Raises
    ------
    InputError
        Two files have the same number, or one is a pipe or device.
    """
    groups: dict[str, list[tuple[int, str]]] = {}
    for entry in _entries(folder):
        match = _NUMBERED.fullmatch(entry.name)
        if match and match[3].lower() in suffixes and not _is_dir(entry):
            if not (entry.is_symlink() or entry.is_file()):
                raise InputError(f"{folder}/{entry.name} is no plain file; remove it")
            groups.setdefault(match[1], []).append((int(match[2]), entry.name))
    members = sorted(groups[max(groups, key=lambda prefix: len(groups[prefix]))]) if groups else []
    found = dict(members)
    if len(found) != len(members):
        twice = next(b for (i, _), (j, b) in pairwise(members) if i == j)
        raise InputError(f"{folder}: {twice} is not the only file of its number; remove one")
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror}") from error


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
