"""This module runs the step network: it chooses device, precision and how much runs at once."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from foveal.errors import MissingDependency
from foveal.models.device import choose_device
from foveal.models.i3d.half_precision import LEAST_SPEEDUP, half_precision, trial
from foveal.models.i3d.layers import Endpoint, check_name
from foveal.models.i3d.network import I3D
from foveal.models.i3d.step_network import State, StepNetwork
from foveal.models.i3d.window_plan import Plan

Precision = Literal["float32", "float16", "bfloat16", "auto"]
"""What the network computes in."""

HALF_TOLERANCE = 1e-2
"""Largest relative difference from float32 at which `auto` uses half precision."""

MOST_WINDOWS = {"cpu": 8, "cuda": 64}
"""Most windows computed together if memory allows: more are not faster on a CPU (measured)."""

CPU_BATCH_FRAMES = 32
"""Most frames by which a batch of windows advances on a CPU; more exceed its caches (measured)."""


def available_memory_bytes() -> int | None:
    """Return the memory that programs can still take (Linux); None if the system does not say."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    lines = (line.split() for line in meminfo.read_text().splitlines())
    return next((int(n) * 1024 for name, n, *_ in lines if name == "MemAvailable:"), None)


def relative_difference(values: Tensor, reference: Tensor) -> float:
    """Return the largest difference of `values` over the largest magnitude of a `reference`.

    It is infinite if a value is NaN.
    """
    difference = (values - reference).abs().max() / reference.abs().max().clamp_min(1e-30)
    return float(difference.nan_to_num(nan=float("inf")))


@contextlib.contextmanager
def _exact_arithmetic() -> Iterator[None]:
    """Compute without gradients and without TF32, which rounds to 10 bits on CUDA."""
    cudnn = torch.backends.cudnn
    with (
        torch.inference_mode(),
        cudnn.flags(
            enabled=cudnn.enabled,
            benchmark=cudnn.benchmark,
            deterministic=cudnn.deterministic,
            allow_tf32=False,
        ),
    ):
        yield


class StepRunner:
    """Run plans on one device, keep the shared steps, halve the batch when memory is full.

    `network`, `endpoint`, `device`, `precision` and `size` are those of `WindowFeatures`.

    Attributes
    ----------
    precision : str
        What the network computes in; before the first run of `auto`, what it will try.
    given : callable
        Makes the final features of the results; `auto` compares those.
    """

    def __init__(
        self,
        network: I3D,
        endpoint: Endpoint,
        device: str,
        precision: Precision,
        size: tuple[int, int] = (224, 224),
    ) -> None:
        check_name("precision", precision, get_args(Precision))
        self.device = choose_device(device)
        self._network, self._endpoint, self._size = network, endpoint, size
        self.given: Callable[[Tensor], Tensor] = lambda results: results
        self.precision: str = precision
        self._because: str | None = None
        self._verify = False
        if precision == "auto":
            self.precision, self._because = half_precision(self.device)
            self._verify = self.precision != "float32"
        self._speedup: float | None = None
        self._kept: list[State] = []
        self._halvings = 0
        self._half_difference: float | None = None
        self._computed: list[int] = []
        self._results = 0

    @functools.cached_property
    def steps(self) -> StepNetwork:
        """The folded network (49 MB), made at its first use: a build has runners of all videos."""
        return self._build(self.precision)

    def _build(self, precision: str) -> StepNetwork:
        return StepNetwork(self._network, self._endpoint, self.device, getattr(torch, precision))

    def windows_that_fit(self, window: int, stride: int, size: tuple[int, int]) -> int:
        """Return how many windows of `window` frames of a `size` fit into the free memory together.

        `stride` is the number of frames from one window's start to the next one's.
        """
        on_cuda = self.device.type == "cuda"
        free = torch.cuda.mem_get_info(self.device)[0] if on_cuda else available_memory_bytes()
        most = MOST_WINDOWS["cuda" if on_cuda else "cpu"]
        if not on_cuda:
            most = min(most, max(CPU_BATCH_FRAMES // stride, 1))
        itemsize = getattr(torch, self.precision).itemsize
        # 130 MB per window of 79 x 224 x 224 in float32 if nothing is shared (measured).
        window_bytes = window * size[0] * size[1] * 10 * itemsize
        return most if free is None else int(min(max(free // 2 // window_bytes, 1), most))

    def run(
        self,
        frames: Tensor,
        first_frame: int,
        plan_for: Callable[[int], Plan],
        count: int,
    ) -> tuple[Tensor, tuple[tuple[int, ...], ...]]:
        """Compute up to `count` windows.

        Parameters
        ----------
        frames : Tensor [n, h, w, c]
            From `StepNetwork.frames`; `first_frame` is the number of the first, as the plan counts.
        plan_for : callable
            Returns the plan for a number of windows.

        Returns
        -------
        results : Tensor, float32 [steps, height, width, channels]
            Of as many windows as fit into memory.
        kept : tuple of tuple of int
            Anchors of the steps kept for the next run, level by level.

        Raises
        ------
        MissingDependency
            A single window does not fit into the memory of the GPU.
        """
        if self._verify and self.device.type == "cpu":
            self._try_speed()
        while True:
            plan = plan_for(count)
            try:
                with _exact_arithmetic():
                    results, kept = self._run(frames, first_frame, plan)
                    if self._verify and not self._agrees(frames, first_frame, plan_for(1), results):
                        results, kept = self._run(frames, first_frame, plan)
                break
            except torch.cuda.OutOfMemoryError as error:
                if count == 1:
                    raise MissingDependency(
                        f"one I3D window of {tuple(frames.shape[1:3])} frames does not fit into "
                        f"the memory of {self.device}; use smaller frames or device 'cpu'"
                    ) from error
            torch.cuda.empty_cache()
            count //= 2
            self._halvings += 1
        self._kept = kept
        self._computed = [
            done + len(reads)
            for done, reads in zip(self._computed or [0] * len(plan.reads), plan.reads, strict=True)
        ]
        self._results += count
        return results, plan.kept

    def _run(self, frames: Tensor, first_frame: int, plan: Plan) -> tuple[Tensor, list[State]]:
        before = self._kept or [() for _ in plan.reads]
        results, kept = self.steps.run(frames, first_frame, plan, before)
        return results.float(), kept

    def _try_speed(self) -> None:
        """Go back to float32 if half precision is not faster on this machine."""
        self._speedup = trial(
            self._network, self._endpoint, self.device, self.precision, self._size
        )
        if self._speedup < LEAST_SPEEDUP:
            self._fall_back(f"{self.precision} ran at {self._speedup:.2f}x float32 in a trial")

    def _agrees(self, frames: Tensor, first_frame: int, first: Plan, results: Tensor) -> bool:
        """Compare the first results with those of float32; go on in float32 if they differ."""
        exact = self._build("float32")
        reference, _ = exact.run(frames, first_frame, first, [() for _ in first.reads])
        self._half_difference = relative_difference(
            self.given(results[: len(reference)]), self.given(reference)
        )
        self._verify = False
        if self._half_difference <= HALF_TOLERANCE:
            return True
        self._fall_back(
            f"{self.precision} differs by {self._half_difference:.2g} from float32, "
            f"more than {HALF_TOLERANCE:g}"
        )
        return False

    def _fall_back(self, because: str) -> None:
        self.precision, self._because, self._verify = "float32", because, False
        self.__dict__.pop("steps", None)
        logging.getLogger("foveal").info("I3D computes in float32: %s", because)

    @property
    def kept_bytes(self) -> int:
        """Bytes of the kept steps."""
        return sum(x.numel() * x.element_size() for state in self._kept for x in state)

    def forget(self) -> None:
        """Free the kept steps and the folded network at the end of a video."""
        self._kept = []
        self.__dict__.pop("steps", None)

    def provenance(self) -> dict[str, Any]:
        """Return what ran: device, precision, counts and the reasons."""
        ran: dict[str, Any] = {
            "device": str(self.device),
            "precision": self.precision,
            "memory_halvings": self._halvings,
            "computed": self._results,
            "steps_computed": self._computed[1:],
        }
        if self.device.type == "cuda":
            ran["device_name"] = torch.cuda.get_device_name(self.device)
        measured = {
            "precision_because": self._because,
            "half_difference": self._half_difference,
            "half_speedup": self._speedup,
        }
        ran |= {name: value for name, value in measured.items() if value is not None}
        return ran
