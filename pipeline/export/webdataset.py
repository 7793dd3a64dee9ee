"""Write a store as WebDataset shards: plain tar files whose members have one key per sample.

A sample is `clip_frames` consecutive frames of a video (the last one of a video may be shorter).
Its key is ``<video>/<first frame, from 0, six digits>``. Its members are one file per array, and
``json``: video, split, first frame, frames, seconds, and on request the fixations
``[frame, x, y, observer]``. The same store gives the same bytes.

An item belongs to the sample of its first frame, so all samples of a video together hold every item
once. A pair (motion from frame k to k + 1) or a window may end after the sample. So ``json`` lists
under ``windows`` the first frames of the windows of a sample, and the frames per window, for
readers who keep only windows that end within the sample.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError, writing
from foveal.pipeline.export.export import (
    Advance,
    Exported,
    frames_of,
    holding,
    kind_by_frame,
)
from foveal.pipeline.export.files import npy_file, picture_file
from foveal.pipeline.preview.view import Moment, VideoView
from foveal.storage.marks import group_name
from foveal.storage.reader import open_store


def export_webdataset(
    store_url: str | Path,
    folder: str | Path,
    arrays: Sequence[str],
    *,
    videos: Sequence[str] | None = None,
    split: str | None = None,
    clip_frames: int = 1,
    shard_samples: int = 1000,
    jpeg_quality: int | None = None,
    advance: Advance = lambda video, done, of: None,
) -> Exported:
    """Write samples into ``<folder>/<split or 'all'>-000000.tar`` and so on.

    With single frames (`clip_frames` 1), pictures and maps that are stored as uint8 become
    pictures: ``frames.png`` or ``frames.jpg``, ``density.png``. Everything else is
    ``<array>.npy``: one item for single frames, [items, …] for clips. Where no item begins in a
    sample (no motion in the last frame, no window at most frames), the member is missing or
    shorter.

    Parameters
    ----------
    store_url : str or Path
        The store.
    folder : str or Path
        Made where it does not exist; shards of the same name in it are replaced.
    arrays : sequence of str
        ``frames``, ``density``, ``flow_<method>``, ``i3d_rgb``, …, or a stage that keeps points
        (``fixations``), which go into ``json`` under the name of the stage.
    videos : sequence of str, optional
        Ids of the videos to export; default is all.
    split : str, optional
        Export only videos of this split.
    clip_frames : int
        Frames per sample.
    shard_samples : int
        Samples per tar file.
    jpeg_quality : int, optional
        Write pictures as ``jpg`` of this quality (1 to 100) instead of exact ``png``.
    advance : callable
        Called after each sample: video, frames done, and frames of all videos.

    Raises
    ------
    StoreError
        The store, a video or the split does not exist, or no video has all the arrays.
    FovealError
        A number is not allowed, the items of an array have no frames, or a file cannot be written.
    """
    for name, value in (("clip_frames", clip_frames), ("shard_samples", shard_samples)):
        if value < 1:
            raise FovealError(f"{name} is at least 1, not {value}")
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise FovealError(f"jpeg_quality is 1 to 100, not {jpeg_quality}")
    if not arrays:
        raise FovealError("name at least one array to export, such as frames or flow_tvl1")
    store = open_store(store_url)
    chosen, skipped = holding(store, arrays, videos, split)
    folder = Path(folder)

    of = frames_of(store, chosen)

    def samples() -> Iterator[tuple[str, dict[str, bytes]]]:
        done = 0
        for video in chosen:
            view = VideoView(store, video)
            for number, one in enumerate(_samples(view, arrays, clip_frames, jpeg_quality)):
                yield one
                advance(video, done + min((number + 1) * clip_frames, view.frames), of)
            done += view.frames

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        files = _write_shards(folder, split or "all", samples(), shard_samples)
    return Exported(folder, files, tuple(chosen), skipped)


def _samples(
    view: VideoView, arrays: Sequence[str], clip_frames: int, jpeg_quality: int | None
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Keys and members, in the order of the video."""
    by_frame, first_frames, points = [], {}, []
    for name in arrays:
        if name not in view.infos:
            points.append(name)
        elif view.is_by_frame(name):
            by_frame.append(name)
        else:
            first_frames[name] = _first_frames(view, name)
    kinds = {name: kind_by_frame(view, name) for name in (*by_frame, *points)}
    # For WebDataset, the key ends at the first dot of the last part.
    folder = group_name(view.video).replace(".", "%2E")
    clip: list[Moment] = []
    for moment in view.moments(by_frame, range(view.frames)):
        clip.append(moment)
        if len(clip) < clip_frames and moment.frame + 1 < view.frames:
            continue
        first = clip[0].frame
        about = _about(view, first, len(clip), points)
        members = {}
        for name in by_frame:
            items = [each.items[name] for each in clip if name in each.items]
            if items:
                suffix, content = _member(kinds[name], items, clip_frames, jpeg_quality)
                members[f"{name}.{suffix}"] = content
        for name, starts in first_frames.items():
            # The only window of a short video may begin before the video.
            begin = np.maximum(starts, 0)
            rows = np.flatnonzero((begin >= first) & (begin < first + len(clip)))
            if len(rows):
                values = view.read(name, int(rows[0]), int(rows[-1]) + 1)[rows - rows[0]]
                runs = view.infos[name].offset is not None
                alone = clip_frames == 1 and len(rows) == 1 and not runs
                members[f"{name}.npy"] = npy_file(values[0] if alone else values)
                if not runs:
                    length = view.array(name).attrs.get("window_frames")
                    window = {"starts": starts[rows].tolist(), "frames": length}
                    about.setdefault("windows", {})[name] = window
        members["json"] = json.dumps(about, ensure_ascii=False).encode()
        yield f"{folder}/{first:06d}", members
        clip = []


def _first_frames(view: VideoView, name: str) -> NDArray[np.int64]:
    """The frame that each item of an array belongs to."""
    found = view.first_frames(name)
    if found is None:
        held = [stage for stage, points in view.points.items() if name in points.arrays]
        advice = f"ask for {held[0]} instead" if held else "`foveal export --form npy` writes it"
        raise FovealError(
            f"the items of {name} of {view.video} have no frames: their axis is "
            f"{view.infos[name].axis!r}; {advice}"
        )
    return found


def _member(
    kind: str, items: Sequence[Any], clip_frames: int, jpeg_quality: int | None
) -> tuple[str, bytes]:
    if clip_frames > 1:
        return "npy", npy_file(np.stack(items))
    if kind in ("picture", "map") and items[0].dtype == np.uint8:
        suffix = "jpg" if kind == "picture" and jpeg_quality is not None else "png"
        return suffix, picture_file(items[0], suffix, jpeg_quality or 95)
    return "npy", npy_file(items[0])


def _about(view: VideoView, first: int, frames: int, stages: Sequence[str]) -> dict[str, Any]:
    stop = first + frames
    about: dict[str, Any] = {
        "video": view.video,
        "split": view.about.get("split"),
        "first_frame": first,
        "frames": frames,
        "seconds": view.seconds[first:stop].tolist(),
        "source_size": list(view.source_size),
    }
    for stage in stages:
        points = view.points[stage]
        rows = points.rows(first, stop)
        of_frame = np.repeat(np.arange(first, stop), np.diff(points.offset[first : stop + 1]))
        about[stage] = [
            [int(frame), round(float(x), 3), round(float(y), 3), points.subjects[subject]]
            for frame, x, y, subject in zip(
                of_frame, points.x[rows], points.y[rows], points.subject[rows], strict=True
            )
        ]
    return about


def _write_shards(
    folder: Path,
    prefix: str,
    samples: Iterator[tuple[str, Mapping[str, bytes]]],
    shard_samples: int,
) -> int:
    """Write the tar files in order; each gets its name when it is complete."""
    shards = 0
    waiting = next(samples, None)
    while waiting is not None:
        path = folder / f"{prefix}-{shards:06d}.tar"
        partial = path.with_suffix(".tar.partial")
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            for _ in range(shard_samples):
                key, members = waiting
                for suffix in sorted(members):
                    entry = tarfile.TarInfo(f"{key}.{suffix}")
                    entry.size = len(members[suffix])
                    tar.addfile(entry, io.BytesIO(members[suffix]))
                waiting = next(samples, None)
                if waiting is None:
                    break
        partial.replace(path)
        shards += 1
    return shards
