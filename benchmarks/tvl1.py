"""TV-L1 by foveal against sequential single-threaded OpenCV: same frames, same settings.

Run: ``python benchmarks/tvl1.py [--pairs 24] [--sizes 112x112 224x224] [--repeats 3] [--json]``
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from foveal.models.flow.opencv import available_cores
from foveal.models.flow.tvl1 import TVL1


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


def compare(pairs: int, height: int, width: int, repeats: int) -> dict[str, object]:
    """Time both in turns, `repeats` times; the best of each counts."""
    clip = textured_clip(pairs + 1, height, width)
    estimator = TVL1()
    seconds: dict[str, list[float]] = {"opencv": [], "foveal": []}
    threads_before = cv2.getNumThreads()
    for _ in range(repeats):
        cv2.setNumThreads(1)
        start = time.perf_counter()
        expected = sequential_opencv(clip)
        seconds["opencv"].append(time.perf_counter() - start)
        cv2.setNumThreads(threads_before)
        start = time.perf_counter()
        got = estimator(clip)
        seconds["foveal"].append(time.perf_counter() - start)
    if not np.array_equal(expected, got):
        raise AssertionError("foveal and OpenCV differ")
    return {
        "size": [height, width],
        "pairs": pairs,
        "cores": available_cores(),
        "opencv_ms_a_pair": round(min(seconds["opencv"]) / pairs * 1e3, 1),
        "foveal_ms_a_pair": round(min(seconds["foveal"]) / pairs * 1e3, 1),
        "ratio": round(min(seconds["opencv"]) / min(seconds["foveal"]), 2),
        "wanted": 1.8,
    }


def main() -> None:
    """Print a line a size, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--sizes", nargs="+", default=["112x112", "224x224"], metavar="HxW")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for size in arguments.sizes:
        height, width = (int(side) for side in size.split("x"))
        rows.append(compare(arguments.pairs, height, width, arguments.repeats))
    if arguments.json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(
            "TV-L1 {size}, {pairs} pairs, {cores} cores: OpenCV {opencv_ms_a_pair} ms a pair, "
            "foveal {foveal_ms_a_pair} ms, ratio {ratio} (wanted {wanted})".format(**row)
        )


if __name__ == "__main__":
    main()
