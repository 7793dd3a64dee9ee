"""Quality figures on flow whose quality is known."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from flow_scenes import panning_frames
from numpy.typing import NDArray

from foveal.models.flow.quality import FlowQuality


class Pan:
    """Claims the same motion for every pair, negated when asked backward."""

    name = "pan"

    def __init__(self, u: float, v: float) -> None:
        self.vector = np.array([u, v], np.float32)
        self.calls = 0

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.calls += 1
        return np.broadcast_to(self.vector, (len(frames) - 1, *frames.shape[1:3], 2)).copy()

    def parameters(self) -> dict[str, Any]:
        return {}

    def provenance(self) -> dict[str, Any]:
        return {}


def measure(
    frames: NDArray[np.uint8], flow: NDArray[np.float32], batches: int = 1, **arguments: Any
) -> dict[str, Any]:
    quality = FlowQuality(**arguments)
    for start, stop in pairwise(np.linspace(0, len(flow), batches + 1).astype(int)):
        quality.add(frames[start : stop + 1], flow[start:stop])
    return quality.summary()


def test_true_motion_explains_the_picture_and_wrong_motion_does_not() -> None:
    frames = panning_frames(5, 50, 70, 2.0, -1.0)
    true = Pan(2.0, -1.0)(frames)
    right, wrong = measure(frames, true), measure(frames, -true)
    assert right["photometric_error"] < 1.0
    assert wrong["photometric_error"] > right["photometric_error_unwarped"] > 5.0
    assert right["mean_magnitude_px"] == pytest.approx(np.sqrt(5), rel=1e-6)
    assert right["p99_magnitude_px"] == pytest.approx(np.sqrt(5), abs=1 / 64)


def test_batches_do_not_matter_and_figures_can_be_stored() -> None:
    rng = np.random.default_rng(0)
    frames = panning_frames(8, 30, 40, 1.0, 1.0)
    flow = rng.normal(1, 2, (7, 30, 40, 2)).astype(np.float32)
    whole = measure(frames, flow, estimator=Pan(0, 0))
    parts = measure(frames, flow, batches=3, estimator=Pan(0, 0))
    assert whole.keys() == parts.keys()
    for key in whole.keys() - {"flags"}:
        assert whole[key] == pytest.approx(parts[key], rel=1e-9), key
    assert json.loads(json.dumps(whole)) == whole
    magnitude = np.hypot(flow[..., 0], flow[..., 1])
    assert whole["p99_magnitude_px"] == pytest.approx(np.percentile(magnitude, 99), abs=2 / 64)
    assert whole["mean_magnitude_px"] == pytest.approx(magnitude.mean(), rel=1e-5)
    assert whole["pairs"] == 7


def test_going_there_and_back_is_measured_on_a_sample() -> None:
    frames = panning_frames(9, 30, 40, 1.0, 0.0)
    forward = Pan(3.0, 0.0)(frames)
    consistent, stubborn = Pan(-3.0, 0.0), Pan(3.0, 4.0)
    right = measure(frames, forward, batches=2, estimator=consistent, sample_every=4)
    wrong = measure(frames, forward, estimator=stubborn, sample_every=4)
    assert right["forward_backward_px"] == 0.0
    assert wrong["forward_backward_px"] == pytest.approx(np.hypot(6, 4))
    assert consistent.calls == stubborn.calls == 2
    assert measure(frames, forward)["forward_backward_px"] is None


def test_non_finite_values_are_counted_and_left_out() -> None:
    frames = panning_frames(2, 20, 20, 1.0, 0.0)
    flow = Pan(1.0, 0.0)(frames)
    flow[0, 3, 4, 0] = np.nan
    flow[0, 5, 6] = np.inf
    figures = measure(frames, flow)
    assert figures["non_finite_values"] == 3
    assert figures["mean_magnitude_px"] == 1.0
    assert figures["flags"] == ["non_finite", "constant"]
    assert measure(frames, np.full_like(flow, np.nan))["mean_magnitude_px"] is None


def test_constant_and_exploding_flow_is_flagged_and_honest_flow_is_not() -> None:
    frames = panning_frames(3, 30, 40, 2.0, 0.0)
    still = np.repeat(frames[:1], 3, axis=0)
    rng = np.random.default_rng(0)
    fair = (Pan(2.0, 0.0)(frames) + rng.normal(0, 0.1, (2, 30, 40, 2))).astype(np.float32)
    assert measure(frames, fair)["flags"] == []
    assert measure(still, np.zeros_like(fair))["flags"] == []
    assert measure(frames, np.zeros_like(fair))["flags"] == ["constant"]
    assert measure(frames, fair * 100)["flags"] == ["exploding"]


def test_what_does_not_fit_is_refused() -> None:
    quality = FlowQuality()
    with pytest.raises(ValueError, match="do not fit"):
        quality.add(panning_frames(3, 20, 20, 0, 0), np.zeros((3, 20, 20, 2), np.float32))
    with pytest.raises(ValueError, match="sample_every"):
        FlowQuality(sample_every=0)
