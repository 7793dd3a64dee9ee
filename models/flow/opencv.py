"""What the two OpenCV estimators share: grey frames, and pairs spread over the cores.

OpenCV releases Python's lock while it computes, so plain threads serve. One pair a core on
single-threaded OpenCV is fastest (TV-L1, 112x112, two cores: 60 ms a pair; 64 ms with OpenCV's own
threads on as well; 72 ms with only those), and the numbers of DIS depend on how many threads OpenCV
splits a picture over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import MissingDependency

_gate = threading.Lock()
_holders = 0
_threads_before = 0


def require_optflow() -> Any:
    """Return the ``cv2`` module after making sure that it carries ``cv2.optflow``.

    Raises
    ------
    MissingDependency
        OpenCV is absent, or a build without the contrib modules (``opencv-python``, which ptlflow
        pulls in) was installed over ``opencv-contrib-python``.
    """
    mend = "pip install --force-reinstall --no-deps"
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency(
            f"cv2 cannot be imported ({error}); run: {mend} 'opencv-contrib-python==4.13.*'"
        ) from error
    # An empty cv2.optflow stays where opencv-python was installed over it.
    if not hasattr(getattr(cv2, "optflow", None), "DualTVL1OpticalFlow_create"):
        try:
            wanted = metadata.version("opencv-contrib-python")
        except metadata.PackageNotFoundError:
            wanted = ".".join(cv2.__version__.split(".")[:2]) + ".*"
        raise MissingDependency(
            f"cv2 {cv2.__version__} at {cv2.__file__} has no cv2.optflow: opencv-python lies over "
            f"opencv-contrib-python; run: {mend} 'opencv-contrib-python=={wanted}'"
        )
    return cv2


def grey_frames(frames: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Luma (0.299 R + 0.587 G + 0.114 B, rounded) of each frame: n arrays, uint8 [h, w]."""
    import cv2

    return [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames]


def map_pairs(
    make_calc: Callable[[], Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]],
    grey: list[NDArray[np.uint8]],
    threads: int,
) -> NDArray[np.float32]:
    """Flow of consecutive grey frames, pairs in parallel.

    Parameters
    ----------
    make_calc : callable
        Called once a thread, as OpenCV's flow objects keep buffers and must not be shared; gives
        the function (frame, next frame) -> flow [h, w, 2].
    grey : list of n + 1 arrays, uint8 [h, w]
    threads : int
        At most so many pairs at a time.

    Returns
    -------
    ndarray, float32 [n, h, w, 2]
    """
    pairs = len(grey) - 1
    flow = np.empty((pairs, *grey[0].shape, 2), np.float32)
    own = threading.local()

    def set_up() -> None:
        own.calc = make_calc()

    def compute(pair: int) -> None:
        flow[pair] = own.calc(grey[pair], grey[pair + 1])

    with _opencv_threads_off(), ThreadPoolExecutor(threads, "flow", initializer=set_up) as pool:
        list(pool.map(compute, range(pairs)))
    return flow


@contextmanager
def _opencv_threads_off() -> Iterator[None]:
    """Keep OpenCV single-threaded until the last of overlapping users has left."""
    global _holders, _threads_before
    import cv2

    with _gate:
        if _holders == 0:
            _threads_before = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _holders += 1
    try:
        yield
    finally:
        with _gate:
            _holders -= 1
            if _holders == 0:
                cv2.setNumThreads(_threads_before)
