"""Paths inside a dataset: confined to its root, in natural order, cheap to list by the thousand."""

from __future__ import annotations

import os
import re
from pathlib import Path

from foveal.errors import InputError, RecipeError

_DIGITS = re.compile(r"(\d+)")


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Sort key that orders embedded numbers by value, so that ``2`` stands before ``10``.

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
    """The dataset's folder, resolved.

    Raises
    ------
    RecipeError
        Where it does not exist or is no folder.
    """
    if not root.is_dir():
        raise RecipeError(
            f"dataset.root {root} is {'not a folder' if root.exists() else 'not there'}; "
            "give the folder the dataset was unpacked into"
        )
    return root.resolve()


def confined(root: Path, path: Path) -> Path:
    """`path` unchanged, once it is certain that it does not leave `root`.

    Parameters
    ----------
    root : Path
        Resolved root of the dataset.
    path : Path
        Anything below it; symbolic links and ``..`` are followed before the comparison.

    Raises
    ------
    InputError
        Where the path leads out of the root.
    """
    target = path.resolve()
    if not target.is_relative_to(root):
        raise InputError(
            f"{path} leads out of the dataset, to {target}; only files below {root} are read: "
            "copy or mount the file there, or make the common folder the root"
        )
    return path


def file_names(root: Path, folder: Path) -> list[str]:
    """Names of the plain files in a folder in natural order, none where there is no such folder.

    Hidden files are left out. Links are followed only as far as they stay inside `root`.

    Raises
    ------
    InputError
        Where the folder or a link in it leads out of the root, or cannot be listed.
    """
    return sorted((entry.name for entry in _entries(root, folder, files=True)), key=natural_key)


def folder_names(root: Path, folder: Path) -> list[str]:
    """Names of the folders in a folder in natural order; see `file_names`."""
    return sorted((entry.name for entry in _entries(root, folder, files=False)), key=natural_key)


def _entries(root: Path, folder: Path, *, files: bool) -> list[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    confined(root, folder)
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_file() if files else entry.is_dir():
                    if entry.is_symlink():
                        confined(root, Path(entry.path))
                    found.append(entry)
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror}") from error
    return found
