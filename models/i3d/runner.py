"""Where and how the steps are computed: device, precision, batch size, and what to do when full."""

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
from foveal.models.i3d.network import I3D, Endpoint
from foveal.models.i3d.step_network import State, StepNetwork
from foveal.models.i3d.window_plan import Plan

Precision = Literal["float32", "float16", "bfloat16", "auto"]

HALF_TOLERANCE = 1e-2
"""Largest relative difference from float32 that `auto` accepts of half precision."""

MOST_WINDOWS = {"cpu": 8, "cuda": 64}
"""Windows computed together where memory allows: on a CPU more gain nothing (measured)."""

CPU_BATCH_FRAMES = 32
"""Frames a batch of windows advances on a CPU at most; more only spill its caches (measured)."""


def available_memory_bytes() -> int | None:
    """Memory that programs can still take (Linux), None where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    lines = (line.split() for line in meminfo.read_text().splitlines())
    return next((int(n) * 1024 for name, n, *_ in lines if name == "MemAvailable:"), None)


def relative_difference(values: Tensor, reference: Tensor) -> float:
    """Largest absolute difference over the reference's largest magnitude; infinite for NaN."""
    difference = (values - reference).abs().max() / reference.abs().max().clamp_min(1e-30)
    return float(difference.nan_to_num(nan=float("inf")))


@contextlib.contextmanager
def _exact_arithmetic() -> Iterator[None]:
    """No gradients, and no TF32: float32 convolutions on CUDA round to 10 bits otherwise."""
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


def _as_it_is(results: Tensor) -> Tensor:
    return results


class StepRunner:
    """Runs plans on one device, keeps the shared steps, halves the batch when memory is full.

    Attributes
    ----------
    precision : str
        What computes. Until the first run, `auto` stands for what it will try.
    given : callable
        What is made of the results before anyone sees them; `auto` compares this.
    """

    def __init__(
        self,
        network: I3D,
        endpoint: Endpoint,
        device: str,
        precision: Precision,
        size: tuple[int, int] = (224, 224),
    ) -> None:
        if precision not in get_args(Precision):
            allowed = ", ".join(get_args(Precision))
            raise ValueError(f"precision {precision!r} is unknown; allowed: {allowed}")
        self.device = choose_device(device)
        self.requested = precision
        self._network, self._endpoint, self._size = network, endpoint, size
        self.given: Callable[[Tensor], Tensor] = _as_it_is
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
        """The folded network (49 MB), made when first used: a plan holds runners of all videos."""
        return self._build(self.precision)

    def _build(self, precision: str) -> StepNetwork:
        return StepNetwork(self._network, self._endpoint, self.device, getattr(torch, precision))

    def windows_that_fit(self, window: int, stride: int, size: tuple[int, int]) -> int:
        """How many windows to compute together, from the memory that is free."""
        on_cuda = self.device.type == "cuda"
        free = torch.cuda.mem_get_info(self.device)[0] if on_cuda else available_memory_bytes()
        most = MOST_WINDOWS["cuda" if on_cuda else "cpu"]
        if not on_cuda:
            most = min(most, max(CPU_BATCH_FRAMES // stride, 1))
        itemsize = getattr(torch, self.precision).itemsize
        # 130 MB a window of 79 x 224 x 224 in float32, where nothing is shared (measured).
        window_bytes = window * size[0] * size[1] * 10 * itemsize
        return most if free is None else int(min(max(free // 2 // window_bytes, 1), most))

    def run(
        self,
        frames: Tensor,
        first_frame: int,
        plan_for: Callable[[int], Plan],
        count: int,
    ) -> tuple[Tensor, tuple[tuple[int, ...], ...]]:
        """Compute up to `count` items (windows, or steps of a whole video).

        Returns
        -------
        results : Tensor, float32 [steps, height, width, channels]
            Of as many items as fitted.
        kept : tuple of tuple of int
            Anchors of the steps kept for the next run, level by level.
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
        """Stay with float32 where half precision is no faster on this machine."""
        self._speedup = trial(
            self._network, self._endpoint, self.device, self.precision, self._size
        )
        if self._speedup < LEAST_SPEEDUP:
            self._fall_back(f"{self.precision} ran at {self._speedup:.2f}x float32 in a trial")

    def _agrees(self, frames: Tensor, first_frame: int, first: Plan, results: Tensor) -> bool:
        """Compare the first of the results with float32's; go on in float32 if they differ."""
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
        """Free the kept steps and the folded network: a video is through."""
        self._kept = []
        self.__dict__.pop("steps", None)

    def provenance(self) -> dict[str, Any]:
        """Return what ran."""
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
