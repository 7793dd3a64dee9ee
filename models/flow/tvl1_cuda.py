"""This module computes TV-L1 flow on a CUDA device: OpenCV's algorithm, many pairs at once.

The kernels are in `foveal.models.flow.tvl1_triton`; this module runs them in order. Each level of
the pyramid is computed for all pairs together. A pair that has converged costs nothing more; the
host asks only every few iterations whether any pair is left.
"""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.errors import MissingDependency
from foveal.models.device import choose_device
from foveal.models.flow.device import device_name
from foveal.models.flow.errors import FlowDeviceError
from foveal.models.flow.inputs import check_frames
from foveal.models.flow.tvl1_images import gradient, grey, resize
from foveal.models.flow.tvl1_settings import TVL1Settings

VERSION = 2
"""Version of the numbers: raised whenever they change; enters the fingerprint."""

LEAST_SIDE_PX = 16
"""Levels of the pyramid with a smaller side are left out, as in OpenCV."""

_TILE_PX = {"cuda": 256, "cpu": 4096}
"""Pixels per program: one per thread on a GPU; with more, registers are too few to hide latency."""
_WARPS = 8
_LEAST_TILES = 64
"""Least number of sums of tiles that are read at once: fewer kernels to compile."""
_ITERATIONS_BETWEEN_QUESTIONS = 6
_PIXEL_BYTES = 140
"""Memory per pixel of a pair, over all levels."""
_MEMORY_SHARE = 0.5
_MOST_PAIRS = 512
_PIECE_BYTES = 2**24
"""Bytes of flow that are copied from the device together."""
_COPYING_THREADS = 4


class TVL1Cuda:
    """Run the TV-L1 of `foveal.models.flow.tvl1.TVL1` on a GPU.

    Parameters
    ----------
    device : str
        ``cuda`` or ``cuda:n`` (``auto`` is ``cuda``). ``cpu`` only under Triton's interpreter
        (``TRITON_INTERPRET=1`` before the first import), which is for tests.
    pairs_at_once : int, optional
        Most pairs on the device together; by default what fits into half of the free memory, at
        most 512. The numbers do not depend on it.
    **settings
        See `foveal.models.flow.tvl1_settings.TVL1Settings`; `median_filtering` must be 5 and
        `gamma` 0.

    Attributes
    ----------
    iterations : ndarray, int64 [n]
        Inner iterations of each pair of the last call, over all levels.

    Raises
    ------
    MissingDependency
        There is no Triton.
    FlowDeviceError
        There is no such CUDA device.
    ValueError
        A setting is outside its range.

    Notes
    -----
    The numbers are those of method `tvl1`: every operation rounds in the same way. Only the sums
    that decide when a pair has converged are added in another (fixed) order, so that in rare cases
    a pair stops one iteration earlier or later. No pair depends on its neighbours or on the batch.
    """

    name = "tvl1_cuda"

    def __init__(
        self, *, device: str = "auto", pairs_at_once: int | None = None, **settings: Any
    ) -> None:
        self._settings = TVL1Settings(**settings)
        for name, only in (("median_filtering", 5), ("gamma", 0)):
            value = getattr(self._settings, name)
            if value != only:
                raise ValueError(
                    f"{name} must be {only} for method tvl1_cuda, got {value}; "
                    "use method tvl1_opencv for other values"
                )
        if pairs_at_once is not None and pairs_at_once < 1:
            raise ValueError(f"pairs_at_once must be at least 1 (or None), got {pairs_at_once}")
        self._kernels = _kernels()
        self._device = choose_device("cuda" if device == "auto" else device)
        if self._device.type != "cuda" and not _interpreted(self._kernels):
            raise FlowDeviceError(
                "tvl1_cuda runs on CUDA devices only; use method: tvl1 on a CPU (or set "
                "TRITON_INTERPRET=1 to try the kernels)"
            )
        self._stream: Any = None
        if self._device.type == "cuda":
            stream: Any = torch.cuda.Stream
            self._stream = stream(self._device)
        self._pairs_at_once = pairs_at_once
        self.iterations = np.zeros(0, np.int64)

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
        """
        check_frames(frames)
        pairs, (height, width) = len(frames) - 1, frames.shape[1:3]
        at_once = min(self._pairs_at_once or self._fitting(height * width), pairs)
        flow = np.empty((pairs, height, width, 2), np.float32)
        self.iterations = np.zeros(pairs, np.int64)
        piece = max(1, _PIECE_BYTES // flow[0].nbytes)
        with ThreadPoolExecutor(_COPYING_THREADS, "copy") as pool, torch.inference_mode():
            # A new array has no memory yet: getting memory takes longer than copying.
            starts = range(0, pairs, piece)
            filled = [pool.submit(flow[start : start + piece].fill, 0) for start in starts]
            copies = []
            for start in range(0, pairs, at_once):
                stop = min(start + at_once, pairs)
                some = torch.from_numpy(np.ascontiguousarray(frames[start : stop + 1]))
                found, iterations = self.on_device(grey(some.to(self._device)))
                found = found.permute(0, 2, 3, 1).contiguous()
                self.iterations[start:stop] = iterations.cpu().numpy()
                wait(filled)
                for first in range(0, stop - start, piece):
                    part = found[first : first + piece]
                    into = flow[start + first : start + first + len(part)]
                    copies.append(pool.submit(self._fetch, part, into))
            for copy in copies:
                copy.result()
        return flow

    def _fetch(self, found: Tensor, into: NDArray[np.float32]) -> None:
        """Copy from the device while it computes, through pinned memory in a stream of its own."""
        if self._device.type != "cuda":
            into[...] = found.numpy()
            return
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            pinned = torch.empty(found.shape, pin_memory=True)
            pinned.copy_(found, non_blocking=True)
            self._stream.synchronize()
            into[...] = pinned.numpy()

    def on_device(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the flow of consecutive grey images that are on the device.

        Parameters
        ----------
        images : Tensor, float32 [n + 1, height, width]
            Values in 0 … 255.

        Returns
        -------
        flow : Tensor, float32 [n, 2, height, width]
            (u, v) in pixels.
        iterations : Tensor, int32 [n]
            Inner iterations of each pair.
        """
        step = self._settings.scale_step
        levels = [images]
        for _ in range(1, self._settings.scales):
            height, width = levels[-1].shape[1:]
            smaller = round(height * step), round(width * step)
            if min(smaller) < LEAST_SIDE_PX:
                break
            levels.append(resize(levels[-1], smaller, (1 / step, 1 / step), shrinks=True))
        pairs = len(images) - 1
        flow = torch.zeros((pairs, 2, *levels[-1].shape[1:]), device=images.device)
        iterations = torch.zeros(pairs, dtype=torch.int32, device=images.device)
        for level in reversed(levels):
            size = (level.shape[1], level.shape[2])
            if flow.shape[2:] != size:
                ratio = flow.shape[2] / size[0], flow.shape[3] / size[1]
                flow = resize(flow, size, ratio) * (1 / step)
            flow, count = self._level(level, flow)
            iterations += count
        return flow, iterations

    def parameters(self) -> dict[str, Any]:
        """Return the version, every setting, and the grey conversion."""
        return {
            "method": self.name,
            "version": VERSION,
            "grey": "rec601",
            **self._settings.values(),
        }

    def provenance(self) -> dict[str, Any]:
        """Return the implementation, its version, and the device."""
        return {
            "implementation": f"foveal TV-L1 in Triton, version {VERSION}",
            "triton": importlib.import_module("triton").__version__,
            "torch": torch.__version__,
            "device": str(self._device),
            "device_name": device_name(self._device),
            "precision": "float32",
        }

    def _fitting(self, pixels: int) -> int:
        if self._device.type != "cuda":
            return _MOST_PAIRS
        free, _ = torch.cuda.mem_get_info(self._device)
        return int(max(1, min(_MOST_PAIRS, free * _MEMORY_SHARE / (pixels * _PIXEL_BYTES))))

    def _level(self, images: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Run all warpings of one level on images [n + 1, h, w] and flow [n, 2, h, w]."""
        run, s = self._kernels, self._settings
        pairs, _, height, width = flow.shape
        size, device = height * width, flow.device
        fused = not _interpreted(run)
        tile_px = _TILE_PX[device.type]
        tiles = -(-size // tile_px)
        frames = torch.stack([images, *gradient(images)], dim=1)
        u = torch.stack([flow, flow])
        p = torch.zeros((2, pairs, 4, size), device=device)
        g = torch.empty((pairs, 4, size), device=device)
        filtered = torch.empty((pairs, 2, size), device=device)
        sums = [torch.zeros((pairs, tiles), device=device) for _ in range(2)]
        counts = [torch.zeros(pairs, dtype=torch.int32, device=device) for _ in range(2)]
        grid = (pairs * tiles,)
        # The limit of the sum of squared updates, as OpenCV computes it.
        epsilon = float(np.float32(s.epsilon * s.epsilon * size))
        block: dict[str, Any] = {"BLOCK": tile_px, "num_warps": _WARPS, "enable_fp_fusion": False}
        per_pair: dict[str, Any] = {"TILES": _padded(tiles), **block}
        done = 0
        for _ in range(s.warps):
            run.warp[grid](
                frames, u, counts[0], g, pairs, height, width, size, tiles, FUSED=fused, **block
            )  # fmt: skip
            first, converged = True, False
            for _ in range(s.outer_iterations):
                run.median[grid](
                    u, filtered, sums[0], counts[0], pairs, height, width, size, tiles, epsilon,
                    FIRST=first, **per_pair,
                )  # fmt: skip
                for inner in range(s.inner_iterations):
                    run.iterate[grid](
                        u, p, g, filtered, *sums, *counts, pairs, width, size, tiles,
                        s.lambda_ * s.theta, s.theta, s.tau / s.theta, epsilon,
                        FIRST=first, AFTER_MEDIAN=inner == 0, FUSED=fused, **per_pair,
                    )  # fmt: skip
                    sums.reverse()
                    counts.reverse()
                    first = False
                    done += 1
                    if done % _ITERATIONS_BETWEEN_QUESTIONS == 0:
                        converged = not bool((sums[0].sum(1) > epsilon).any())
                        if converged:
                            break
                if converged:
                    break
        index = (counts[0] % 2).long()
        return u[index, torch.arange(pairs, device=device)], counts[0]


def _padded(tiles: int) -> int:
    """Return the least `_LEAST_TILES` times a power of 4 that is at least `tiles`."""
    padded = _LEAST_TILES
    while padded < tiles:
        padded *= 4
    return padded


def _kernels() -> Any:
    try:
        return importlib.import_module("foveal.models.flow.tvl1_triton")
    except ImportError as error:
        raise MissingDependency(
            f"tvl1_cuda needs Triton, which comes with PyTorch for CUDA ({error}); use method: tvl1"
        ) from error


def _interpreted(kernels: Any) -> bool:
    compiled = importlib.import_module("triton").JITFunction
    return not isinstance(kernels.iterate, compiled)
