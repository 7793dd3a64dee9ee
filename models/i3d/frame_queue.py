"""This module checks and prepares frames, and holds them until the step network reads them."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from foveal.errors import InputError
from foveal.models.i3d.layers import IN_CHANNELS, Endpoint, check_name
from foveal.models.i3d.network import I3D
from foveal.models.i3d.preprocess import Preprocessing, preprocess
from foveal.models.i3d.runner import Precision, StepRunner


class FrameQueue:
    """Prepared frames of one video that wait on the device; see `WindowFeatures`."""

    def __init__(
        self,
        network: I3D,
        endpoint: Endpoint,
        preprocessing: Preprocessing,
        scale_flow_on_resize: bool,
        size: tuple[int, int],
        device: str,
        precision: Precision,
    ) -> None:
        check_name("endpoint", endpoint, get_args(Endpoint))
        check_name("preprocessing", preprocessing, get_args(Preprocessing))
        self.tower = network.tower
        self.endpoint: Endpoint = endpoint
        self.preprocessing: Preprocessing = preprocessing
        self.scale_flow_on_resize = scale_flow_on_resize
        self.size = size
        self._runner = StepRunner(network, self.endpoint, device, precision, size)
        self._waiting: list[Tensor] = []
        self._first_waiting = 0
        self._received = 0
        self._finished = False

    def _take(self, values: ArrayLike) -> None:
        """Check and prepare new frames, and add them to those that wait."""
        if self._finished:
            raise RuntimeError("this video is finished; make a new object for the next one")
        array = np.asarray(values)
        channels = IN_CHANNELS[self.tower]
        if array.ndim != 4 or array.shape[3] != channels:
            raise ValueError(
                f"the {self.tower} tower takes [n, h, w, {channels}], got {array.shape}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(
                f"{self.tower} values after item {self._received} are not finite; "
                "recompute them before extracting features"
            )
        if array.dtype not in (np.uint8, np.float32):
            array = array.astype(np.float32)
        if not len(array):
            return
        self._received += len(array)
        with torch.inference_mode():
            writable = array if array.flags.writeable else array.copy()
            x = torch.from_numpy(np.ascontiguousarray(writable)).to(self._runner.device)
            x = preprocess(x, self.tower, self.preprocessing, self.size, self.scale_flow_on_resize)
            self._waiting.append(self._runner.steps.frames(x))

    def _frames(self) -> Tensor:
        """Return the waiting frames as one tensor."""
        if len(self._waiting) > 1:
            self._waiting = [torch.cat(self._waiting)]
        return self._waiting[0]

    def _forget_before(self, frame: int) -> None:
        """Drop frames that no later step reads."""
        while self._waiting and self._first_waiting + len(self._waiting[0]) <= frame:
            self._first_waiting += len(self._waiting.pop(0))
        drop = frame - self._first_waiting
        if self._waiting and drop > 0:
            self._waiting[0] = self._waiting[0][drop:].clone()
            self._first_waiting = frame

    @property
    def kept_bytes(self) -> int:
        """Bytes of frames and activations held now; they do not grow with the video."""
        waiting = sum(x.numel() * x.element_size() for x in self._waiting)
        return waiting + self._runner.kept_bytes

    def provenance(self) -> dict[str, Any]:
        """Return what ran, see `StepRunner.provenance`."""
        return self._runner.provenance()
