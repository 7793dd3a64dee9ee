"""Draw a video of a store as a picture or a film that shows all its arrays side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.errors import FovealError
from foveal.pipeline.preview.film import film_pictures, write_film
from foveal.pipeline.preview.panels import Picture, layers
from foveal.pipeline.preview.sheet import contact_sheet
from foveal.pipeline.preview.strips import strips
from foveal.pipeline.preview.view import VideoView
from foveal.storage.reader import open_store

_SHEET_SUFFIXES = (".png", ".jpg", ".jpeg")
_FILM_SUFFIXES = (".mp4", ".gif")
_SHEET_PANEL_PX, _FILM_PANEL_PX, _GIF_PANEL_PX = 320, 480, 256
_GIF_FRAMES, _GIF_FPS = 150, 10.0
_MAX_SHEET_FRAMES = 24


@dataclass(frozen=True)
class Preview:
    """What was drawn.

    Attributes
    ----------
    path : Path
    shown : tuple of str
        Layers, then strips, in order.
    frames : tuple of int
        Frames shown, counted from 0.
    missing : mapping of str to str
        What could not be shown, and why.
    cut : str
        Sentence about the end that a film leaves out; empty where it shows the whole video.
    """

    path: Path
    shown: tuple[str, ...]
    frames: tuple[int, ...]
    missing: Mapping[str, str]
    cut: str = ""


def write_preview(
    store_url: str | Path,
    video: str,
    path: str | Path,
    *,
    frames: Sequence[int] | None = None,
    columns: int = 6,
    panel_width_px: int | None = None,
    advance: Callable[[int, int], None] = lambda done, of: None,
) -> Preview:
    """Draw a video: a contact sheet (``.png``, ``.jpg``) or a film (``.mp4``, ``.gif``).

    A sheet has a row per layer and a column per moment, with its time and frame number. Layers are
    pictures, flow in the Middlebury colours, maps over the dimmed picture (ground truth and
    predictions), and points with a colour per observer. Below are strips over time: features,
    numbers, sound. A film shows the same side by side at the speed of the video. An ``.mp4`` has
    sound where sound is stored and the frames are consecutive. The kind of an array
    (`foveal.storage.kinds`) decides how it is drawn, not its name. What is missing is named at the
    foot.

    Parameters
    ----------
    store_url : str or Path
        The store.
    video : str
        Id of the video.
    path : str or Path
        File to write; the suffix selects sheet or film. An existing file is replaced.
    frames : sequence of int, optional
        Frames to show, counted from 0. By default a sheet shows `columns` evenly spaced frames, an
        ``.mp4`` the whole video, and a ``.gif`` its start at 10 frames per second, up to 150
        frames.
    columns : int
        Number of moments in a sheet where `frames` is not given.
    panel_width_px : int, optional
        Width of one panel, 64 to 4096; its height follows from the shape of the video.
    advance : callable
        Called with the number of pictures done and of all pictures while a film is drawn.

    Raises
    ------
    StoreError
        The store or the video does not exist.
    FovealError
        The suffix or a number is not allowed, or nothing that can be shown is complete.
    MissingDependency
        An ``.mp4`` is wanted and there is no ffmpeg.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _SHEET_SUFFIXES + _FILM_SUFFIXES:
        raise FovealError(
            f"{path}: a preview ends in {', '.join(_SHEET_SUFFIXES)} (contact sheet) or "
            f"{', '.join(_FILM_SUFFIXES)} (film), not {path.suffix or 'nothing'!r}"
        )
    if not path.parent.is_dir():
        raise FovealError(f"{path}: there is no folder {path.parent}; make it first")
    film = suffix in _FILM_SUFFIXES
    if panel_width_px is None:
        panel_width_px = {".mp4": _FILM_PANEL_PX, ".gif": _GIF_PANEL_PX}.get(
            suffix, _SHEET_PANEL_PX
        )
    if not 64 <= panel_width_px <= 4096:
        raise FovealError(f"a panel may be 64 to 4096 pixels wide, not {panel_width_px}")
    store = open_store(store_url)
    view = VideoView(store, video)
    if frames is not None:
        chosen = view.checked(frames)
    elif film:
        chosen = _film_frames(view, suffix)
    else:
        chosen = view.checked(view.spread(columns))
    if not film and len(chosen) > _MAX_SHEET_FRAMES:
        raise FovealError(
            f"a contact sheet holds up to {_MAX_SHEET_FRAMES} frames, not {len(chosen)}; "
            "write a film (.mp4) instead, or fewer frames"
        )
    height, width = view.source_size
    size = (max(2, round(panel_width_px * height / width)), panel_width_px)
    rows, lines = layers(view, size), strips(view)
    if not rows and not lines:
        raise FovealError(
            f"{store.location}: of video {video!r} only its timeline is complete; "
            "build other stages first, then there is something to show"
        )
    split = f" · {view.about['split']}" if view.about.get("split") else ""
    title = f"{store.dataset} {video}{split}"
    cut = _cut(view, chosen) if film and frames is None else ""
    remarks = [*_remarks(view), *([cut] if cut else [])]
    if film:
        pace = _pace(view, chosen)
        pictures = film_pictures(view, rows, lines, chosen, size, title, remarks)
        sound = view.sound(chosen) if suffix == ".mp4" else None
        write_film(_counted(pictures, len(chosen), advance), path, pace, sound)
    else:
        contact_sheet(view, rows, lines, chosen, size, title, remarks).save(path)
    shown = [row.title for row in rows] + [line.title for line in lines]
    return Preview(path, tuple(shown), tuple(chosen), view.missing, cut)


def _counted(
    pictures: Iterable[Picture], of: int, advance: Callable[[int, int], None]
) -> Iterator[Picture]:
    for done, picture in enumerate(pictures, 1):
        yield picture
        advance(done, of)


def _cut(view: VideoView, chosen: Sequence[int]) -> str:
    """Sentence about the end of the video that a film leaves out."""
    step = chosen[1] - chosen[0] if len(chosen) > 1 else 1
    if chosen[-1] + step >= view.frames:
        return ""
    shown, whole = view.seconds[chosen[-1] + 1], view.seconds[-1]
    return f"Only the first {shown:.0f} s of {whole:.0f} s are shown; an .mp4 shows all of it."


def _remarks(view: VideoView) -> list[str]:
    remarks = [f"No {section}: {why}." for section, why in view.missing.items()]
    if view.untrained:
        remarks.append(
            f"Made with random weights, only for trying out: {', '.join(view.untrained)}."
        )
    if view.ground is None and (view.points or view.ground_truth_map):
        remarks.append("No frames are stored, so maps and points are drawn on grey.")
    return remarks


def _film_frames(view: VideoView, suffix: str) -> list[int]:
    step = max(1, round(view.about["fps"] / _GIF_FPS)) if suffix == ".gif" else 1
    chosen = list(range(0, view.frames, step))
    return chosen[:_GIF_FRAMES] if suffix == ".gif" else chosen


def _pace(view: VideoView, frames: Sequence[int]) -> float:
    """Pictures per second at which the shown frames keep the speed of the video."""
    if len(frames) < 2:
        return float(view.about["fps"])
    seconds = np.abs(np.diff(view.seconds[list(frames)])).mean()
    return float(np.clip(1 / seconds, 1, 120)) if seconds > 0 else float(view.about["fps"])
