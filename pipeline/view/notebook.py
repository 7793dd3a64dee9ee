"""Show the page inside a notebook (``store.view("002")``), served by a thread of its kernel."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from foveal.errors import FovealError, MissingDependency, StoreError

if TYPE_CHECKING:
    from foveal.pipeline.view.server import Viewer
    from foveal.storage.reader import Store

_running: dict[tuple[str, int], Viewer] = {}
_lock = threading.Lock()


def show(
    store: Store,
    video: str | None = None,
    *,
    frame: int | None = None,
    height_px: int = 760,
    port: int = 0,
) -> Any:
    """Show the page of `store` in a notebook; see `foveal.storage.reader.Store.view`.

    Parameters
    ----------
    store : Store
    video : str, optional
        Id of the video to begin with.
    frame : int, optional
        Frame to begin with, counted from 0.
    height_px : int
        Height of the page in the notebook.
    port : int
        Port of the server; 0 takes a free one.
    """
    try:
        from IPython.display import IFrame
    except ImportError:
        raise MissingDependency(
            "store.view shows the page inside a notebook, and IPython is not installed; "
            f"`foveal view {store.location}` opens it in a browser"
        ) from None
    if video is not None and video not in store:
        store.marks(video)  # its error lists the videos
        raise StoreError(f"{store.location} has no video {video!r}")
    if frame is not None and frame < 0:
        raise FovealError(f"frames count from 0, not {frame}")
    viewer = running(store, port)
    return IFrame(viewer.link(video, frame), width="100%", height=height_px)


def running(store: Store, port: int = 0) -> Viewer:
    """Return the server of `store` on `port` in this process; the first call starts it."""
    from foveal.pipeline.view.server import Viewer

    key = str(store.location), port
    with _lock:
        if key not in _running:
            viewer = Viewer(store, port, framed=True)
            viewer.start()
            _running[key] = viewer
        return _running[key]


def stop_all() -> None:
    """Stop all servers that notebooks of this process started."""
    with _lock:
        while _running:
            _running.popitem()[1].stop()
