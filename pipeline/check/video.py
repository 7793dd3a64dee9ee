"""The check of one video: its files, its pictures and its gaze."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from foveal.errors import GazeError, InputError
from foveal.pipeline.build.digests import video_files
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources.base import PublishedMaps, Source
from foveal.pipeline.sources.readers.clips import ClipSource
from foveal.pipeline.sources.readers.files import check_confined
from foveal.pipeline.sources.readers.pictures import (
    PICTURE_SUFFIXES,
    picture_size,
    read_fixated,
    read_grey,
)
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Fixations, Video, VideoInfo

Severity = Literal["error", "warning", "note"]

SUSPICIOUS_SHARE = 0.2
"""A larger share of samples off the screen or after the video's end hints at a wrong mapping."""


@dataclass(frozen=True)
class Finding:
    """Something a person should know.

    Attributes
    ----------
    severity : {'error', 'warning', 'note'}
        A build quarantines a video with an error; a warning may mean a silent mistake.
    video : str
        Id of the video; empty where the finding is about the dataset.
    message : str
        What was found.
    """

    severity: Severity
    video: str
    message: str


@dataclass(frozen=True)
class Row:
    """What is known about one video; None where it could not be read.

    Attributes
    ----------
    video : str
        Id of the video.
    split : str or None
        Its split.
    frames : int or None
        Frames that the container declares, or number of images.
    height_px, width_px : int or None
        Size of the upright picture.
    fps : float or None
        Frames per second.
    annotated_frames : int or None
        Frames that have a published picture, where there are pictures.
    observers : int or None
        Observers whose gaze was read.
    points : int or None
        Fixated points, where the gaze was read completely.
    excluded : mapping of str to int
        Samples left out, by reason.
    status : {'ok', 'note', 'warning', 'error'}
        Severity of its worst finding.
    """

    video: str
    split: str | None
    frames: int | None
    height_px: int | None
    width_px: int | None
    fps: float | None
    annotated_frames: int | None
    observers: int | None
    points: int | None
    excluded: Mapping[str, int]
    status: str


def look(
    source: Source, video: Video, recipe: Recipe, wants_gaze: bool
) -> tuple[Row, list[Finding]]:
    """Check a `video` of `source` for a build by `recipe`; the annotation if `wants_gaze`."""
    findings = [Finding("note", video.id, note) for note in video.notes]
    info: VideoInfo | None = None
    fixations: Fixations | None = None
    try:
        check_confined(recipe.dataset.root, video)
        findings += _look_at_files(video, video_files(video), "frame")
        info = probe(video)
        if video.has_ground_truth and wants_gaze:
            findings += _look_at_files(video, video.annotation_paths, "annotation")
            findings += _compare_counts(video, info, recipe.dataset.reconcile)
            folders = _picture_folders(source, video)
            for pictures in folders.values():
                findings += _look_at_pictures(video, info, pictures)
            if isinstance(source, ClipSource):
                findings += _look_at_clip(source, video, info)
            elif not folders or len(folders) != len(_folders(video)):
                fixations = source.fixations(video, info.height_px, info.width_px)
                findings += _look_at_gaze(video, info, fixations)
                findings += _look_at_maps(video, info, source.published_maps(video))
    except InputError as error:
        findings.append(Finding("error", video.id, str(error)))
    return _row(source, video, info, fixations, findings), findings


def _row(
    source: Source,
    video: Video,
    info: VideoInfo | None,
    fixations: Fixations | None,
    findings: list[Finding],
) -> Row:
    grave = {finding.severity for finding in findings}
    folders = [len(paths) for paths in _picture_folders(source, video).values()]
    by_frame = video.image_names is not None or video.expected_frames is not None
    counted = fixations.attributes.get("frames", {}) if fixations else {}
    return Row(
        video=video.id,
        split=video.split,
        frames=info.frames if info else None,
        height_px=info.height_px if info else None,
        width_px=info.width_px if info else None,
        fps=info.fps if info else None,
        annotated_frames=max(folders, default=0) if by_frame else counted.get("maps"),
        observers=len(fixations.subjects) if fixations else None,
        points=len(fixations) if fixations else None,
        excluded=dict(fixations.excluded) if fixations else {},
        status=next((one for one in ("error", "warning", "note") if one in grave), "ok"),
    )


def _folders(video: Video) -> dict[str, list[Path]]:
    """Annotation files by their folder."""
    found: dict[str, list[Path]] = {}
    for path in video.annotation_paths:
        found.setdefault(os.fspath(path).rpartition(os.sep)[0], []).append(path)
    return found


def _picture_folders(source: Source, video: Video) -> dict[str, list[Path]]:
    """Folders that hold one picture (in clips also a MATLAB file) per frame."""
    suffixes = (*PICTURE_SUFFIXES, ".mat") if isinstance(source, ClipSource) else PICTURE_SUFFIXES
    by_frame = video.image_names is not None or video.expected_frames is not None
    return {
        folder: paths
        for folder, paths in _folders(video).items()
        if by_frame and paths[0].suffix.lower() in suffixes
    }


def _look_at_files(video: Video, paths: Iterable[Path], what: str) -> list[Finding]:
    """Find files that are missing, empty or not plain."""
    bad = []
    for path in map(os.fspath, paths):
        try:
            about = os.stat(path)  # noqa: PTH116 (of a million files, pathlib takes twice as long)
            if not stat.S_ISREG(about.st_mode):
                raise GazeError(f"{path} is no plain file; put the dataset's own there")
            if about.st_size == 0:
                bad.append(f"{path} is empty")
        except OSError as error:
            bad.append(f"{path}: {error.strerror}")
    if not bad:
        return []
    shown = "; ".join(bad[:3]) + ("; …" if len(bad) > 3 else "")
    return [Finding("error", video.id, f"{len(bad)} {what} files are unusable: {shown}")]


def _compare_counts(video: Video, info: VideoInfo, rule: str) -> list[Finding]:
    """Compare the declared frames of a video file with its published pictures."""
    expected = video.expected_frames
    if expected is None or info.frames is None or info.frames == expected:
        return []
    message = f"{info.frames} frames declared, {expected} in the annotation"
    if rule == "strict":
        return [Finding("error", video.id, f"{message}; dataset.reconcile is strict")]
    return [Finding("note", video.id, f"{message}; {rule} applies")]


def _look_at_pictures(video: Video, info: VideoInfo, pictures: list[Path]) -> list[Finding]:
    """Check the middle picture of a folder; also the first and last where it is constant."""
    middle = pictures[len(pictures) // 2]
    name = f"{middle.parent.name}/{middle.name}"
    pixels = _read(middle)
    if pixels.shape != (info.height_px, info.width_px):
        shown = f"{pixels.shape[1]}x{pixels.shape[0]}"
        message = f"{name} is {shown}, the video {info.width_px}x{info.height_px}"
        return [Finding("warning", video.id, message)]
    if _varies(pixels):
        return []
    if any(_varies(_read(path)) for path in (pictures[0], pictures[-1])):
        return [Finding("note", video.id, f"{name} is constant: nobody looked at that frame")]
    message = f"first, middle and last picture in {middle.parent.name}/ are constant"
    return [Finding("warning", video.id, message)]


def _read(path: Path) -> NDArray[Any]:
    return read_fixated(path) if path.suffix.lower() == ".mat" else read_grey(path)


def _varies(pixels: NDArray[Any]) -> bool:
    return bool((pixels != pixels[0, 0]).any())


def _look_at_clip(source: ClipSource, video: Video, info: VideoInfo) -> list[Finding]:
    """Check that the pictures belong together, and that the last image has the first one's size."""
    if problem := source.problem(video):
        return [Finding("error", video.id, problem)]
    names = video.image_names or ()
    size = picture_size(video.path / names[-1])
    if size != (info.height_px, info.width_px):
        message = f"{names[-1]} is {size[1]}x{size[0]}, {names[0]} {info.width_px}x{info.height_px}"
        return [Finding("error", video.id, message)]
    return []


def _look_at_maps(video: Video, info: VideoInfo, maps: PublishedMaps | None) -> list[Finding]:
    """Check that maps whose size is known have that of the video."""
    size = getattr(maps, "size", info.size)
    if size == info.size:
        return []
    shown = f"{size[1]}x{size[0]}"
    message = f"maps are {shown}, the video {info.width_px}x{info.height_px}"
    return [Finding("error", video.id, message)]


def _look_at_gaze(video: Video, info: VideoInfo, fixations: Fixations) -> list[Finding]:
    """Find signs of a wrong mapping: points off the screen, after the end, in too few frames."""
    if not len(fixations):
        raise GazeError(f"{video.id}: no fixated point is left: {dict(fixations.excluded)}")
    findings = []
    attributes = fixations.attributes

    def add(severity: Severity, message: str) -> None:
        findings.append(Finding(severity, video.id, message))

    for note in attributes.get("notes", ()):
        add("note", note)
    if missing := attributes.get("observers_missing"):
        add("note", f"no gaze of observers {', '.join(missing)}")
    used = int(attributes["samples_used"])
    off_screen = fixations.excluded.get("off_screen", 0)
    if off_screen > SUSPICIOUS_SHARE * (used + off_screen):
        add(
            "warning",
            f"{off_screen} of {used + off_screen} fixation samples are off the video; are x and y "
            "in order, and is it the right screen?",
        )
    if info.frames is not None:
        frames = min(info.frames, video.max_frames or info.frames)
        late = int((fixations.frame >= info.frames).sum())
        if late > SUSPICIOUS_SHARE * len(fixations):
            add("warning", f"{late} of {len(fixations)} points are after the last frame")
        last = int(fixations.frame[-1]) + 1
        if last < (1 - SUSPICIOUS_SHARE) * frames:
            add("warning", f"gaze ends at frame {last} of {frames}")
        declared = attributes.get("annotation_frames", info.frames)
        if declared != info.frames:
            add("note", f"annotation of {declared} frames, {info.frames} in the container")
    rate = float(attributes.get("frame_rate", info.fps))
    if not math.isclose(rate, info.fps, rel_tol=1e-3):
        add("note", f"gaze is mapped at {rate:g} frames per second, the video has {info.fps:g}")
    return findings
