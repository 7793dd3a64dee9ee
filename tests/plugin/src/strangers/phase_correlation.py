"""A classical flow method: one motion for the whole picture, by phase correlation."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np


class PhaseCorrelation:
    """See `foveal.models.flow.base.FlowEstimator`."""

    name = "phase_correlation"

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in frames]
        flow = np.empty((len(frames) - 1, *frames.shape[1:3], 2), np.float32)
        for k in range(len(frames) - 1):
            flow[k] = cv2.phaseCorrelate(grey[k], grey[k + 1])[0]
        return flow

    def parameters(self) -> dict[str, Any]:
        return {"method": "phase_correlation", "version": 1}

    def provenance(self) -> dict[str, Any]:
        return {"device": "cpu"}
