"""Check whether a folder of pictures is the tree that an evaluation expects.

DHF1K's evaluation expects one folder per video (``0601``) with one grey picture per frame at the
source's size (``0001.png`` is the first), and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from foveal.errors import FovealError
from foveal.pipeline.export.export import folder_name, frame_file
from foveal.pipeline.preview.view import VideoView
from foveal.storage.reader import Store, open_store

_GREY_MODES = ("L", "1", "I;16")
_SHOWN = 3


@dataclass(frozen=True)
class TreeCheck:
    """The result of a check.

    Attributes
    ----------
    folder : Path
    videos, files : int
        Number of videos and files that were compared.
    problems : tuple of (str, str)
        Folder or file, and what is wrong with it.
    """

    folder: Path
    videos: int
    files: int
    problems: tuple[tuple[str, str], ...]


def check_tree(
    store_url: str | Path,
    folder: str | Path,
    *,
    videos: Sequence[str] | None = None,
    split: str | None = None,
    size: tuple[int, int] | None = None,
) -> TreeCheck:
    """Compare a tree of maps with the videos of a store, file by file.

    Only the headers of pictures are read. Problems are missing folders and files, folders and files
    that belong to no video or frame, and pictures that are unreadable, coloured, or of another
    size.

    Parameters
    ----------
    store_url : str or Path
        The store.
    folder : str or Path
        The tree.
    videos : sequence of str, optional
        Ids of the videos that the tree must have; default is all.
    split : str, optional
        Split that the tree must have.
    size : (int, int), optional
        Height and width of every picture; default is the size of each video.

    Raises
    ------
    StoreError
        The store, a video or the split does not exist.
    FovealError
        The folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FovealError(f"{folder} is no folder; give the one with a folder per video")
    store = open_store(store_url)
    chosen = store.select(split) if videos is None else list(videos)
    problems: list[tuple[str, str]] = []
    files = 0
    for video in chosen:
        name = folder_name(store, video)
        if not (folder / name).is_dir():
            problems.append((name, f"the folder of video {video} is missing"))
            continue
        found, wrong = _check_video(store, video, folder / name, size)
        files += found
        problems += wrong
    known = {folder_name(store, video) for video in chosen}
    strangers = sorted(_names(folder) - known)
    problems += [(name, "belongs to no video that was asked for") for name in strangers]
    return TreeCheck(folder, len(chosen), files, tuple(problems))


def _check_video(
    store: Store, video: str, folder: Path, size: tuple[int, int] | None
) -> tuple[int, list[tuple[str, str]]]:
    view = VideoView(store, video)
    height, width = size or view.source_size
    expected = [frame_file(view, frame, "png") for frame in range(view.frames)]
    there = _names(folder)
    missing = [name for name in expected if name not in there]
    beyond = sorted(there - set(expected))
    problems = []
    if missing:
        problems.append(
            (folder.name, f"{len(missing)} of {view.frames} files are missing: {_some(missing)}")
        )
    if beyond:
        problems.append((folder.name, f"{len(beyond)} files belong to no frame: {_some(beyond)}"))
    for name in expected:
        if name not in there:
            continue
        wrong = _check_picture(folder / name, (height, width))
        if wrong:
            problems.append((f"{folder.name}/{name}", wrong))
    return len(expected) - len(missing), problems


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _check_picture(path: Path, size: tuple[int, int]) -> str:
    """Problem of a picture by its header; empty where there is none."""
    try:
        with Image.open(path) as picture:
            mode, found = picture.mode, picture.size
    except (UnidentifiedImageError, OSError) as error:
        return f"is no readable picture ({type(error).__name__})"
    if mode not in _GREY_MODES:
        return f"has the colours {mode}; maps are grey"
    if found != (size[1], size[0]):
        return f"is {found[0]}x{found[1]}, not {size[1]}x{size[0]} (width x height)"
    return ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
