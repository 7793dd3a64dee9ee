"""A store as WebDataset shards: plain tar files whose members share a key a sample.

A sample is `clip_frames` consecutive frames of a video (the last of a video may be shorter); its
key is ``<video>/<first frame, from 0, six digits>``. Members: ``json`` (video, split, first frame,
frames, seconds, and where asked for the fixations ``[frame, x, y, observer]``), and one for each
array. The same store gives the same bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foveal.errors import FovealError
from foveal.pipeline.export.export import Exported, holding
from foveal.pipeline.export.files import npy_file, picture_file
from foveal.pipeline.preview.view import Moment, VideoView
from foveal.storage.marks import group_name
from foveal.storage.reader import open_store

_PICTURES = ("frames", "density")


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
) -> Exported:
    """Write samples into ``<folder>/<split or 'all'>-000000.tar`` and so on.

    Single frames (`clip_frames` 1) are pictures: ``frames.png`` or ``frames.jpg``, and
    ``density.png`` where density is stored as uint8. Everything else is ``<array>.npy``: one item
    of single frames, [frames, …] of clips. Flow k is the motion from frame k to k + 1; the last
    frame of a video has none, so its member is missing, or a frame shorter. Features are those of
    the window that starts at the sample's first frame, where there is one.

    Parameters
    ----------
    store_url : str or Path
    folder : str or Path
        Made where it does not exist; shards of the same name in it are replaced.
    arrays : sequence of str
        ``frames``, ``density``, ``fixations``, ``flow_<method>``, ``i3d_rgb``, …
    videos : sequence of str, optional
        Only these.
    split : str, optional
        Only those of this split.
    clip_frames : int
        Frames a sample.
    shard_samples : int
        Samples a tar file.
    jpeg_quality : int, optional
        Write ``frames.jpg`` of this quality (1 to 100) instead of the exact ``frames.png``.

    Raises
    ------
    StoreError
        Where the store, a video or the split is not there, or no video has all the arrays.
    FovealError
        Where a number is not allowed or a file cannot be written.
    """
    for name, value in (("clip_frames", clip_frames), ("shard_samples", shard_samples)):
        if value < 1:
            raise FovealError(f"{name} is at least 1, not {value}")
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise FovealError(f"jpeg_quality is 1 to 100, not {jpeg_quality}")
    if not arrays:
        raise FovealError("name at least one array to export, such as frames or flow_tvl1")
    store = open_store(store_url)
    ragged = [name for name in arrays if name.startswith("fixation_")]
    if ragged:
        raise FovealError(f"{', '.join(ragged)} has no items by frame; ask for fixations instead")
    chosen, skipped = holding(store, arrays, videos, split)
    folder = Path(folder)

    def samples() -> Iterator[tuple[str, dict[str, bytes]]]:
        for video in chosen:
            yield from _samples(VideoView(store, video), arrays, clip_frames, jpeg_quality)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = _write_shards(folder, split or "all", samples(), shard_samples)
    except OSError as error:
        raise FovealError(
            f"{error.filename or folder} cannot be written: {error.strerror}"
        ) from None
    return Exported(folder, files, tuple(chosen), skipped)


def _samples(
    view: VideoView, arrays: Sequence[str], clip_frames: int, jpeg_quality: int | None
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Keys and members, in the order of the video."""
    windows = {name for name in arrays if view.dims.get(name, ("",))[0] == "window"}
    starts = np.asarray(view.array("window_start")[:]) if windows else np.empty(0, int)
    row_of = {int(start): row for row, start in enumerate(starts)}
    streamed = [name for name in arrays if name != "fixations" and name not in windows]
    # WebDataset takes everything up to the first dot of the last part for the key.
    folder = group_name(view.video).replace(".", "%2E")
    clip: list[Moment] = []
    for moment in view.moments(streamed, range(view.frames)):
        clip.append(moment)
        if len(clip) < clip_frames and moment.frame + 1 < view.frames:
            continue
        first = clip[0].frame
        members = {"json": _about(view, clip, "fixations" in arrays)}
        for name in streamed:
            items = [moment.items[name] for moment in clip if name in moment.items]
            if items:
                suffix, content = _member(name, items, clip_frames, jpeg_quality)
                members[f"{name}.{suffix}"] = content
        for name in sorted(windows):
            if first in row_of:
                row = row_of[first]
                members[f"{name}.npy"] = npy_file(view.read(name, row, row + 1)[0])
        yield f"{folder}/{first:06d}", members
        clip = []


def _member(
    name: str, items: Sequence[Any], clip_frames: int, jpeg_quality: int | None
) -> tuple[str, bytes]:
    if clip_frames > 1:
        return "npy", npy_file(np.stack(items))
    if name in _PICTURES and items[0].dtype == np.uint8:
        lossy = name == "frames" and jpeg_quality is not None
        suffix = "jpg" if lossy else "png"
        return suffix, picture_file(items[0], suffix, jpeg_quality or 95)
    return "npy", npy_file(items[0])


def _about(view: VideoView, clip: Sequence[Moment], fixations: bool) -> bytes:
    first, stop = clip[0].frame, clip[-1].frame + 1
    about: dict[str, Any] = {
        "video": view.video,
        "split": view.about.get("split"),
        "first_frame": first,
        "frames": stop - first,
        "seconds": view.seconds[first:stop].tolist(),
        "source_size": list(view.source_size),
    }
    points = view.points
    if fixations and points is not None:
        rows = slice(points.offset[first], points.offset[stop])
        frames = np.repeat(np.arange(first, stop), np.diff(points.offset[first : stop + 1]))
        about["fixations"] = [
            [int(frame), round(float(x), 3), round(float(y), 3), points.subjects[subject]]
            for frame, x, y, subject in zip(
                frames, points.x[rows], points.y[rows], points.subject[rows], strict=True
            )
        ]
    return json.dumps(about, ensure_ascii=False).encode()


def _write_shards(
    folder: Path,
    prefix: str,
    samples: Iterator[tuple[str, Mapping[str, bytes]]],
    shard_samples: int,
) -> int:
    """Fill tar files one after the other; each gets its name when it is whole."""
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
