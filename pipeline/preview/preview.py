"""A video of a store as a picture or a film: everything it holds side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.errors import FovealError
from foveal.pipeline.preview.film import film_pictures, write_film
from foveal.pipeline.preview.panels import layers
from foveal.pipeline.preview.sheet import contact_sheet
from foveal.pipeline.preview.strips import strips
from foveal.pipeline.preview.view import VideoView
from foveal.storage.reader import open_store

SHEET_SUFFIXES = (".png", ".jpg", ".jpeg")
FILM_SUFFIXES = (".mp4", ".gif")
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
        Frames shown.
    missing : mapping of str to str
        What could not be shown, and why.
    """

    path: Path
    shown: tuple[str, ...]
    frames: tuple[int, ...]
    missing: Mapping[str, str]


def write_preview(
    store_url: str | Path,
    video: str,
    path: str | Path,
    *,
    frames: Sequence[int] | None = None,
    columns: int = 6,
    panel_width_px: int | None = None,
) -> Preview:
    """Draw a video: a contact sheet (``.png``, ``.jpg``) or a film (``.mp4``, ``.gif``).

    A sheet has a row for each thing the store holds (pictures; flow in the Middlebury colours; maps
    over the dimmed pictures, where people looked and every prediction; points, a colour per
    observer) and a column for each moment, labelled with seconds and frame number. Below lie strips
    over time: features, numbers, sound. A film shows the same side by side at the video's own pace,
    an ``.mp4`` with its sound where that is stored and the frames follow each other.
    What is drawn depends on what an array says it is (`foveal.storage.kinds`), not on its name.
    What is missing is left out and named at the foot.

    Parameters
    ----------
    store_url : str or Path
    video : str
        Its id.
    path : str or Path
        Where to write; the suffix says what. An existing file is replaced.
    frames : sequence of int, optional
        Frames to show, counted from 0. By default `columns` moments spread evenly (sheet), the
        whole video (``.mp4``), or its beginning at 10 frames a second, 150 of them at most
        (``.gif``).
    columns : int
        Moments of a sheet where `frames` is not given.
    panel_width_px : int, optional
        Width of one panel; its height follows from the source's shape.

    Raises
    ------
    StoreError
        Where the store or the video is not there.
    FovealError
        Where the suffix or a number is not allowed, or nothing that could be shown is complete.
    MissingDependency
        Where an ``.mp4`` is wanted and there is no ffmpeg.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SHEET_SUFFIXES + FILM_SUFFIXES:
        raise FovealError(
            f"{path}: a preview ends in {', '.join(SHEET_SUFFIXES)} (contact sheet) or "
            f"{', '.join(FILM_SUFFIXES)} (film), not {path.suffix or 'nothing'!r}"
        )
    if not path.parent.is_dir():
        raise FovealError(f"{path}: there is no folder {path.parent}; make it first")
    film = suffix in FILM_SUFFIXES
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
    rows, lines = layers(view, chosen, size), strips(view)
    if not rows and not lines:
        raise FovealError(
            f"{store.location}: of video {video!r} only its timeline is complete; "
            "there is nothing to look at before other stages are built"
        )
    split = f" · {view.about['split']}" if view.about.get("split") else ""
    title = f"{store.dataset} {video}{split}"
    remarks = _remarks(view)
    if film:
        pace = _pace(view, chosen)
        pictures = film_pictures(view, rows, lines, chosen, size, title, remarks)
        write_film(pictures, path, pace, view.sound(chosen) if suffix == ".mp4" else None)
    else:
        contact_sheet(view, rows, lines, chosen, size, title, remarks).save(path)
    shown = [row.title for row in rows] + [line.title for line in lines]
    return Preview(path, tuple(shown), tuple(chosen), view.missing)


def _remarks(view: VideoView) -> list[str]:
    remarks = [f"No {section}: {why}." for section, why in view.missing.items()]
    if view.untrained:
        remarks.append(f"By random weights, to try things out: {', '.join(view.untrained)}.")
    if view.ground is None and (view.points or view.ground_truth_map):
        remarks.append("Without stored frames, maps and points lie on flat grey.")
    return remarks


def _film_frames(view: VideoView, suffix: str) -> list[int]:
    step = max(1, round(view.about["fps"] / _GIF_FPS)) if suffix == ".gif" else 1
    chosen = list(range(0, view.frames, step))
    return chosen[:_GIF_FRAMES] if suffix == ".gif" else chosen


def _pace(view: VideoView, frames: Sequence[int]) -> float:
    """Frames a second at which the frames shown pass as fast as in the video."""
    if len(frames) < 2:
        return float(view.about["fps"])
    seconds = np.abs(np.diff(view.seconds[list(frames)])).mean()
    return float(np.clip(1 / seconds, 1, 120)) if seconds > 0 else float(view.about["fps"])
