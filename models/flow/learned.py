"""This module computes learned flow through ptlflow: RAFT, PWC-Net, FlowNet2 and its other models.

Frames are copied to the device once, as bytes; there they form pairs, which run in micro-batches.
On a GPU the copies are pinned and asynchronous: one micro-batch is computed while the result of the
one before is copied back.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.models.device import choose_device
from foveal.models.flow.device import PRECISIONS, arithmetic, device_name, is_device_failure
from foveal.models.flow.errors import FlowDeviceError
from foveal.models.flow.inputs import check_frames, pad_to_minimum
from foveal.models.flow.ptlflow import (
    DEFAULT_VARIANTS,
    FlowNetwork,
    find_weights,
    least_side_px,
    load_network,
)

MAX_EPE_PX = 0.05
"""Largest mean end-point error against float32 at which a reduced precision is used."""

_MEMORY_SHARE = 0.8
_MOST_PAIRS = 64
_CPU_PIXELS = 65_536
_CPU_MOST_PAIRS = 8


class Learned:
    """Use a ptlflow network as a flow estimator.

    Parameters
    ----------
    method : str
        ptlflow's model name, e.g. ``raft``.
    weights : str, optional
        A variant (``sintel``), a registered name (``raft-sintel``), the path of a checkpoint, or
        ``random`` (seeded, for tests; recorded). None takes the method's default variant.
    device : str
        See `foveal.models.device.choose_device`.
    precision : {'auto', 'float32', 'tf32', 'float16', 'bfloat16'}
        ``auto`` is tf32 on CUDA and float32 on the CPU. Any other precision than float32 is
        compared with it on the first pair; if the mean end-point error exceeds `MAX_EPE_PX`, a
        warning is logged and float32 is used.
    micro_batch : int, optional
        Pairs computed together. By default, on CUDA as many as fit into the free memory, on the
        CPU by the frame size (beyond 256x256 single pairs are fastest).
    seed : int
        Seed of random weights.

    Raises
    ------
    MissingDependency
        The weights are not on this machine, or differ from the published ones.
    FlowDeviceError
        There is no such CUDA device.
    ValueError
        Unknown method, variant, device or precision.

    Notes
    -----
    Frames that are too small for the network are padded with their border and the flow is cropped.
    Threads may share one instance; their calls wait for each other.
    """

    def __init__(
        self,
        method: str,
        *,
        weights: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        micro_batch: int | None = None,
        seed: int = 0,
    ) -> None:
        if precision not in ("auto", *PRECISIONS):
            allowed = ", ".join(("auto", *PRECISIONS))
            raise ValueError(f"precision must be one of {allowed}, got {precision!r}")
        if micro_batch is not None and micro_batch < 1:
            raise ValueError(f"micro_batch must be at least 1 (or None), got {micro_batch}")
        self.name = method
        self._file = find_weights(method, weights)
        self._device = choose_device(device)
        self._asked_precision = precision
        if precision == "auto":
            precision = "tf32" if self._device.type == "cuda" else "float32"
        self._precision = precision
        self._micro_batch = micro_batch
        self._pairs_at_once: dict[tuple[int, ...], int] = {}
        self._seed = seed
        self._network: FlowNetwork | None = None
        self._turn = threading.Lock()
        self._record: dict[str, Any] = {}

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the motion of each frame to the next.

        Parameters
        ----------
        frames : ndarray, uint8 [n + 1, height, width, 3]
            RGB, n >= 1, any size.

        Returns
        -------
        ndarray, float32 [n, height, width, 2]
            (u, v): pixels right and down until the next frame.

        Raises
        ------
        FlowDeviceError
            The device has no memory for a single pair, or is lost.
        """
        check_frames(frames)
        padded, (rows, columns) = pad_to_minimum(frames, least_side_px(self.name))
        with self._turn:
            try:
                flow = self._compute(padded)
            except torch.OutOfMemoryError as error:
                height, width = padded.shape[1:3]
                raise FlowDeviceError(
                    f"{self.name} ran out of memory on {self._device} with one pair of "
                    f"{height}x{width} frames; use a smaller size, another method (tvl1, "
                    "raft_small), device: cpu, or fallback: tvl1"
                ) from error
            except RuntimeError as error:
                if self._device.type != "cuda" or not is_device_failure(error):
                    raise
                raise FlowDeviceError(
                    f"{self.name} failed on {self._device}: {str(error).splitlines()[0]}; check "
                    "the GPU (nvidia-smi), use device: cpu, or fallback: tvl1"
                ) from error
        return np.ascontiguousarray(flow[:, rows, columns])

    def parameters(self) -> dict[str, Any]:
        """Return method, digest of the weights (or ``random`` and the seed), and precision."""
        if self._file is None:
            weights: dict[str, Any] = {"weights": "random", "seed": self._seed}
        else:
            weights = {"weights_sha256": self._file.sha256}
        return {"method": self.name, **weights, "precision": self._asked_precision}

    def provenance(self) -> dict[str, Any]:
        """Return name of the weights, device, precision, micro-batches and versions."""
        from importlib.metadata import version

        return {
            "implementation": f"ptlflow {version('ptlflow')}",
            "torch": torch.__version__,
            "weights": "random" if self._file is None else self._file.name,
            "device": str(self._device),
            "device_name": device_name(self._device),
            "precision": self._precision,
            "channel_order": "BGR, as ptlflow's models expect",
            "pairs_at_once": {
                "x".join(map(str, size)): n for size, n in self._pairs_at_once.items()
            },
            **self._record,
        }

    def _compute(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the flow of frames that are large enough, micro-batch by micro-batch."""
        network = self._ready_network(frames)
        size = frames.shape[1:3]
        pairs = len(frames) - 1
        flow = np.empty((pairs, *size, 2), np.float32)
        on_the_way: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()
        start = 0
        while start < pairs:
            stop = min(start + self._pairs_at_once[size], pairs)
            try:
                result, arrived = self._send_back(
                    self._run(network, frames[start : stop + 1], self._precision)
                )
            except torch.OutOfMemoryError:
                if stop - start == 1:
                    raise
                self._pairs_at_once[size] = (stop - start) // 2
                self._record["halved_after_out_of_memory"] = True
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            on_the_way.append((start, result, arrived))
            if len(on_the_way) > 1:
                _take_in(flow, *on_the_way.popleft())
            start = stop
        for item in on_the_way:
            _take_in(flow, *item)
        return flow

    def _run(self, network: FlowNetwork, frames: NDArray[np.uint8], precision: str) -> Tensor:
        """Compute a micro-batch on the device: uint8 [m + 1, h, w, 3] to float32 [m, h, w, 2]."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames))
        if self._device.type == "cuda":
            pixels = pixels.pin_memory().to(self._device, non_blocking=True)
        with arithmetic(self._device, precision):
            images = pixels.flip(-1).permute(0, 3, 1, 2).contiguous().float().div_(255)
            return network(images).float().permute(0, 2, 3, 1).contiguous()

    def _send_back(self, flow: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        """Start the copy to the host; the event marks its end."""
        if self._device.type != "cuda":
            return flow, None
        host = torch.empty(flow.shape, dtype=flow.dtype, pin_memory=True)
        host.copy_(flow, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(self._device))
        return host, arrived

    def _ready_network(self, frames: NDArray[np.uint8]) -> FlowNetwork:
        """Load the network at first use; choose the precision, and a micro-batch per frame size."""
        if self._network is None:
            self._network = load_network(self.name, self._file, self._device, self._seed)
            if self._precision != "float32":
                self._judge_precision(self._network, frames[:2])
        size = frames.shape[1:3]
        if size not in self._pairs_at_once:
            if self._batching_agrees(self._network, size):
                pairs = self._micro_batch or self._choose(self._network, frames)
            else:
                pairs = 1
                self._record["batching"] = "off: in this ptlflow model pairs influence each other"
            self._pairs_at_once[size] = pairs
        return self._network

    def _batching_agrees(self, network: FlowNetwork, size: tuple[int, ...]) -> bool:
        """Whether a pair has the same flow in a batch as alone, for models not known to.

        Some of ptlflow's models fail on batches or, worse, broadcast over them (liteflownet).
        """
        if self.name in DEFAULT_VARIANTS:
            return True
        noise = np.random.default_rng(0).integers(0, 256, (4, *size, 3), np.uint8)
        alone = [self._run(network, noise[k : k + 2], "float32") for k in range(3)]
        try:
            together = self._run(network, noise, "float32")
        except RuntimeError:
            return False
        return bool(torch.allclose(together, torch.cat(alone), rtol=1e-3, atol=1e-3))

    def _choose(self, network: FlowNetwork, frames: NDArray[np.uint8]) -> int:
        height, width = frames.shape[1:3]
        if self._device.type != "cuda":
            pairs: int = _CPU_PIXELS // (height * width)
            return max(1, min(_CPU_MOST_PAIRS, pairs))
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        self._run(network, frames[:2], self._precision)
        one_pair: int = torch.cuda.max_memory_allocated(self._device) - before
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._device)
        fitting = free * _MEMORY_SHARE / max(one_pair, 1)
        return int(max(1, min(_MOST_PAIRS, fitting)))

    def _judge_precision(self, network: FlowNetwork, pair: NDArray[np.uint8]) -> None:
        exact = self._run(network, pair, "float32")
        reduced = self._run(network, pair, self._precision)
        error_px = float((reduced - exact).norm(dim=-1).mean())
        self._record[f"{self._precision}_error_px"] = error_px
        if not error_px <= MAX_EPE_PX:
            logging.getLogger("foveal").warning(
                "%s in %s differs from float32 by %.3g px on average (allowed: %g); using float32",
                self.name,
                self._precision,
                error_px,
                MAX_EPE_PX,
            )
            self._precision = "float32"


def _take_in(
    flow: NDArray[np.float32], start: int, result: Tensor, arrived: torch.cuda.Event | None
) -> None:
    if arrived is not None:
        arrived.synchronize()
    flow[start : start + len(result)] = result.numpy()


raft = functools.partial(Learned, "raft")
"""`Learned` with RAFT."""

raft_small = functools.partial(Learned, "raft_small")
"""`Learned` with RAFT-Small."""

pwcnet = functools.partial(Learned, "pwcnet")
"""`Learned` with PWC-Net."""

flownet2 = functools.partial(Learned, "flownet2")
"""`Learned` with FlowNet2."""
