"""This module has what the two OpenCV estimators share: grey frames, and pairs run in parallel.

OpenCV releases Python's lock while it computes, so plain threads are enough. One pair per core with
single-threaded OpenCV is fastest (TV-L1, 112x112, two cores: 60 ms per pair; 64 ms with OpenCV's
own threads as well; 72 ms with only those). Also, the numbers of DIS depend on how many threads
OpenCV uses for a picture.
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
from foveal.machine import available_cores
from foveal.models.flow.inputs import check_frames, pad_to_minimum
from foveal.models.flow.tvl1_settings import check_threads

Calc = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]
"""Takes frame and next frame, uint8 [h, w], returns their flow [h, w, 2]."""

_gate = threading.Lock()
_holders = 0
_threads_before = 0


def require_optflow() -> Any:
    """Return the ``cv2`` module if it has ``cv2.optflow``.

    Raises
    ------
    MissingDependency
        OpenCV is absent, or a build without the contrib modules (``opencv-python``, which ptlflow
        installs) replaced ``opencv-contrib-python``.
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
            f"cv2 {cv2.__version__} at {cv2.__file__} has no cv2.optflow: opencv-python replaced "
            f"opencv-contrib-python; run: {mend} 'opencv-contrib-python=={wanted}'"
        )
    return cv2


def grey_frames(frames: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the luma of RGB `frames` [n, h, w, 3], uint8 [h, w] for each.

    It is 0.299 R + 0.587 G + 0.114 B, rounded.
    """
    import cv2

    return [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames]


def map_pairs(
    make_calc: Callable[[], Calc],
    grey: list[NDArray[np.uint8]],
    threads: int,
) -> NDArray[np.float32]:
    """Compute the flow of consecutive grey frames, with pairs in parallel.

    Parameters
    ----------
    make_calc : callable
        Called once per thread, because OpenCV's flow objects have buffers and must not be shared.
    grey : list of n + 1 arrays, uint8 [h, w]
        Luma of the frames.
    threads : int
        Most pairs computed together.

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


class OpenCVEstimator:
    """Compute flow by objects of OpenCV, on grey frames, with pairs in parallel; deterministic.

    Parameters
    ----------
    threads : int or None
        Pairs computed together; None takes every core of the process. The numbers do not depend
        on it.
    """

    _implementation: str
    _least_side_px = 1

    def __init__(self, threads: int | None) -> None:
        check_threads(threads)
        self._threads = threads or available_cores()

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the motion of each frame to the next.

        Parameters
        ----------
        frames : ndarray, uint8 [n + 1, height, width, 3]
            RGB, n >= 1, any size. OpenCV's TV-L1 reads beyond the memory of pictures with one row
            or one column, so that their flow is not defined.

        Returns
        -------
        ndarray, float32 [n, height, width, 2]
            (u, v): pixels right and down until the next frame.
        """
        check_frames(frames)
        padded, (rows, columns) = pad_to_minimum(frames, self._least_side_px)
        flow = map_pairs(self._make_calc, grey_frames(padded), self._threads)
        return flow[:, rows, columns]

    def provenance(self) -> dict[str, Any]:
        """Return the implementation, its version, and the number of threads."""
        import cv2

        return {
            "implementation": self._implementation,
            "opencv": cv2.__version__,
            "device": "cpu",
            "precision": "float32",
            "threads": self._threads,
        }

    def _make_calc(self) -> Calc:
        raise NotImplementedError


@contextmanager
def _opencv_threads_off() -> Iterator[None]:
    """Keep OpenCV single-threaded until the last of several users has finished."""
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
