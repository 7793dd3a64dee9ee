"""Saliency metrics of foveal against a plain NumPy transcription of the MIT benchmark's code.

Six metrics on 100 frames of 360x640 with 67 fixated pixels each and 670 fixated pixels of other
frames; both on one thread, in blocks of frames that take turns, medians over the blocks.
Run: ``python benchmarks/metrics.py [--frames 100] [--size 360x640] [--threads 1] [--json]``
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _figures import print_json, row
from numpy.typing import NDArray

from foveal.models.metrics import (
    FixatedPixels,
    MapRows,
    auc_judd,
    auc_shuffled,
    cc,
    kldiv,
    nss,
    sim,
)

Array = NDArray[Any]

EPS = np.finfo(float).eps
BLOCK_FRAMES = 20


def numpy_auc_judd(saliency: Array, fixations: Array, rng: np.random.Generator) -> float:
    saliency = saliency + rng.random(saliency.shape) / 1e7
    saliency = (saliency - saliency.min()) / (saliency.max() - saliency.min())
    fixated = saliency[fixations > 0]
    tp, fp = np.zeros(len(fixated) + 2), np.zeros(len(fixated) + 2)
    tp[-1] = fp[-1] = 1.0
    for i, threshold in enumerate(np.sort(fixated)[::-1], 1):
        above = np.sum(saliency >= threshold)
        tp[i] = i / len(fixated)
        fp[i] = (above - i) / (saliency.size - len(fixated))
    return float(np.trapezoid(tp, fp))


def numpy_auc_shuffled(
    saliency: Array, fixations: Array, others: Array, rng: np.random.Generator, splits: int = 100
) -> float:
    saliency = (saliency - saliency.min()) / (saliency.max() - saliency.min())
    fixated = saliency[fixations > 0]
    elsewhere = np.flatnonzero(others > 0)
    size = min(len(fixated), len(elsewhere))
    scores = np.zeros(splits)
    for split in range(splits):
        random = saliency.ravel()[rng.permutation(elsewhere)[:size]]
        thresholds = np.arange(0, max(fixated.max(), random.max()) + 1e-12, 0.1)[::-1]
        tp, fp = np.zeros(len(thresholds) + 2), np.zeros(len(thresholds) + 2)
        tp[-1] = fp[-1] = 1.0
        for i, threshold in enumerate(thresholds, 1):
            tp[i] = np.sum(fixated >= threshold) / len(fixated)
            fp[i] = np.sum(random >= threshold) / size
        scores[split] = np.trapezoid(tp, fp)
    return float(scores.mean())


def numpy_nss(saliency: Array, fixations: Array) -> float:
    standardised = (saliency - saliency.mean()) / saliency.std(ddof=1)
    return float(standardised[fixations > 0].mean())


def numpy_cc(saliency: Array, density: Array) -> float:
    first = (saliency - saliency.mean()) / saliency.std(ddof=1)
    second = (density - density.mean()) / density.std(ddof=1)
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def numpy_sim(saliency: Array, density: Array) -> float:
    first = (saliency - saliency.min()) / (saliency.max() - saliency.min())
    second = (density - density.min()) / (density.max() - density.min())
    return float(np.minimum(first / first.sum(), second / second.sum()).sum())


def numpy_kldiv(saliency: Array, density: Array) -> float:
    first, second = saliency / saliency.sum(), density / density.sum()
    return float(np.sum(second * np.log(EPS + second / (first + EPS))))


def synthetic(frames: int, height: int, width: int) -> dict[str, torch.Tensor]:
    """Smooth saliency with a heavy tail, fixations, the others' fixations, blurred density."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(frames, 1, height, width, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(noise, 31, 1, 15)[:, 0]
    low, high = smooth.amin((1, 2), keepdim=True), smooth.amax((1, 2), keepdim=True)
    saliency = ((smooth - low) / (high - low)) ** 4
    maps = {}
    for name, points in (("fixations", 67), ("others", 670)):
        flat = torch.zeros(frames, height * width)
        where = torch.randint(height * width, (frames, points), generator=generator)
        maps[name] = flat.scatter_(1, where, 1.0).view(frames, height, width)
    blurred = torch.nn.functional.avg_pool2d(maps["fixations"][:, None], 51, 1, 25)[:, 0]
    return {"saliency": saliency.contiguous(), "density": blurred.contiguous(), **maps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", default="360x640", help="HEIGHTxWIDTH")
    parser.add_argument("--threads", type=int, default=1, help="of torch; NumPy has one")
    parser.add_argument("--device", default="cpu", help="of foveal's metrics")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    height, width = (int(side) for side in arguments.size.split("x"))
    clip = synthetic(arguments.frames, height, width)
    there = {name: values.to(arguments.device) for name, values in clip.items()}
    rng = np.random.default_rng(0)

    def ours(part: slice) -> dict[str, list[float]]:
        saliency = MapRows.of(there["saliency"][part])
        density = MapRows.of(there["density"][part], "density")
        fixations = FixatedPixels.from_maps(there["fixations"][part])
        scores = {
            "auc_judd": auc_judd(saliency, fixations),
            "auc_shuffled": auc_shuffled(saliency, fixations, there["others"][part]),
            "nss": nss(saliency, fixations),
            "cc": cc(saliency, density),
            "sim": sim(saliency, density),
            "kldiv": kldiv(saliency, density),
        }
        return {name: values.tolist() for name, values in scores.items()}

    def plain(part: slice) -> dict[str, list[float]]:
        scores: dict[str, list[float]] = {}
        for frame_maps in zip(*(clip[name][part].numpy() for name in clip), strict=True):
            saliency, density, fixations, others = (each.astype(float) for each in frame_maps)
            frame = {
                "auc_judd": numpy_auc_judd(saliency, fixations, rng),
                "auc_shuffled": numpy_auc_shuffled(saliency, fixations, others, rng),
                "nss": numpy_nss(saliency, fixations),
                "cc": numpy_cc(saliency, density),
                "sim": numpy_sim(saliency, density),
                "kldiv": numpy_kldiv(saliency, density),
            }
            for name, value in frame.items():
                scores.setdefault(name, []).append(value)
        return scores

    ours(slice(0, 2))
    scorers: dict[str, Callable[[slice], dict[str, list[float]]]] = {"foveal": ours, "numpy": plain}
    seconds: dict[str, list[float]] = {name: [] for name in scorers}
    values: dict[str, dict[str, list[float]]] = {name: {} for name in scorers}
    for start in range(0, arguments.frames, BLOCK_FRAMES):
        part = slice(start, min(start + BLOCK_FRAMES, arguments.frames))
        for name, scorer in scorers.items():
            began = time.perf_counter()
            scored = scorer(part)
            seconds[name].append((time.perf_counter() - began) / (part.stop - part.start))
            for metric, of_frames in scored.items():
                values[name].setdefault(metric, []).extend(of_frames)
    medians = {name: float(np.median(each)) * 1e3 for name, each in seconds.items()}
    difference = {
        metric: float(np.abs(np.subtract(values["foveal"][metric], plain_values)).max())
        for metric, plain_values in values["numpy"].items()
    }
    ratio = float(np.median(np.divide(seconds["numpy"], seconds["foveal"])))
    if arguments.json:
        result = {
            "frames": arguments.frames,
            "threads": arguments.threads,
            "size": [height, width],
            "foveal_ms_per_frame": medians["foveal"],
            "numpy_ms_per_frame": medians["numpy"],
            "ratio_to_numpy": ratio,
            "max_difference": difference,
        }
        told = row(
            f"six metrics of {arguments.frames} frames, {height}x{width}, {arguments.device}",
            medians["foveal"],
            "ms per frame",
            peer="NumPy transcription of the MIT benchmark's code",
            peer_value=medians["numpy"],
            ratio=ratio,
            note="shuffled AUC draws its splits at random",
        )
        print_json(__file__, [told], result)
        return
    size = f"{arguments.frames} frames of {height}x{width}"
    print(f"six metrics, {size}, {arguments.threads} thread(s), median a frame")
    print(f"foveal  {medians['foveal']:8.2f} ms")
    print(f"numpy   {medians['numpy']:8.2f} ms  {ratio:.1f}x")
    print("largest difference: " + ", ".join(f"{m} {d:.1e}" for m, d in difference.items()))


if __name__ == "__main__":
    main()
