"""Write one video of a store as a file for the rerun viewer.

rerun (``pip install foveal[rerun]``, 170 MB) shows one video beside other recordings. It reads only
its own files, so it cannot browse a store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from foveal.errors import FovealError, MissingDependency, writing
from foveal.pipeline.preview.panels import (
    drawn_as,
    heat_colours,
    heat_opacity,
    level_of,
    observer_colours,
)
from foveal.pipeline.preview.view import VideoView
from foveal.pipeline.view.opened import OpenVideos, Video
from foveal.pipeline.view.pictures import ARROWS_ACROSS, encoded, motion_colours, scale_of
from foveal.pipeline.view.timelines import speeds
from foveal.storage.reader import Store

_OPACITY = 0.75


def write_rerun(
    store: Store,
    video: str,
    path: str | Path,
    advance: Callable[[int, int], None] = lambda done, frames: None,
) -> list[str]:
    """Write pictures, maps, flow and points of a video, frame by frame, into an ``.rrd`` file.

    Parameters
    ----------
    store : Store
    video : str
        Id of the video.
    path : str or Path
        File to write, with the suffix ``.rrd``; an existing file is replaced.
    advance : callable
        Called with the number of frames done and of all frames.

    Returns
    -------
    list of str
        Entities that were logged, on the timelines ``frame`` and ``time``, in pixels of the source
        video.

    Raises
    ------
    MissingDependency
        rerun-sdk is not installed.
    FovealError
        The path has another suffix, or nothing of the video can be logged.
    """
    path = Path(path)
    if path.suffix != ".rrd":
        raise FovealError(
            f"{path}: a file for rerun ends in .rrd, not {path.suffix or 'nothing'!r}"
        )
    if not path.parent.is_dir():
        raise FovealError(f"{path}: there is no folder {path.parent}; make it first")
    try:
        import rerun as rr
    except ImportError as error:
        raise MissingDependency(
            f"--rerun needs rerun-sdk, which is missing ({error}): pip install 'foveal[rerun]'"
        ) from None
    videos = OpenVideos(store)
    opened = videos.current(video)
    view = opened.view
    logged: dict[str, None] = {}
    with writing(path):
        recording = rr.RecordingStream("foveal", recording_id=f"{store.dataset}-{video}")
        recording.save(path)
        for frame in range(view.frames):
            recording.set_time("frame", sequence=frame)
            recording.set_time("time", duration=float(view.seconds[frame]))
            for name, entity in _entities(rr, videos, opened, frame):
                recording.log(name, entity)
                logged[name] = None
            advance(frame + 1, view.frames)
        recording.flush()
        recording.disconnect()
    if not logged:
        path.unlink(missing_ok=True)
        raise FovealError(f"{store.location}: nothing of video {video!r} can be shown in rerun")
    return list(logged)


def _entities(rr: Any, videos: OpenVideos, video: Video, frame: int) -> Iterator[tuple[str, Any]]:
    """Everything of one frame, by the path that it is logged under."""
    view = video.view
    ground = view.ground
    names = sorted(view.infos, key=lambda name: (name != ground, name))
    for order, name in enumerate(names):
        form = drawn_as(view, name)
        if form is None or not view.is_by_frame(name) or frame >= view.infos[name].items:
            continue
        item = videos.read(video, name, frame, frame + 1)[0]
        if form == "picture":
            yield f"picture/{name}", _image(rr, _at_source(item, view), order, exact=False)
        elif form == "flow":
            flow = item.astype(np.float32)
            _, fastest = scale_of(video, name)
            colours = _at_source(motion_colours(flow, fastest), view)
            yield f"picture/{name}", _image(rr, colours, order)
            yield f"picture/{name}_arrows", _arrows(rr, flow, fastest, view)
            yield f"motion/{name}", rr.Scalars([float(speeds(flow[None])[0])])
        else:
            level = level_of(item, scale_of(video, name))
            alpha = np.rint(heat_opacity(level) * 255).astype(np.uint8)[..., None]
            coloured = np.concatenate([heat_colours()[(level * 255).astype(np.uint8)], alpha], -1)
            yield f"picture/{name}", _image(rr, _at_source(coloured, view), order)
    for stage, points in view.points.items():
        rows = points.rows(frame, frame + 1)
        colours = observer_colours(
            max(len(points.subjects), int(points.subject.max(initial=0)) + 1)
        )
        yield (
            f"picture/{stage}",
            rr.Points2D(
                np.stack([points.x[rows], points.y[rows]], axis=1) + 0.5,
                colors=colours[points.subject[rows]],
                radii=view.source_size[1] / 160,
                draw_order=1000.0,
            ),
        )
        yield f"points/{stage}", rr.Scalars([float(rows.stop - rows.start)])


def _image(rr: Any, picture: Any, order: int, exact: bool = True) -> Any:
    kind = "image/png" if exact else "image/jpeg"
    opacity = _OPACITY if picture.shape[-1] == 4 else 1.0
    return rr.EncodedImage(
        contents=encoded(picture, exact), media_type=kind, opacity=opacity, draw_order=float(order)
    )


def _at_source(picture: Any, view: VideoView) -> Any:
    """A picture at the source's size, which points refer to."""
    return cv2.resize(picture, view.source_size[::-1], interpolation=cv2.INTER_LINEAR)


def _arrows(rr: Any, flow: Any, fastest_px: float, view: VideoView) -> Any:
    height, width = view.source_size
    columns = min(flow.shape[1], ARROWS_ACROSS)
    rows = max(1, min(flow.shape[0], round(columns * height / width)))
    cells = cv2.resize(np.nan_to_num(flow), (columns, rows), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[:rows, :columns]
    origins = np.stack([(x + 0.5) * width / columns, (y + 0.5) * height / rows], axis=-1)
    vectors = cells * (width / columns / fastest_px)
    return rr.Arrows2D(
        vectors=vectors.reshape(-1, 2), origins=origins.reshape(-1, 2), draw_order=900.0
    )
