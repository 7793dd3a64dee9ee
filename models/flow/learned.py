"""Learned optical flow through ptlflow: RAFT, PWC-Net, FlowNet2 and any other of its models.

Frames go to the device once, as bytes; pairs of consecutive frames are formed there and run in
micro-batches. On a GPU the copies are pinned and asynchronous, and a micro-batch is computed while
the one before travels back.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.models.flow.errors import FlowDeviceError
from foveal.models.flow.inputs import check_frames, pad_to_minimum
from foveal.models.flow.network import (
    FlowNetwork,
    find_weights,
    least_side_px,
    load_network,
)

PRECISIONS = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Autocast dtype by name; None computes in float32 throughout."""

MAX_EPE_PX = 0.05
"""Mean end-point error against float32 above which reduced precision is refused."""

_MEMORY_SHARE = 0.8
_MOST_PAIRS = 64
_CPU_PIXELS = 65_536
_CPU_MOST_PAIRS = 8


class Learned:
    """A ptlflow network as a flow estimator.

    Parameters
    ----------
    method : str
        ptlflow's model name, e.g. ``raft``.
    weights : str, optional
        A variant (``sintel``), a registered name (``raft-sintel``), the path of a checkpoint, or
        ``random`` (seeded, for trying out; recorded). None takes the method's default variant.
    device : str
        ``auto`` (CUDA where there is any), ``cuda``, ``cuda:n`` or ``cpu``.
    precision : {'fp32', 'fp16', 'bf16'}
        Autocast dtype. Anything but fp32 is compared with fp32 on the first pair and given up,
        loudly, where the mean end-point error exceeds `MAX_EPE_PX`.
    micro_batch : int, optional
        Pairs at a time. None chooses: on CUDA from the memory one pair takes and what is free, on
        the CPU from the frame size (beyond 256x256 one pair at a time is fastest).
    seed : int
        Of random weights.

    Raises
    ------
    MissingDependency
        The weights are not on this machine, or are not what was published.
    FlowDeviceError
        A CUDA device is asked for that is not there.
    ValueError
        Unknown method, variant, device or precision.

    Notes
    -----
    Frames smaller than the network can take are padded by their border and the flow is cropped.
    One instance may be shared by threads; calls take turns.
    """

    def __init__(
        self,
        method: str,
        *,
        weights: str | None = None,
        device: str = "auto",
        precision: str = "fp32",
        micro_batch: int | None = None,
        seed: int = 0,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        if micro_batch is not None and micro_batch < 1:
            raise ValueError(f"micro_batch must be at least 1 (or None), got {micro_batch}")
        self.name = method
        self._file = find_weights(method, weights)
        self._device = resolve_device(device)
        self._precision = self._asked_precision = precision
        self._micro_batch = micro_batch
        self._pairs_at_once: dict[tuple[int, ...], int] = {}
        self._seed = seed
        self._network: FlowNetwork | None = None
        self._turn = threading.Lock()
        self._record: dict[str, Any] = {}

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Motion of each frame to the next.

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
            The device ran out of memory with a single pair, or was lost.
        """
        check_frames(frames)
        padded, (rows, columns) = pad_to_minimum(frames, least_side_px(self.name))
        with self._turn, torch.inference_mode():
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
                if self._device.type != "cuda" or not _is_device_failure(error):
                    raise
                raise FlowDeviceError(
                    f"{self.name} failed on {self._device}: {str(error).splitlines()[0]}; check "
                    "the GPU (nvidia-smi), use device: cpu, or fallback: tvl1"
                ) from error
        return np.ascontiguousarray(flow[:, rows, columns])

    def parameters(self) -> dict[str, Any]:
        """Method, weights by their digest (or ``random`` and the seed), and precision."""
        if self._file is None:
            weights: dict[str, Any] = {"weights": "random", "seed": self._seed}
        else:
            weights = {"weights_sha256": self._file.sha256}
        return {"method": self.name, **weights, "precision": self._asked_precision}

    def provenance(self) -> dict[str, Any]:
        """Weights by name, device, precision that ran, micro-batches and versions."""
        from importlib.metadata import version

        return {
            "implementation": f"ptlflow {version('ptlflow')}",
            "torch": torch.__version__,
            "weights": "random" if self._file is None else self._file.name,
            "device": str(self._device),
            "device_name": _device_name(self._device),
            "precision": self._precision,
            "tf32_convolutions": self._device.type == "cuda" and torch.backends.cudnn.allow_tf32,
            "channel_order": "BGR, as ptlflow's models expect",
            "pairs_at_once": {
                "x".join(map(str, size)): n for size, n in self._pairs_at_once.items()
            },
            **self._record,
        }

    def _compute(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Flow of `frames` (large enough for the network), micro-batch by micro-batch."""
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
        """Flow of one micro-batch on the device: uint8 [m + 1, h, w, 3] -> float32 [m, h, w, 2]."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames))
        if self._device.type == "cuda":
            pixels = pixels.pin_memory().to(self._device, non_blocking=True)
        images = pixels.flip(-1).permute(0, 3, 1, 2).contiguous().float().div_(255)
        dtype = PRECISIONS[precision]
        with torch.autocast(self._device.type, dtype=dtype, enabled=dtype is not None):
            flow = network(images)
        return flow.float().permute(0, 2, 3, 1).contiguous()

    def _send_back(self, flow: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        """Start the copy to the host; the event tells when it has arrived."""
        if self._device.type != "cuda":
            return flow, None
        host = torch.empty(flow.shape, dtype=flow.dtype, pin_memory=True)
        host.copy_(flow, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(self._device))
        return host, arrived

    def _ready_network(self, frames: NDArray[np.uint8]) -> FlowNetwork:
        """Load on first use; then choose precision and, once a frame size, the micro-batch."""
        if self._network is None:
            self._network = load_network(self.name, self._file, self._device, self._seed)
            if self._precision != "fp32":
                self._judge_precision(self._network, frames[:2])
        size = frames.shape[1:3]
        if size not in self._pairs_at_once:
            self._pairs_at_once[size] = self._micro_batch or self._choose(self._network, frames)
        return self._network

    def _choose(self, network: FlowNetwork, frames: NDArray[np.uint8]) -> int:
        height, width = frames.shape[1:3]
        if self._device.type != "cuda":
            return max(1, min(_CPU_MOST_PAIRS, _CPU_PIXELS // (height * width)))
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
        exact = self._run(network, pair, "fp32")
        reduced = self._run(network, pair, self._precision)
        error_px = float((reduced - exact).norm(dim=-1).mean())
        self._record[f"{self._precision}_error_px"] = error_px
        if not error_px <= MAX_EPE_PX:
            import logging

            logging.getLogger("foveal").warning(
                "%s in %s is %.3g px off fp32 on average (at most %g): fp32 is used instead",
                self.name,
                self._precision,
                error_px,
                MAX_EPE_PX,
            )
            self._precision = "fp32"


def resolve_device(device: str) -> torch.device:
    """``auto``, ``cuda``, ``cuda:n`` or ``cpu`` as a device of this machine.

    Raises
    ------
    ValueError
        It is none of these.
    FlowDeviceError
        That CUDA device is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()) or device == "cpu:":
        raise ValueError(f"device must be auto, cuda, cuda:n or cpu, got {device!r}")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise FlowDeviceError(
                f"device {device} is not there: this machine has {count} usable CUDA devices; "
                "use device: cpu, method: tvl1, or mend the driver (nvidia-smi)"
            )
        return torch.device("cuda", int(index or 0))
    return torch.device("cpu")


def _take_in(
    flow: NDArray[np.float32], start: int, result: Tensor, arrived: torch.cuda.Event | None
) -> None:
    if arrived is not None:
        arrived.synchronize()
    flow[start : start + len(result)] = result.numpy()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def _is_device_failure(error: RuntimeError) -> bool:
    lost = getattr(torch, "AcceleratorError", ())
    signs = ("CUDA error", "cuDNN error", "CUBLAS_STATUS", "cudaError")
    return isinstance(error, lost) or any(sign in str(error) for sign in signs)
