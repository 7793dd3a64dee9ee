"""I3D features of every window: shared against one window at a time, in the same run.

    python benchmarks/i3d.py                 # 64 x 64 frames, a quarter of the width: seconds
    python benchmarks/i3d.py --real          # 224 x 224 frames, the published network
    python benchmarks/i3d.py --real --device cuda --precision float16 --json

The peers evaluate the plain network (three-dimensional convolutions) on each window: as published,
with BatchNorm folded, and folded with channels last. Sharing is timed in its steady state, after
the first batch. Peers and strides take turns, so that a busy machine slows all alike; times are
medians, the ratio of the best times stands in brackets. Operations are multiply-accumulates, as
torch counts them. The arithmetic rate is the best of a large matrix product and 3x3 convolution.

Beside float32 runs half precision (bfloat16 on a CPU with instructions for it, float16 on CUDA), in
turns with the same strides in float32; 3.8x is wanted where the CPU has AMX.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _figures import Row, higher, print_json
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from foveal.models.device import choose_device
from foveal.models.i3d.half_precision import half_precision
from foveal.models.i3d.network import I3D, IN_CHANNELS, Unit, random_i3d
from foveal.models.i3d.runner import relative_difference
from foveal.models.i3d.step_network import count_macs
from foveal.models.i3d.windows import WindowFeatures


def folded(network: I3D) -> I3D:
    """A copy of the plain network whose BatchNorm lives in its convolutions."""
    light = copy.deepcopy(network)
    for module in light.modules():
        if isinstance(module, Unit):
            module.conv3d = fuse_conv_bn_eval(module.conv3d, module.bn)
            module.bn = nn.Identity()  # type: ignore[assignment]
    return light


def seconds(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Median time of a call, the device's queue emptied."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def arithmetic_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Multiply-accumulates a second: a large matrix product or 3x3 convolution, the better one."""
    n = 8192 if device.type == "cuda" else 1536
    a = torch.randn(n, n, device=device, dtype=dtype)
    x = torch.randn(32, 256, 56, 56, device=device, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    w = torch.randn(256, 256, 3, 3, device=device, dtype=dtype)
    w = w.contiguous(memory_format=torch.channels_last)

    def product() -> Tensor:
        return a @ a

    def convolution() -> Tensor:
        return torch.nn.functional.conv2d(x, w, padding=1)

    product(), convolution()
    convolution_macs = x[:, 0].numel() * w.numel()
    return max(
        n**3 / seconds(product, device, 5), convolution_macs / seconds(convolution, device, 5)
    )


def peers(
    network: I3D, frames: Tensor, window: int, device: torch.device, dtype: torch.dtype
) -> dict[str, tuple[Callable[[], Tensor], int]]:
    """What each peer runs, and how many windows at a time (one on a CPU, eight on CUDA)."""
    together = 8 if device.type == "cuda" else 1
    x = frames.permute(3, 0, 1, 2)
    windows = torch.stack([x[:, s : s + window] for s in range(together)]).to(device, dtype)
    last = windows.contiguous(memory_format=torch.channels_last_3d)
    plain = copy.deepcopy(network).to(device, dtype)
    light = folded(network).to(device, dtype)
    light_last = folded(network).to(device, dtype).to(memory_format=torch.channels_last_3d)
    return {
        "as published": (lambda: plain(windows), together),
        "folded": (lambda: light(windows), together),
        "folded, channels last": (lambda: light_last(last), together),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--real", action="store_true", help="224 x 224 and full width")
    parser.add_argument("--size", type=int)
    parser.add_argument("--width", type=float)
    parser.add_argument("--tower", choices=["rgb", "flow"], default="rgb")
    parser.add_argument("--window", type=int, default=79)
    parser.add_argument("--strides", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, help="windows computed together")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    torch.backends.cudnn.allow_tf32 = False
    size = options.size or (224 if options.real else 64)
    width = options.width or (1.0 if options.real else 0.25)
    device, window = choose_device(options.device), options.window
    dtype = getattr(torch, options.precision)

    network = random_i3d(options.tower, 0, width)
    channels = IN_CHANNELS[network.tower]
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (window + 8, size, size, channels)).astype(np.float32)

    rate = arithmetic_rate(device, dtype)
    runs: dict[str, tuple[Callable[[], Any], int]] = {
        **peers(network, torch.from_numpy(frames), window, device, dtype)
    }
    first_map = runs["as published"][0]()[:1].float().cpu()
    for name in ("folded", "folded, channels last"):
        runs[name][0]()
    half, why_half = half_precision(device)
    half_rate = 0.0
    if options.precision != "float32" or half == "float32":
        half = None
    else:
        half_rate = arithmetic_rate(device, getattr(torch, half))

    def shared(stride: int, precision: str) -> tuple[Callable[[], Any], int, NDArray[np.float32]]:
        """What one more batch runs in the steady state, its windows, and the first features."""
        extractor = WindowFeatures(
            network,
            window=window,
            stride=stride,
            pooling="none",
            preprocessing="none",
            size=(size, size),
            device=options.device,
            precision=precision,  # type: ignore[arg-type]
            batch_windows=options.batch,
        )
        batch = extractor.batch_windows
        first = extractor.push(
            np.resize(frames, ((batch - 1) * stride + window, *frames.shape[1:]))
        )
        more = np.resize(frames, (batch * stride, *frames.shape[1:]))
        extractor.push(more)
        return lambda: extractor.push(more), batch, first

    rows: dict[int, dict[str, Any]] = {}
    for stride in options.strides:
        run, batch, first = shared(stride, options.precision)
        runs[f"stride {stride}"] = run, batch
        macs = count_macs(options.tower, (size, size), window, stride, batch, width=width)
        rows[stride] = {
            "windows_together": batch,
            "gmac_a_window_alone": macs[0] / 1e9,
            "gmac_a_window_shared": macs[1] / 1e9,
            "ratio_of_operations": macs[0] / macs[1],
            "relative_difference": relative_difference(torch.from_numpy(first[:1]), first_map),
        }
        if half:
            run, batch, first_half = shared(stride, half)
            runs[f"stride {stride}, {half}"] = run, batch
            rows[stride]["half_difference"] = relative_difference(
                torch.from_numpy(first_half[:1]), torch.from_numpy(first[:1])
            )
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.repeats):
        for name, (run, together) in runs.items():
            times[name].append(seconds(run, device, 1) / together)
    medians = {name: statistics.median(found) for name, found in times.items()}
    peer_seconds = {name: s for name, s in medians.items() if not name.startswith("stride ")}
    for stride, row in rows.items():
        taken = medians[f"stride {stride}"]
        row["s_a_window"], row["windows_s"] = taken, 1 / taken
        row["ratio"] = {name: s / taken for name, s in peer_seconds.items()}
        best = min(times[f"stride {stride}"])
        row["ratio_of_best"] = {name: min(times[name]) / best for name in peer_seconds}
        row["share_of_rate"] = row["gmac_a_window_shared"] * 1e9 / taken / rate
        if half:
            row["half_s_a_window"] = medians[f"stride {stride}, {half}"]
            row["half_ratio"] = taken / row["half_s_a_window"]
            row["half_ratio_of_best"] = best / min(times[f"stride {stride}, {half}"])
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "precision": options.precision,
        "tower": options.tower,
        "size": size,
        "width": width,
        "window": window,
        "rate_gmac_s": rate / 1e9,
        "half": half,
        "why_half": why_half,
        "half_rate_gmac_s": half_rate / 1e9,
        "peers_s_a_window": peer_seconds,
        "strides": rows,
    }
    if options.json:
        print_json(__file__, rows_of(report), report)
    else:
        print(table(report))


def rows_of(report: dict[str, Any]) -> list[Row]:
    """The report for machines: each stride against the best of the peers."""
    peers = report["peers_s_a_window"]
    best = min(peers, key=peers.__getitem__)
    return [
        higher(
            f"I3D windows, {report['size']}x{report['size']}, stride {stride}",
            row["windows_s"],
            "windows/s",
            f"one window at a time, {best}",
            1 / peers[best],
            note=f"relative difference {row['relative_difference']:.1e}",
        )
        for stride, row in report["strides"].items()
    ]


def in_half(report: dict[str, Any]) -> str:
    """Why half precision gains what it gains here."""
    if not report["half"]:
        return f"half precision was not timed: {report['why_half']}"
    more = report["half_rate_gmac_s"] / report["rate_gmac_s"]
    limit = (
        "3.8x is wanted"
        if "amx" in report["why_half"]
        else "more than that cannot be gained; 3.8x is for AMX"
    )
    return (
        f"{report['half']} ({report['why_half']}): {report['half_rate_gmac_s']:.0f} GMAC/s, "
        f"{more:.2f}x float32's arithmetic: {limit}"
    )


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"{report['device']}, {report['threads']} threads, {report['precision']}, "
        f"{report['tower']} {report['size']} x {report['size']}, width {report['width']}, "
        f"windows of {report['window']}; arithmetic {report['rate_gmac_s']:.0f} GMAC/s",
        "one window at a time: "
        + ", ".join(f"{name} {s:.3f} s" for name, s in report["peers_s_a_window"].items()),
    ]
    for stride, row in report["strides"].items():
        ratios = ", ".join(
            f"{ratio:.2f}x ({row['ratio_of_best'][name]:.2f}x) {name}"
            for name, ratio in row["ratio"].items()
        )
        lines += [
            f"stride {stride:>3}: {row['windows_s']:.2f} windows/s ({row['s_a_window']:.3f} s): "
            + ratios,
            f"    {row['gmac_a_window_shared']:.2f} of {row['gmac_a_window_alone']:.2f} GMAC a "
            f"window ({row['ratio_of_operations']:.2f}x fewer), {row['share_of_rate']:.0%} of the "
            f"arithmetic rate, relative difference {row['relative_difference']:.1e}",
        ]
        if report["half"]:
            lines.append(
                f"    in {report['half']}: {1 / row['half_s_a_window']:.2f} windows/s, "
                f"{row['half_ratio']:.2f}x ({row['half_ratio_of_best']:.2f}x) float32, relative "
                f"difference {row['half_difference']:.1e}"
            )
    lines.append(in_half(report))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
