"""This module computes TV-L1 flow (Zach, Pock & Bischof 2007) on the CPU, in compiled code."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import MissingDependency
from foveal.machine import available_cores
from foveal.models.flow.inputs import check_frames
from foveal.models.flow.opencv import grey_frames
from foveal.models.flow.tvl1_settings import TVL1Settings, check_threads

_MOST_PAIRS = 8  # in a run of pairs in one thread; each run prepares one frame more

_log = logging.getLogger("foveal")


class TVL1:
    """Run TV-L1 on grey frames, with pairs in parallel; the same bits on every machine.

    Parameters
    ----------
    threads : int, optional
        Pairs computed together; None takes every core of the process. The numbers do not depend
        on it.
    **settings
        See `foveal.models.flow.tvl1_settings.TVL1Settings`; `gamma` must be 0. LSTS uses the
        defaults on frames resized to 112x112.

    Raises
    ------
    MissingDependency
        numba is not installed.
    ValueError
        A setting is outside its range, or `gamma` is not 0.

    Notes
    -----
    Algorithm, settings and iterations are those of OpenCV's DualTVL1. The result is the same too:
    to the bit with OpenCV 4.13 on x86-64 Linux at the default `scale_step`; if OpenCV's resize
    rounds differently, within 0.005 px in the mean and 0.05 px at the 99th percentile. The first
    call on a machine compiles the kernel (about 10 s) and logs this.
    """

    name = "tvl1"

    def __init__(self, *, threads: int | None = None, **settings: Any) -> None:
        self._settings = TVL1Settings(**settings)
        check_threads(threads)
        if self._settings.gamma != 0:
            raise ValueError(
                f"gamma must be 0 for method tvl1, got {self._settings.gamma}; the "
                "illumination-change term is OpenCV's: use method tvl1_opencv"
            )
        self._kernel = _import_kernel()
        self._threads = threads or available_cores()

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the motion of each frame to the next.

        Parameters
        ----------
        frames : ndarray, uint8 [n + 1, height, width, 3]
            RGB, n >= 1, any size. There is no motion along a side of one pixel.

        Returns
        -------
        ndarray, float32 [n, height, width, 2]
            (u, v): pixels right and down until the next frame.
        """
        check_frames(frames)
        grey = grey_frames(frames)
        pairs = len(grey) - 1
        height, width = grey[0].shape
        s = self._settings
        levels = self._kernel.tvl1_pyramid.pyramid_levels(height, width, s.scales, s.scale_step)
        flow = np.empty((pairs, height, width, 2), np.float32)
        length = max(1, min(_MOST_PAIRS, -(-pairs // self._threads)))

        def compute(first: int) -> None:
            self._run(grey[first : first + length + 1], levels, flow[first : first + length])

        with _said_when_compiling(self._kernel), ThreadPoolExecutor(self._threads, "flow") as pool:
            list(pool.map(compute, range(0, pairs, length)))
        return flow

    def parameters(self) -> dict[str, Any]:
        """Return the implementation and its version, every setting, and the grey conversion."""
        return {
            "method": self.name,
            "implementation": "foveal",
            "version": self._kernel.VERSION,
            "grey": "rec601",
            **self._settings.values(),
        }

    def former_parameters(self) -> list[dict[str, Any]]:
        """Return the parameters of OpenCV's DualTVL1, which this method used before."""
        return [{"method": self.name, "grey": "rec601", **self._settings.values()}]

    def provenance(self) -> dict[str, Any]:
        """Return the implementation, its compiler, the CPU, and the number of threads."""
        import numba
        from llvmlite import binding

        return {
            "implementation": f"foveal TV-L1, version {self._kernel.VERSION}",
            "numba": numba.__version__,
            "cpu": binding.get_host_cpu_name(),
            "device": "cpu",
            "precision": "float32",
            "threads": self._threads,
        }

    def _run(
        self,
        grey: list[NDArray[np.uint8]],
        levels: NDArray[np.int64],
        flow: NDArray[np.float32],
    ) -> None:
        scheme = self._kernel.make_scheme(self._settings)
        before, after = (np.empty(levels[-1, 2], np.float32) for _ in range(2))
        counts = np.zeros(2, np.int64)
        self._kernel.prepare(grey[0], levels, scheme.scale_step, before)
        for frame, out in zip(grey[1:], flow, strict=True):
            self._kernel.prepare(frame, levels, scheme.scale_step, after)
            self._kernel.solve(before, after, levels, scheme, out, counts)
            before, after = after, before


def _import_kernel() -> Any:
    try:
        from foveal.models.flow import tvl1_kernel
    except ImportError as error:
        raise MissingDependency(
            f"method tvl1 needs numba, which cannot be imported ({error}); run: "
            "pip install numba, or use method tvl1_opencv (the same flow, several times slower)"
        ) from error
    return tvl1_kernel


@contextmanager
def _said_when_compiling(kernel: Any) -> Iterator[None]:
    solve = kernel.solve
    if solve.signatures:
        yield
        return
    folder = solve.stats.cache_path
    if folder is None or not any(Path(folder).glob("tvl1_kernel*.nbi")):
        kept = f"the code is kept in {folder}" if folder else "there is no folder to keep the code"
        _log.warning("compiling TV-L1 for this CPU, once, about 10 s; %s", kept)
    start = time.monotonic()
    yield
    if solve.stats.cache_misses or folder is None:
        _log.info("compiled TV-L1: the first call took %.1f s", time.monotonic() - start)
