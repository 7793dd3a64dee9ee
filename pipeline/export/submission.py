"""Write a challenge's submission: one grey video per test video, which is decoded for a check.

The organisers of NTIRE 2026 extract the pictures of every video by ffmpeg, compare their number
with that of the published maps, stretch each picture to its own minimum and maximum, and resize it
to the published map. A video whose number of pictures differs is not scored.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError, InputError, StoreError, writing
from foveal.models.metrics.challenge import levels
from foveal.pipeline.export.export import folder_name
from foveal.pipeline.preview.panels import resized
from foveal.pipeline.preview.view import VideoView
from foveal.pipeline.video.encode import encode_video
from foveal.pipeline.video.ffmpeg import ffmpeg_executable
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Video
from foveal.storage.reader import Store, open_store

FORMS = ("ntire2026",)
"""Challenges whose form of submission is known."""

_CODEC = "x264_grey"
_SUFFIX = ".mp4"
_RATE_TOLERANCE = 1e-4
_MAX_DENOMINATOR = 2002


@dataclass(frozen=True)
class Submitted:
    """The result for one video of a submission.

    Attributes
    ----------
    video : str
        Id of the video.
    status : {'written', 'missing', 'wrong', 'unexpected'}
        ``missing``: the store has nothing to write. ``wrong``: the written video did not decode to
        its frames, and was removed. ``unexpected``: a file of no test video.
    reason : str
        Why it is not written.
    file : str
        Name in the folder.
    frames : int
        Number of frames.
    fps : float
        Frames per second.
    repeated, left_out : int
        Maps that were repeated or left out at the end, so that the number is what the challenge
        counts.
    bytes : int
        Size of the file.
    """

    video: str
    status: Literal["written", "missing", "wrong", "unexpected"]
    reason: str = ""
    file: str = ""
    frames: int = 0
    fps: float = 0.0
    repeated: int = 0
    left_out: int = 0
    bytes: int = 0


def write_submission(
    store_url: str | Path,
    folder: str | Path,
    array: str,
    form: str = "ntire2026",
    *,
    videos: Sequence[str] | None = None,
    split: str | None = None,
    source_size: bool = False,
    advance: Callable[[str, int, int], None] = lambda video, done, total: None,
) -> list[Submitted]:
    """Write a prediction in the form of a challenge, and decode every file for a check.

    Each map is stretched to 0 … 255 by its own minimum and maximum and stored at its own size,
    without loss. The organisers enlarge it, as `foveal evaluate --definitions ntire2026` does. The
    number of frames is that of the published maps, or of the video where none are published.

    Parameters
    ----------
    store_url : str or Path
        The store.
    folder : str or Path
        Made where it does not exist; files of the same name are replaced.
    array : str
        A prediction; ``saliency_`` may be omitted.
    form : {'ntire2026'}
        The challenge.
    videos : sequence of str, optional
        Ids of the videos to write.
    split : str, optional
        Write only videos of this split; default is all splits whose name contains ``test``.
    source_size : bool
        Enlarge maps to the source video's size.
    advance : callable
        Called after each video: its id, videos done, and all videos.

    Returns
    -------
    list of Submitted
        One per video, also without a prediction, and one per other MP4 file in the folder.

    Raises
    ------
    StoreError
        The store has no test split, or no video of it has the array.
    FovealError
        The form is unknown, or the folder cannot be written to.
    """
    if form not in FORMS:
        raise FovealError(f"submission {form!r} is unknown; allowed: {', '.join(FORMS)}")
    store, folder = open_store(store_url), Path(folder)
    wanted = _wanted(store, videos, split)
    known = {name for video in wanted if _is_begun(store, video) for name in store.infos(video)}
    if array not in known:
        array = f"saliency_{array.removeprefix('saliency_')}"
    if array not in known:
        raise StoreError(
            f"{store.location}: none of {len(wanted)} videos has {array}; `foveal predict` or "
            "`foveal baseline` writes one"
        )
    done = []
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for number, video in enumerate(wanted, start=1):
            done.append(_submit(store, video, array, folder, source_size))
            advance(video, number, len(wanted))
        ours = {f"{folder_name(store, video)}{_SUFFIX}" for video in wanted}
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            if path.name not in ours:
                reason = "belongs to no video of the submission; remove it"
                done.append(Submitted(path.stem, "unexpected", reason, path.name))
    return done


def _is_begun(store: Store, video: str) -> bool:
    """Whether anything of a video is complete."""
    return "time" in store.videos.stages.get(video, ())


def _wanted(store: Store, videos: Sequence[str] | None, split: str | None) -> list[str]:
    """Videos of a submission, also those of which nothing is complete."""
    if videos is not None:
        return list(videos)
    table = store.videos
    splits = sorted({str(one) for one in table.split.dropna()})
    tests = [one for one in splits if "test" in one] if split is None else [split]
    found = [str(video) for video in table.index[table.split.isin(tests)]]
    if not found:
        raise StoreError(
            f"{store.location} has no videos in {split or 'a test split'}; name one with --split: "
            f"{', '.join(splits) or 'there is none'}"
        )
    return found


def _submit(store: Store, video: str, array: str, folder: Path, source_size: bool) -> Submitted:
    path = folder / f"{folder_name(store, video)}{_SUFFIX}"
    if not _is_begun(store, video) or array not in store.infos(video):
        path.unlink(missing_ok=True)
        row = store.videos.loc[video] if video in store.videos.index else None
        reason = str(row.reason) if row is not None and row.reason else f"has no complete {array}"
        return Submitted(video, "missing", reason, path.name)
    view = VideoView(store, video)
    counted = _frames_counted(store, video, view.frames)
    size = view.source_size if source_size else view.infos[array].item_shape
    rate = Fraction(view.about["fps"]).limit_denominator(_MAX_DENOMINATOR)
    # A hidden name, so that nobody takes it for a video before it is checked.
    partial = path.with_name(f".{path.stem}.partial{_SUFFIX}")
    try:
        encode_video(_levels(view, array, counted, (size[0], size[1])), partial, rate, _CODEC)
        expected = _levels(view, array, counted, (size[0], size[1]))
        _compare(partial, expected, counted, (size[0], size[1]), float(view.about["fps"]))
        partial.replace(path)
    except (_WrongVideo, InputError) as problem:
        path.unlink(missing_ok=True)
        return Submitted(video, "wrong", str(problem), path.name, counted, float(rate))
    finally:
        partial.unlink(missing_ok=True)
    return Submitted(
        video,
        "written",
        "",
        path.name,
        counted,
        float(rate),
        repeated=max(0, counted - view.frames),
        left_out=max(0, view.frames - counted),
        bytes=path.stat().st_size,
    )


class _WrongVideo(FovealError):
    """A written video does not decode to the frames that were written."""


def _frames_counted(store: Store, video: str, stored: int) -> int:
    """Frames that the organisers count: those of the published maps, or of the whole video."""
    mark = store.marks(video).get("fixations")
    counts: dict[str, int] = {} if mark is None else mark.provenance.get("frames", {})
    return int(counts.get("maps", counts.get("video", stored)))


def _levels(
    view: VideoView, array: str, frames: int, size: tuple[int, int]
) -> Iterator[NDArray[np.uint8]]:
    """Maps of all frames as 0 … 255; the last one is repeated up to `frames`."""
    last: NDArray[np.uint8] | None = None
    stored = min(frames, view.frames)
    for moment in view.moments((array,), range(stored)):
        try:
            last = levels(moment.items[array][None])[0]
        except ValueError:
            raise _WrongVideo(f"the map of frame {moment.frame} is not finite") from None
        if last.shape != size:
            last = resized(last, size)
        yield last
    assert last is not None
    for _ in range(frames - stored):
        yield last


def _compare(
    path: Path,
    expected: Iterator[NDArray[np.uint8]],
    frames: int,
    size: tuple[int, int],
    fps: float,
) -> None:
    """Check that a file decodes to the expected frames, in number, values and rate.

    As in the organisers' extraction, ffmpeg repeats and drops frames here by their times in the
    file, so both count the same.
    """
    info = probe(Video("", None, path))
    if info.size != size or abs(info.fps / fps - 1) > _RATE_TOLERANCE:
        raise _WrongVideo(
            f"it decodes to {info.width_px}x{info.height_px} at {info.fps:g} frames per second, "
            f"but {size[1]}x{size[0]} at {fps:g} was written"
        )
    command = [ffmpeg_executable(), "-nostdin", "-v", "error", "-i", f"file:{path}"]
    command += ["-f", "rawvideo", "-pix_fmt", "gray", "pipe:1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    count, different = 0, None
    try:
        while content := process.stdout.read(size[0] * size[1]):
            wanted = next(expected, None)
            if different is None and wanted is not None and wanted.tobytes() != content:
                different = count
            count += 1
    finally:
        process.stdout.close()
        status = process.wait()
    if status or count != frames:
        raise _WrongVideo(f"it decodes to {count} frames, {frames} are wanted")
    if different is not None:
        raise _WrongVideo(f"frame {different} decodes to other values than were written")
