"""Density map of one frame by foveal against SciPy's and OpenCV's full-frame convolution.

Single thread, 67 points on 360x640, σ = 12.74 px, divided by the maximum in all three.
Run: ``python benchmarks/density.py [--points 67] [--size 360x640] [--repeats 51] [--json]``
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_pool] = "1"

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import scipy.ndimage  # noqa: E402
from _figures import faster, print_json  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from foveal.pipeline.stages.density_maps import density_map  # noqa: E402
from foveal.pipeline.video.density_kernels import gaussian  # noqa: E402

SIGMA_PX = 12.74


def median_milliseconds(functions: list[Callable[[], Any]], repeats: int) -> list[float]:
    """Median wall time of each function, the functions taking turns."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [float(np.median(times)) * 1e3 for times in seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=67)
    parser.add_argument("--size", default="360x640", help="HEIGHTxWIDTH")
    parser.add_argument("--repeats", type=int, default=51)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    height, width = (int(side) for side in arguments.size.split("x"))
    size = (height, width)
    rng = np.random.default_rng(0)
    points = np.stack(
        [rng.integers(0, width, arguments.points), rng.integers(0, height, arguments.points)],
        axis=1,
    )
    binary = np.zeros(size)
    binary[points[:, 1], points[:, 0]] = 1.0
    binary32 = binary.astype(np.float32)
    kernel = gaussian(SIGMA_PX)
    cv2.setNumThreads(1)

    def scipy_map() -> NDArray[np.float64]:
        density: NDArray[np.float64] = scipy.ndimage.gaussian_filter(
            binary, SIGMA_PX, mode="constant"
        )
        density /= density.max()
        return density

    def opencv_map() -> NDArray[np.float32]:
        density = np.asarray(
            cv2.GaussianBlur(binary32, (0, 0), SIGMA_PX, borderType=cv2.BORDER_CONSTANT), np.float32
        )
        density /= density.max()
        return density

    def foveal_map() -> NDArray[np.float32]:
        return density_map(points, size, size, kernel)

    def foveal_uint8_map() -> NDArray[np.uint8]:
        return density_map(points, size, size, kernel, "max", np.uint8)

    foveal_map(), foveal_uint8_map()  # fills the tables, once a video
    ours, as_uint8, scipy_ms, opencv_ms = median_milliseconds(
        [foveal_map, foveal_uint8_map, scipy_map, opencv_map], arguments.repeats
    )
    exact = scipy.ndimage.gaussian_filter(binary, SIGMA_PX, mode="constant", truncate=12)
    result = {
        "points": arguments.points,
        "size": list(size),
        "sigma_px": SIGMA_PX,
        "foveal_ms": ours,
        "foveal_uint8_ms": as_uint8,
        "scipy_gaussian_filter_ms": scipy_ms,
        "opencv_gaussian_blur_ms": opencv_ms,
        "ratio_to_scipy": scipy_ms / ours,
        "ratio_to_scipy_uint8": scipy_ms / as_uint8,
        "ratio_to_opencv": opencv_ms / ours,
        "max_error_of_peak": float(np.abs(foveal_map() - exact / exact.max()).max()),
        "max_difference_to_scipy_default": float(np.abs(foveal_map() - scipy_map()).max()),
    }
    if arguments.json:
        what = f"density of {arguments.points} points, {height}x{width}"
        peers = {"scipy.ndimage.gaussian_filter": scipy_ms, "cv2.GaussianBlur": opencv_ms}
        rows = [
            faster(f"{what}, {kind}", value, peer, peer_ms, unit="ms per map")
            for kind, value in (("float32", ours), ("uint8", as_uint8))
            for peer, peer_ms in peers.items()
        ]
        print_json(__file__, rows, result)
        return
    print(f"{arguments.points} points, {height}x{width}, sigma {SIGMA_PX} px, one thread, medians")
    print(f"foveal, float32        {ours:8.3f} ms")
    print(f"foveal, uint8          {as_uint8:8.3f} ms")
    print(f"scipy.gaussian_filter  {scipy_ms:8.3f} ms  {result['ratio_to_scipy']:.1f}x")
    print(f"cv2.GaussianBlur       {opencv_ms:8.3f} ms  {result['ratio_to_opencv']:.1f}x")
    print(f"largest error          {result['max_error_of_peak']:.1e} of the peak")


if __name__ == "__main__":
    main()
