"""What `gpu.py` measures: one function for each part, which gives its rows.

Each runs in a process of its own, so that one that fails takes nothing with it.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"

Row = dict[str, Any]
"""what, setting, figure, peer, peer_figure, ratio, goal, note; all optional but the first two."""


@dataclass(frozen=True)
class Part:
    """One process: what it gives, what it needs, and how long it may take."""

    run: Callable[[], list[Row]]
    seconds: int
    needs: tuple[str, ...] = ()


def script(name: str, *options: str) -> Any:
    """Run another benchmark with ``--json`` and give what it found, in its own form."""
    command = [sys.executable, str(HERE / f"{name}.py"), *options, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])["found"]


def tests() -> list[Row]:
    """Every test marked ``gpu``; files whose imports are missing are named."""
    files = [
        path
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "pytest.mark.gpu" in path.read_text()
    ]
    rows = []
    for path in files:
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        lines = [line for line in done.stdout.strip().splitlines() if line.strip()]
        missing = re.findall(r"No module named '([\w.]+)'", done.stdout + done.stderr)
        last = lines[-1].strip("= ") if lines else done.stderr.strip()[-120:]
        if missing:
            last = f"skipped: no {missing[0]}"
        elif done.returncode:
            failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
            last = "; ".join([last, *failed])[:400]
        rows.append({"what": "tests", "setting": path.name, "figure": last})
    return rows


def learned_flow(method: str) -> Callable[[], list[Row]]:
    """A network against ptlflow one pair at a time, in reduced precision, and compiled."""

    def run() -> list[Row]:
        import numpy as np
        import torch
        from flow import ptlflow_by_pairs
        from tvl1 import textured_clip

        from foveal.models.flow.learned import Learned

        pairs, size = (16, (128, 128)) if QUICK else (96, (224, 224))
        clip = textured_clip(pairs + 1, *size)
        device = torch.device("cuda")
        ours = {
            precision: Learned(method, weights="random", device="cuda", precision=precision)
            for precision in ("tf32", "float32", "float16", "bfloat16")
        }
        flows = {name: estimator(clip) for name, estimator in ours.items()}
        peer = ptlflow_by_pairs(method, device)
        peer(clip[:3])
        times: dict[str, list[float]] = {name: [] for name in (*ours, "peer")}
        for _ in range(3):
            for name, estimator in ours.items():
                times[name].append(seconds(lambda e=estimator: e(clip)))
            times["peer"].append(seconds(lambda: peer(clip[:17]), pairs / 16))
        theirs = pairs / min(times["peer"])
        rows = []
        for name, estimator in ours.items():
            rate = pairs / min(times[name])
            error = np.linalg.norm(flows[name] - flows["float32"], axis=-1).mean()
            ran = estimator.provenance()["precision"]
            rows.append(
                {
                    "what": f"flow {method}",
                    "setting": f"{size[0]}x{size[1]}, {name}",
                    "figure": f"{rate:.0f} pairs/s",
                    "peer": "ptlflow one pair at a time",
                    "peer_figure": f"{theirs:.0f} pairs/s",
                    "ratio": rate / theirs,
                    "goal": 3.0 if name == "tf32" else None,
                    "note": f"{error:.2g} px off float32"
                    + ("" if ran == name else f"; given up, ran in {ran}"),
                }
            )
        return rows

    return run


def compiled_flow() -> list[Row]:
    """`torch.compile` on the network of RAFT as it runs here, against the same not compiled."""
    import torch

    from foveal.models.flow.device import arithmetic
    from foveal.models.flow.ptlflow import load_network

    device = torch.device("cuda")
    frames = torch.rand(9, 3, 224, 224, device=device)
    network = load_network("raft", None, device, 0)
    began = time.perf_counter()
    compiled = torch.compile(network)
    with arithmetic(device, "tf32"):
        expected = network(frames)
        got = compiled(frames)
        torch.cuda.synchronize()
        compiling = time.perf_counter() - began
        plain = [seconds(lambda: network(frames), 1 / 8) for _ in range(5)]
        fast = [seconds(lambda: compiled(frames), 1 / 8) for _ in range(5)]
    return [
        {
            "what": "flow raft",
            "setting": "224x224, 8 pairs, torch.compile",
            "figure": f"{1 / min(fast):.0f} pairs/s",
            "peer": "not compiled",
            "peer_figure": f"{1 / min(plain):.0f} pairs/s",
            "ratio": min(plain) / min(fast),
            "note": f"compiling took {compiling:.0f} s; "
            f"{float((got - expected).norm(dim=1).mean()):.2g} px apart",
        }
    ]


def tvl1() -> list[Row]:
    """TV-L1 in Triton beside the CPU's: pairs a second, with and without copies, and agreement."""
    import numpy as np
    import torch
    from tvl1 import textured_clip

    from foveal.errors import MissingDependency
    from foveal.models.flow import make_estimator
    from foveal.models.flow.tvl1_cuda import TVL1Cuda
    from foveal.models.flow.tvl1_images import grey

    interpreted = not torch.cuda.is_available()
    settings = {"warps": 1, "scales": 1} if interpreted else {}
    reference, why_none = None, ""
    try:
        reference = make_estimator("tvl1", **settings)
    except MissingDependency as error:
        why_none = str(error)
    rows = []
    for height, width in [(20, 24)] if interpreted else [(112, 112), (224, 224), (360, 640)]:
        clip = textured_clip(2 if interpreted else 17, height, width)
        estimator = TVL1Cuda(device="cpu" if interpreted else "cuda", **settings)
        got = estimator(clip)
        row: Row = {"what": "flow tvl1_cuda", "note": why_none}
        notes = [f"{estimator.iterations.mean():.0f} iterations a pair"]
        if reference is not None:
            reference(clip[:2])  # compiles, where it does
            began = time.perf_counter()
            expected = reference(clip)
            rate = len(got) / (time.perf_counter() - began)
            error = np.linalg.norm(got - expected, axis=-1)
            notes.append(f"{error.mean():.4f} px apart (99 %: {np.percentile(error, 99):.4f})")
            ran = reference.provenance()
            row["peer"] = f"tvl1 ({ran['implementation']}), {ran.get('threads', '?')} threads"
            row["peer_figure"] = f"{rate:.4g} pairs/s"
        if interpreted:
            rows.append(row | {"setting": "interpreted", "note": ", ".join(notes)})
            continue
        pairs = 512 if height * width < 100_000 else 256
        many = np.concatenate([clip, clip[::-1]] * (pairs // 32 + 1))[: pairs + 1]
        estimator(many)
        images = grey(torch.from_numpy(many).cuda())
        with_copies = [seconds(lambda e=estimator, m=many: e(m)) for _ in range(3)]
        with torch.inference_mode():
            alone = [seconds(lambda e=estimator, i=images: e.on_device(i)) for _ in range(3)]
        row["setting"] = f"{height}x{width}, {pairs} pairs"
        row["figure"] = f"{pairs / min(with_copies):.0f} pairs/s"
        row["goal"] = "2000 pairs/s" if (height, width) == (224, 224) else None
        if reference is not None:
            row["ratio"] = pairs / min(with_copies) / rate
        notes.append(f"{pairs / min(alone):.0f} pairs/s without copies to and fro")
        rows.append(row | {"note": ", ".join(notes)})
    return rows


def i3d() -> list[Row]:
    """Shared windows against one window at a time, float32 and float16."""
    rows = []
    real = ["--real"] if not QUICK else []
    for precision in ("float32", "float16", "bfloat16"):
        report = script("i3d", *real, "--device", "cuda", "--precision", precision)
        peers = report["peers_s_a_window"]
        best = min(peers, key=peers.__getitem__)
        for stride, row in report["strides"].items():
            rows.append(
                {
                    "what": "I3D windows",
                    "setting": f"{report['size']}x{report['size']}, stride {stride}, {precision}",
                    "figure": f"{row['windows_s']:.1f} windows/s",
                    "peer": f"one at a time, {best}",
                    "peer_figure": f"{1 / peers[best]:.1f} windows/s",
                    "ratio": row["ratio"][best],
                    "goal": {"1": 3.0, "64": 1.0}.get(stride),
                    "note": f"{row['share_of_rate']:.0%} of the arithmetic rate, "
                    f"difference {row['relative_difference']:.1e}",
                }
            )
    return rows


def i3d_on_the_cpu() -> list[Row]:
    """bfloat16 on this machine's CPU, against float32's shared windows in the same run."""
    options = ["--device", "cpu", "--strides", "1", "--repeats", "2", "--threads", "8"]
    report = script("i3d", *([] if QUICK else ["--real"]), *options)
    row = report["strides"]["1"]
    common = {"what": "I3D windows, CPU of this machine", "peer": "float32, shared"}
    if not report["half"]:
        return [common | {"setting": "stride 1", "note": report["why_half"]}]
    return [
        common
        | {
            "setting": f"stride 1, {report['half']}, {report['threads']} threads",
            "figure": f"{1 / row['half_s_a_window']:.2f} windows/s",
            "peer_figure": f"{row['windows_s']:.2f} windows/s",
            "ratio": row["half_ratio"],
            "goal": 3.8 if "amx" in report["why_half"] else None,
            "note": f"{report['why_half']}; difference {row['half_difference']:.1e}",
        }
    ]


def metrics() -> list[Row]:
    """Six metrics on the GPU against the MIT benchmark's way in NumPy."""
    report = script("metrics", "--device", "cuda", "--frames", "20" if QUICK else "60")
    largest = max(report["max_difference"].values())
    return [
        {
            "what": "six metrics",
            "setting": "360x640",
            "figure": f"{report['foveal_ms_per_frame']:.2f} ms a frame",
            "peer": "NumPy transcription of the MIT code",
            "peer_figure": f"{report['numpy_ms_per_frame']:.1f} ms a frame",
            "ratio": report["ratio_to_numpy"],
            "note": f"largest difference {largest:.1e} (shuffled AUC draws its splits)",
        }
    ]


def training() -> list[Row]:
    """A training step of each network at the paper's size and batch, float32 and bfloat16."""
    import torch

    from foveal.models import saliency
    from foveal.models.losses import saliency_loss

    rows = []
    for name in saliency.names():
        torch.manual_seed(0)
        network = saliency.build(name, weights="random").cuda().train()
        how = network.spec.training
        batch, clip = how.batch_size, how.clip_frames
        inputs = {
            wanted.kind: torch.randn(batch, clip, *wanted.shape, device="cuda")
            for wanted in network.spec.inputs
        }
        density = torch.rand(batch, clip, *network.spec.output_size, device="cuda")
        fixations = (density > 0.999).float()
        loss = saliency_loss(how.loss, over_time=how.loss_over_time)
        kind = torch.optim.Adam if how.optimiser == "adam" else torch.optim.RMSprop
        optimiser = kind(network.parameter_groups(), lr=1e-6)

        def step(
            dtype: torch.dtype,
            network: Any = network,
            inputs: Any = inputs,
            truth: Any = (density, fixations),
            loss: Any = loss,
            optimiser: Any = optimiser,
        ) -> None:
            with torch.autocast("cuda", dtype, enabled=dtype is not torch.float32):
                maps, _ = network(inputs)
            optimiser.zero_grad()
            loss(maps, *truth).backward()
            optimiser.step()

        times: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
        try:
            for dtype in times:
                step(dtype)
                step(dtype)
            for _ in range(3):
                for dtype, found in times.items():
                    found.append(seconds(lambda d=dtype, s=step: s(d)))
        except torch.OutOfMemoryError:
            rows.append({"what": f"training {name}", "setting": f"batch {batch}",
                         "note": "out of memory"})  # fmt: skip
            continue
        exact, mixed = (statistics.median(found) for found in times.values())
        rows.append(
            {
                "what": f"training {name}",
                "setting": f"batch {batch}, {clip} frames a clip, bfloat16",
                "figure": f"{mixed * 1e3:.1f} ms a step",
                "peer": "float32",
                "peer_figure": f"{exact * 1e3:.1f} ms a step",
                "ratio": exact / mixed,
            }
        )
        del network, inputs, density, fixations, optimiser, step
        torch.cuda.empty_cache()
    return rows


def waiting() -> list[Row]:
    """How much of a training on a store is spent waiting for it, with four processes reading."""
    from foveal.models.saliency import names

    networks = ["lsts_rgb_flow"] if QUICK else sorted(set(names()) - {"lsts_rgb", "lsts_flow"})
    steps = ["--steps", "8" if QUICK else "24", "--workers", "4"]
    report = script("feeding", "--device", "cuda", "--networks", *networks, *steps)
    return [
        {
            "what": f"training {row['network']} from a store",
            "setting": f"batch {row['batch_size']}, {row['steps']} steps",
            "figure": f"{row['seconds_a_step'] * 1e3:.0f} ms a step",
            "peer": "the loader alone",
            "peer_figure": f"{row['batches_per_second']:.1f} batches/s",
            "ratio": row["ratio"],
            "note": f"waiting {row['waiting_share']:.1%} of the time",
        }
        for row in report["rows"]
    ]


def seconds(run: Callable[[], Any], factor: float = 1.0) -> float:
    """Wall time of a call until the device is through, times `factor`."""
    import torch

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - began) * factor


STORE = ("zarr", "pydantic", "numcodecs", "yaml")

PARTS: dict[str, Part] = {
    "tvl1": Part(tvl1, 90, ("triton", "cv2")),
    "i3d": Part(i3d, 120),
    "raft": Part(learned_flow("raft"), 60, ("ptlflow", "cv2")),
    "raft_small": Part(learned_flow("raft_small"), 50, ("ptlflow", "cv2")),
    "pwcnet": Part(learned_flow("pwcnet"), 50, ("ptlflow", "cv2")),
    "flownet2": Part(learned_flow("flownet2"), 60, ("ptlflow", "cv2")),
    "training": Part(training, 90),
    "metrics": Part(metrics, 60),
    "waiting": Part(waiting, 150, STORE),
    "tests": Part(tests, 120, ("pytest",)),
    "i3d_cpu": Part(i3d_on_the_cpu, 90),
    "compile": Part(compiled_flow, 120, ("ptlflow",)),
}
"""In the order in which they run: what a short lease must not miss comes first."""

QUICK = os.environ.get("FOVEAL_GPU_QUICK") == "1"
