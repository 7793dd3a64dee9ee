"""This module measures what a network costs: parameters, and seconds per frame.

Weights are random and inputs are made up, since the time does not depend on them. A network runs as
`foveal predict` runs it, flow is computed as a build computes it (on a moving scene, since TV-L1
stops when it has converged), I3D runs on windows of 79 frames at stride 1 that share their work.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from foveal.errors import RecipeError
from foveal.models import saliency
from foveal.models.device import choose_device
from foveal.models.flow import make_estimator, takes_weights
from foveal.models.i3d.weights import load_i3d
from foveal.models.i3d.windows import WindowFeatures
from foveal.models.saliency import SaliencyNetwork, Spec
from foveal.pipeline.demo import natural_scene, render_scene
from foveal.pipeline.learn.inference import FRAMES_AT_ONCE, autocast_dtype, mixed
from foveal.pipeline.learn.inputs import FLOW_KINDS
from foveal.pipeline.learn.settings import Precision
from foveal.pipeline.video.resize import resize_frames

I3D_WINDOW, I3D_SIZE, I3D_FLOW = 79, (224, 224), "tvl1"
"""Frames per window, size and flow method of the I3D features of LSTS (Öztürk)."""

_I3D_KINDS = {"i3d_rgb": "rgb", "i3d_flow": "flow"}


@dataclass(frozen=True)
class Published:
    """The cost that a paper states."""

    parameters: int | None
    seconds_per_frame: float
    about: str


PUBLISHED = {
    "tp_cmrnet": Published(4_900_000, 0.041, "table 3; machine, and whether with flow: not stated"),
    "gfsalnet": Published(None, 1 / 8.2, "8.2 frames/s, one Tesla K40c, 640x480"),
}


@dataclass(frozen=True)
class Runtime:
    """The cost of one network on one device, in seconds per frame.

    Attributes
    ----------
    network, device : str
    parameters : int
        Of the network without flow and features.
    input_size : tuple of int
        Shape of one item of its first input.
    network_seconds : float
        The network alone.
    flow : str
        Method and size; empty if it reads no flow.
    flow_seconds : float or None
        Computing the flow.
    features : str
        Names of the I3D towers; empty if it reads no features.
    features_seconds : float or None
        Computing the features.
    published : Published or None
        None also if options make it another network than the paper's.
    """

    network: str
    device: str
    parameters: int
    input_size: tuple[int, ...]
    network_seconds: float
    flow: str
    flow_seconds: float | None
    features: str
    features_seconds: float | None
    published: Published | None

    @property
    def all_seconds(self) -> float:
        """Network, flow and features together."""
        return self.network_seconds + (self.flow_seconds or 0) + (self.features_seconds or 0)


Tell = Callable[[str], None]


class Stopwatch:
    """Measures networks on a device; flow and features once for all networks that read the same.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    rounds : int
        Number of runs; the median counts.
    windows : int
        Number of I3D windows.
    flow : str, optional
        Flow method instead of the papers'.
    precision : {'auto', 'float32', 'bfloat16', 'float16'}
        Of the networks, as in `foveal predict`.
    tell : callable
        Called with the name of what is measured next.
    """

    def __init__(
        self,
        device: str = "auto",
        *,
        rounds: int = 3,
        windows: int = 8,
        flow: str | None = None,
        precision: Precision = "auto",
        tell: Tell = lambda what: None,
    ) -> None:
        if rounds < 1 or windows < 1:
            raise RecipeError(f"{rounds} rounds of {windows} windows: each must be at least 1")
        self._device = choose_device(device)
        self._rounds, self._windows, self._flow = rounds, windows, flow
        self._precision, self._tell = precision, tell
        self._known: dict[tuple[Any, ...], float] = {}

    def measure(self, name: str, **options: Any) -> Runtime:
        """Measure one network, at the paper's size unless its options change it.

        Raises
        ------
        RecipeError
            The network or an option is unknown.
        MissingDependency
            What computes its flow is not installed.
        """
        torch.manual_seed(0)
        network = saliency.build(name, weights="random", **options).to(self._device).eval()
        spec = network.spec
        self._tell(f"{name}: network")
        seconds = self._network(network)
        flow, flow_seconds = self._flow_of(name, spec)
        towers = [_I3D_KINDS[each.kind] for each in spec.inputs if each.kind in _I3D_KINDS]
        features_seconds = sum(self._i3d(tower) for tower in towers) if towers else None
        return Runtime(
            name,
            str(self._device),
            sum(each.numel() for each in network.parameters()),
            spec.inputs[0].shape,
            seconds,
            flow,
            flow_seconds,
            f"I3D {' and '.join(towers)}" if towers else "",
            features_seconds,
            None if options else PUBLISHED.get(name),
        )

    def _network(self, network: SaliencyNetwork) -> float:
        spec = network.spec
        clip = FRAMES_AT_ONCE if spec.recurrent else spec.training.clip_frames
        batch = 1 if spec.recurrent else max(1, FRAMES_AT_ONCE // clip)
        inputs = {
            each.kind: torch.rand(batch, clip, *each.shape, device=self._device)
            for each in spec.inputs
        }
        dtype = autocast_dtype(self._precision, spec.name, self._device)

        def run() -> None:
            with torch.inference_mode(), mixed(self._device, dtype):
                network(inputs)[0].sum().item()  # waits for the device

        return self._median(run) / (batch * clip)

    def _flow_of(self, name: str, spec: Spec) -> tuple[str, float | None]:
        """Measure the flow that the network reads, or that its features are made from."""
        sizes = [each.shape[-2:] for each in spec.inputs if each.kind in FLOW_KINDS]
        papers = [each.flow_method for each in spec.inputs if each.flow_method is not None]
        method = self._flow or next(iter(papers), I3D_FLOW)
        if any(each.kind == "i3d_flow" for each in spec.inputs):
            sizes, method = [I3D_SIZE], self._flow or I3D_FLOW
        if not sizes:
            return "", None
        height, width = sizes[0]
        said = f"{method} {height}x{width}"
        key = ("flow", method, height, width)
        if key not in self._known:
            self._tell(f"{name}: {said}")
            weights = "random" if takes_weights(method) else None
            estimator = make_estimator(method, weights=weights, device=str(self._device))
            frames = moving_scene((height, width), FRAMES_AT_ONCE // 2 + 1)
            self._known[key] = self._median(lambda: estimator(frames)) / (len(frames) - 1)
        return said, self._known[key]

    def _i3d(self, tower: Any) -> float:
        key = ("i3d", tower)
        if key not in self._known:
            self._tell(f"I3D {tower}: {self._windows} windows")
            network, count = load_i3d(tower, "random"), I3D_WINDOW + self._windows - 1
            values: NDArray[Any] = np.zeros((count, *I3D_SIZE, 2), np.float32)
            if tower == "rgb":
                values = moving_scene(I3D_SIZE, count)

            def run() -> None:
                stream = WindowFeatures(
                    network, window=I3D_WINDOW, stride=1, size=I3D_SIZE, device=str(self._device)
                )
                made = len(stream.push(values)) + len(stream.finish())
                assert made == self._windows

            self._known[key] = self._median(run, warm_up=False) / self._windows
        return self._known[key]

    def _median(self, run: Callable[[], object], *, warm_up: bool = True) -> float:
        if warm_up:
            run()
        times = []
        for _ in range(self._rounds if warm_up else 1):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return statistics.median(times)


def moving_scene(size: tuple[int, int], frames: int) -> NDArray[np.uint8]:
    """Return frames uint8 [frames, *size, 3] of a textured scene that moves smoothly."""
    scene = natural_scene(np.random.default_rng(0), (180, 320), 30.0, frames)
    return resize_frames(np.stack([each.image for each in render_scene(scene)]), size)


@contextmanager
def threads(count: int | None) -> Iterator[int]:
    """Run torch on so many threads, None leaves it unchanged; yields the number of threads."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def devices(wanted: Sequence[str]) -> list[str]:
    """Return the wanted devices; by default the CPU, and the GPU if there is one."""
    if wanted:
        return list(wanted)
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
