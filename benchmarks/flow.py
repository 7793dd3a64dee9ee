"""Every flow method against its peer on the same frames: ptlflow a pair at a time, plain OpenCV.

Run: ``python benchmarks/flow.py [--methods raft tvl1] [--sizes 224x224 360x640] [--json]``

Learned methods run random weights (speed does not depend on them) in the same arithmetic as their
peer, PyTorch's default. On a GPU the share of time in which kernels run, and in which the GPU
waits, is taken from a profiled call.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import torch
from _figures import higher, print_json
from numpy.typing import NDArray
from tvl1 import sequential_opencv, textured_clip

from foveal.models.flow import FlowEstimator, make_estimator

CLASSICAL = ("tvl1", "tvl1_opencv", "dis")
LEARNED = ("raft", "raft_small", "pwcnet", "flownet2")

Flow = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def sequential_dis(clip: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Plain OpenCV DIS, one pair after the other."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip]
    flow = []
    for frame, after in pairwise(grey):
        solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow.append(solver.calc(frame, after, None))  # type: ignore[call-overload]
    return np.stack(flow)


def on_one_opencv_thread(flow: Flow) -> Flow:
    """The same on single-threaded OpenCV."""

    def alone(clip: NDArray[np.uint8]) -> NDArray[np.float32]:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            return flow(clip)
        finally:
            cv2.setNumThreads(threads)

    return alone


def ptlflow_by_pairs(method: str, device: torch.device) -> Flow:
    """ptlflow's own inference: each pair converted, sent, computed and fetched in turn."""
    import ptlflow

    torch.manual_seed(0)
    model = ptlflow.get_model(method).to(device).eval()

    def by_pairs(clip: NDArray[np.uint8]) -> NDArray[np.float32]:
        flow = []
        with torch.inference_mode():
            for pair in pairwise(clip):
                bgr = np.stack(pair)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255
                images = torch.from_numpy(bgr)[None].to(device)
                flow.append(model({"images": images})["flows"][0, 0].permute(1, 2, 0).cpu())
        return torch.stack(flow).numpy()

    return by_pairs


def device_shares(estimator: FlowEstimator, clip: NDArray[np.uint8]) -> dict[str, float]:
    """Share of the call in which kernels run on the GPU, and in which it waits."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as record:
        start = time.perf_counter()
        estimator(clip)
        seconds = time.perf_counter() - start
    busy = sum(event.self_device_time_total for event in record.key_averages()) / 1e6
    share = min(busy / seconds, 1.0)
    return {"device_busy": round(share, 3), "device_waiting": round(1 - share, 3)}


def seconds_of(flow: Flow, clip: NDArray[np.uint8]) -> tuple[float, NDArray[np.float32]]:
    """Wall time of one call, and what it gave."""
    start = time.perf_counter()
    result = flow(clip)
    return time.perf_counter() - start, result


def compare(
    method: str, height: int, width: int, pairs: int, repeats: int, device: torch.device
) -> dict[str, Any]:
    """Time method and peer in turns after a warm-up call each; the best of each counts."""
    clip = textured_clip(pairs + 1, height, width)
    if method in CLASSICAL:
        estimator = make_estimator(method)
        estimator(clip)
        peer_name = "sequential OpenCV"
        peer = on_one_opencv_thread(sequential_dis if method == "dis" else sequential_opencv)
    else:
        estimator = make_estimator(method, weights="random", device=str(device))
        estimator(clip)  # imports ptlflow without its notices, which would garble --json
        peer_name = "ptlflow a pair at a time"
        peer = ptlflow_by_pairs(method, device)
    peer(clip[:3])
    ours, theirs = [], []
    difference_px = 0.0
    for _ in range(repeats):
        seconds, expected = seconds_of(peer, clip)
        theirs.append(seconds)
        seconds, got = seconds_of(estimator, clip)
        ours.append(seconds)
        difference_px = float(np.linalg.norm(got - expected, axis=-1).mean())
    row: dict[str, Any] = {
        "method": method,
        "size": [height, width],
        "pairs": pairs,
        "device": estimator.provenance()["device"],
        "precision": estimator.provenance()["precision"],
        "frames_per_second": round(pairs / min(ours), 2),
        "peer": peer_name,
        "peer_frames_per_second": round(pairs / min(theirs), 2),
        "ratio": round(min(theirs) / min(ours), 2),
        "difference_px": round(difference_px, 6),
    }
    if method not in CLASSICAL:
        row["pairs_at_once"] = estimator.provenance()["pairs_at_once"]
        if device.type == "cuda":
            row |= device_shares(estimator, clip)
    return row


def in_words(row: dict[str, Any]) -> str:
    """One line of the table."""
    words = (
        "{method} {size} on {device} ({precision}): {frames_per_second} frames/s, "
        "{peer} {peer_frames_per_second}, ratio {ratio}"
    ).format(**row)
    if "device_waiting" in row:
        words += f", GPU busy {row['device_busy']:.0%}, waiting {row['device_waiting']:.0%}"
    return words


def default_pairs(method: str, height: int, width: int, device: torch.device) -> int:
    """Enough pairs to measure, few enough to wait for."""
    if method not in CLASSICAL and device.type == "cuda":
        return 128
    at_224 = {
        "dis": 96,
        "tvl1": 16,
        "tvl1_opencv": 16,
        "pwcnet": 16,
        "raft_small": 8,
        "raft": 4,
        "flownet2": 4,
    }
    pairs = int(at_224.get(method, 4) * 224 * 224 / (height * width))
    return max(4, pairs // 4 * 4)


def main() -> None:
    """Print a line a method and size, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=[*CLASSICAL, *LEARNED])
    parser.add_argument("--sizes", nargs="+", default=["224x224", "360x640"], metavar="HxW")
    parser.add_argument("--pairs", type=int, help="default: chosen for method and size")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    rows = []
    for method in arguments.methods:
        for size in arguments.sizes:
            height, width = (int(side) for side in size.split("x"))
            pairs = arguments.pairs or default_pairs(method, height, width, device)
            rows.append(compare(method, height, width, pairs, arguments.repeats, device))
            if not arguments.json:
                print(in_words(rows[-1]), flush=True)
    if arguments.json:
        told = [
            higher(
                f"flow {row['method']}, {row['size'][0]}x{row['size'][1]}, {row['precision']}",
                row["frames_per_second"],
                "frames/s",
                row["peer"],
                row["peer_frames_per_second"],
                note=f"{row['difference_px']:.2g} px from the peer"
                if np.isfinite(row["difference_px"])
                else "random weights gave no numbers",
            )
            for row in rows
        ]
        print_json(__file__, told, rows)


if __name__ == "__main__":
    main()
