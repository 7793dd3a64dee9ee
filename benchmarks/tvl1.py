"""TV-L1 by foveal against OpenCV used the best way: pairs in parallel, one thread each.

Run: ``python benchmarks/tvl1.py [--clip 002.AVI] [--pairs 8] [--sizes 112x112 224x224 360x640]
[--repeats 3] [--json]``

Same frames, settings and cores for both, in turns; medians of one run. The limit is what one core
needs per pixel and iteration for the square roots and divisions alone, which bit equality with
OpenCV demands (a root in double precision and a division for each of two dual vectors).
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _figures import faster, print_json
from llvmlite import binding
from numba import njit
from numpy.typing import NDArray

from foveal.machine import available_cores
from foveal.models.flow import tvl1_kernel, tvl1_planes, tvl1_pyramid
from foveal.models.flow.opencv import grey_frames
from foveal.models.flow.tvl1 import TVL1
from foveal.models.flow.tvl1_opencv import OpenCVTVL1
from foveal.models.flow.tvl1_settings import TVL1Settings
from foveal.pipeline.video.resize import resize_frames

FLOATING_POINT_OPERATIONS, ROOTS, DIVISIONS, BYTES = 75, 2, 2, 68
"""Per pixel and iteration: additions, products and comparisons; roots; quotients; ten planes read
and seven written. Three further quotients are two fused multiply-adds each."""


def textured_clip(frames: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Cloudy texture that pans by (1.3, 0.7) px a frame under a disc moving the other way.

    Returns
    -------
    ndarray, uint8 [frames, height, width, 3]
    """
    rng = np.random.default_rng(seed)
    reach = 2 * frames + 2
    shape = (height + reach, width + reach, 3)
    background, disc = (_clouds(rng, shape) for _ in range(2))
    low, high = float(background.min()), float(background.max())
    y, x = np.mgrid[:height, :width]
    clip = np.empty((frames, height, width, 3), np.uint8)
    for k in range(frames):
        picture = _window(background, 1.3 * k, 0.7 * k, height, width)
        moving = _window(disc, reach - 2 - 0.9 * k, reach - 2 - 0.4 * k, height, width)
        centre_x, centre_y = width / 2 + 0.9 * k, height / 2 + 0.4 * k
        inside = np.hypot(x - centre_x, y - centre_y) < min(height, width) / 5
        picture = np.where(inside[..., None], moving, picture)
        clip[k] = np.clip((picture - low) / (high - low) * 255, 0, 255).round()
    return clip


def _clouds(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    texture = np.zeros(shape, np.float32)
    for sigma_px, weight in ((1.5, 1.5), (4.0, 6.0), (12.0, 24.0)):
        noise = rng.standard_normal(shape, np.float32)
        texture += weight * cv2.GaussianBlur(noise, (0, 0), sigma_px)
    return texture


def _window(
    image: NDArray[np.float32], x: float, y: float, height: int, width: int
) -> NDArray[np.float32]:
    shift = np.array([[1, 0, x], [0, 1, y]], np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, shift, (width, height), flags=flags), np.float32)


def sequential_opencv(clip: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Plain OpenCV: one thread, one pair after the other, defaults of DualTVL1."""
    solver = cv2.optflow.createOptFlow_DualTVL1()
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip]
    flow = [solver.calc(frame, after, None) for frame, after in pairwise(grey)]  # type: ignore[call-overload]
    return np.stack(flow)


def film(path: Path, frames: int, height: int, width: int) -> NDArray[np.uint8]:
    """The first frames of a video, resized: uint8 [frames, height, width, 3]."""
    capture = cv2.VideoCapture(str(path))
    read = [capture.read() for _ in range(frames)]
    if not all(found for found, _ in read):
        raise SystemExit(f"{path} has fewer than {frames} frames, or cannot be read")
    return resize_frames(np.stack([frame[..., ::-1] for _, frame in read]), (height, width))


@njit(error_model="numpy")
def _roots_and_quotients(x: Any, y: Any, out: Any, times: int) -> None:
    for _ in range(times):
        for k in range(x.size):
            a, b = np.float64(x[k]), np.float64(y[k])
            root = np.float32(np.sqrt(a * a + b * b))
            out[k] = np.float32(1) / (np.float32(1) + root)


def limit_ns() -> float:
    """Nanoseconds of one core for a pixel's two roots and two quotients, all in cache."""
    x, y = np.random.default_rng(0).random((2, 1024), np.float32)
    out = np.empty_like(x)
    _roots_and_quotients(x, y, out, 1)
    return min(_seconds(_roots_and_quotients, x, y, out, 200) for _ in range(9)) / 200 / 1024 * 2e9


def inner_loop_ns(height: int, width: int) -> float:
    """Nanoseconds of one core for a pixel and iteration of the finest level."""
    stride = -(-width // tvl1_planes.LANES) * tvl1_planes.LANES + 2 * tvl1_planes.LEFT
    planes = np.zeros((tvl1_planes.PLANES, height + 2, stride), np.float32)
    planes[:6] = np.random.default_rng(0).normal(size=planes[:6].shape)
    sums = np.zeros(stride, np.float32)
    scheme = tvl1_kernel.make_scheme(TVL1Settings())

    def iterate() -> None:
        tvl1_kernel._iterate(planes, sums, height, width, scheme)

    iterate()
    return min(_seconds(iterate) for _ in range(20)) / (height * width) * 1e9


def _seconds(function: Any, *arguments: Any) -> float:
    start = time.thread_time()
    function(*arguments)
    return time.thread_time() - start


def iterations_and_ms(clip: NDArray[np.uint8]) -> tuple[float, float]:
    """Pixels times iterations of all levels, and milliseconds of one core, per pair."""
    settings = TVL1Settings()
    scheme = tvl1_kernel.make_scheme(settings)
    grey = grey_frames(clip)
    levels = tvl1_pyramid.pyramid_levels(*grey[0].shape, settings.scales, settings.scale_step)
    before, after = np.empty((2, levels[-1, 2]), np.float32)
    counts = np.zeros(2, np.int64)
    flow = np.empty((*grey[0].shape, 2), np.float32)
    seconds = []
    for frame, next_frame in pairwise(grey):
        tvl1_kernel.prepare(frame, levels, settings.scale_step, before)
        tvl1_kernel.prepare(next_frame, levels, settings.scale_step, after)
        seconds.append(_seconds(tvl1_kernel.solve, before, after, levels, scheme, flow, counts))
    return float(counts[1] / len(seconds)), statistics.mean(seconds) * 1e3


def compare(clip: NDArray[np.uint8], repeats: int) -> dict[str, Any]:
    """Time both in turns, `repeats` times; medians count."""
    height, width = clip.shape[1:3]
    pairs = len(clip) - 1
    methods = {"opencv": OpenCVTVL1(), "foveal": TVL1()}
    methods["foveal"](clip[:2])  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    flow = {}
    for _ in range(repeats):
        for name, method in methods.items():
            start = time.perf_counter()
            flow[name] = method(clip)
            seconds[name].append(time.perf_counter() - start)
    ms = {name: statistics.median(each) / pairs * 1e3 for name, each in seconds.items()}
    error_px = np.linalg.norm(flow["foveal"] - flow["opencv"], axis=-1)
    inner_ns, least_ns = inner_loop_ns(height, width), limit_ns()
    iterations, core_ms = iterations_and_ms(clip)
    return {
        "size": [height, width],
        "pairs": pairs,
        "cores": available_cores(),
        "opencv_ms_a_pair": round(ms["opencv"], 1),
        "foveal_ms_a_pair": round(ms["foveal"], 2),
        "ratio": round(ms["opencv"] / ms["foveal"], 2),
        "wanted": 6.0,
        "difference_mean_px": float(error_px.mean()),
        "difference_p99_px": float(np.percentile(error_px, 99)),
        "pixel_iterations_a_pair": round(iterations),
        "inner_loop_ns": round(inner_ns, 2),
        "limit_ns": round(least_ns, 2),
        "share_of_limit": round(least_ns / inner_ns, 2),
        "inner_loop_share_of_a_pair": round(iterations * inner_ns * 1e-6 / core_ms, 2),
    }


def main() -> None:
    """Print a line a size, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, help="default: moving texture")
    parser.add_argument("--pairs", type=int, help="default: 24, 12 and 4 for the three sizes")
    sizes = ["112x112", "224x224", "360x640"]
    parser.add_argument("--sizes", nargs="+", default=sizes, metavar="HxW")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for size in arguments.sizes:
        height, width = (int(side) for side in size.split("x"))
        fitting = 24 if height * width < 2e4 else 12 if height * width < 1e5 else 4
        pairs = arguments.pairs or fitting
        if arguments.clip:
            clip = film(arguments.clip, pairs + 1, height, width)
        else:
            clip = textured_clip(pairs + 1, height, width)
        rows.append(compare(clip, arguments.repeats))
    if arguments.json:
        told = [
            faster(
                f"TV-L1, {row['size'][0]}x{row['size'][1]}, {row['cores']} cores",
                row["foveal_ms_a_pair"],
                "OpenCV, a pair per core",
                row["opencv_ms_a_pair"],
                unit="ms per pair",
                goal=("ratio at least", row["wanted"]),
                note=f"{row['difference_mean_px']:.1g} px apart",
            )
            for row in rows
        ]
        print_json(__file__, told, rows)
        return
    features = binding.get_host_cpu_features()
    lanes = 16 if features.get("avx512f") else 8 if features.get("avx2") else 4
    print(
        f"per pixel and iteration: {FLOATING_POINT_OPERATIONS} operations, {ROOTS} roots, "
        f"{DIVISIONS} divisions, {BYTES} bytes; {binding.get_host_cpu_name()}, {lanes} floats wide"
    )
    for row in rows:
        print(
            "TV-L1 {size}, {pairs} pairs, {cores} cores: OpenCV {opencv_ms_a_pair} ms a pair, "
            "foveal {foveal_ms_a_pair} ms, ratio {ratio} (wanted {wanted}); difference "
            "{difference_mean_px:.1g} px, 99th percentile {difference_p99_px:.1g}; inner loop "
            "{inner_loop_ns} ns of {limit_ns} ns at best ({share_of_limit:.0%}), "
            "{inner_loop_share_of_a_pair:.0%} of the time".format(**row)
        )


if __name__ == "__main__":
    main()
