"""``store.view("002")``: the page inside a notebook, served by a thread of its kernel."""

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
    """The page as a notebook shows it; see `foveal.storage.reader.Store.view`."""
    try:
        from IPython.display import IFrame
    except ImportError:
        raise MissingDependency(
            "store.view shows the page inside a notebook, and there is no IPython here; "
            f"`foveal view {store.location}` opens it in a browser"
        ) from None
    if video is not None and video not in store:
        store.marks(video)  # says which videos there are
        raise StoreError(f"{store.location} has no video {video!r}")
    if frame is not None and frame < 0:
        raise FovealError(f"frames count from 0, not {frame}")
    viewer = running(store, port)
    return IFrame(viewer.link(video, frame), width="100%", height=height_px)


def running(store: Store, port: int = 0) -> Viewer:
    """The server of a store in this process, started at the first call."""
    from foveal.pipeline.view.server import Viewer

    key = str(store.location), port
    with _lock:
        if key not in _running:
            viewer = Viewer(store, port, framed=True)
            viewer.start()
            _running[key] = viewer
        return _running[key]


def stop_all() -> None:
    """End all servers that notebooks of this process started."""
    with _lock:
        while _running:
            _running.popitem()[1].stop()
