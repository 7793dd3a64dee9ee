"""TV-L1 by OpenCV: its own numbers for any number of threads; messages for a broken install."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from flow_scenes import panning_frames

from foveal.errors import MissingDependency
from foveal.models.flow import make_estimator
from foveal.models.flow.opencv import require_optflow
from foveal.models.flow.tvl1_opencv import OpenCVTVL1


def test_equals_opencv_called_directly() -> None:
    frames = panning_frames(4, 45, 61, 1.2, -0.4)
    solver = cv2.optflow.createOptFlow_DualTVL1()
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    expected = [solver.calc(grey[k], grey[k + 1], None) for k in range(3)]  # type: ignore[call-overload]
    assert np.array_equal(OpenCVTVL1()(frames), np.stack(expected))


@pytest.mark.parametrize("method", ["tvl1", "tvl1_opencv", "dis"])
def test_the_number_of_threads_changes_nothing(method: str) -> None:
    frames = panning_frames(6, 40, 40, 0.7, 0.7)
    one, many = (make_estimator(method, threads=threads)(frames) for threads in (1, 4))
    assert np.array_equal(one, many)


def test_opencvs_own_threads_are_restored() -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        OpenCVTVL1(threads=2)(panning_frames(4, 20, 20, 1, 0))
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_defaults_are_opencvs() -> None:
    solver = cv2.optflow.createOptFlow_DualTVL1()
    assert OpenCVTVL1().parameters() == {
        "method": "tvl1_opencv",
        "grey": "rec601",
        "tau": solver.getTau(),
        "lambda_": solver.getLambda(),
        "theta": solver.getTheta(),
        "epsilon": solver.getEpsilon(),
        "scale_step": solver.getScaleStep(),
        "median_filtering": solver.getMedianFiltering(),
        "gamma": solver.getGamma(),
        "scales": solver.getScalesNumber(),
        "warps": solver.getWarpingsNumber(),
        "inner_iterations": solver.getInnerIterations(),
        "outer_iterations": solver.getOuterIterations(),
    }


def test_every_setting_reaches_opencv() -> None:
    asked = {
        "tau": 0.2,
        "lambda_": 0.1,
        "theta": 0.25,
        "epsilon": 0.02,
        "scale_step": 0.7,
        "median_filtering": 3,
        "gamma": 0.1,
        "scales": 4,
        "warps": 3,
        "inner_iterations": 20,
        "outer_iterations": 7,
    }
    frames = panning_frames(2, 40, 48, 1.5, 0.5)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    solver = cv2.optflow.createOptFlow_DualTVL1()
    solver.setTau(0.2)
    solver.setLambda(0.1)
    solver.setTheta(0.25)
    solver.setEpsilon(0.02)
    solver.setScaleStep(0.7)
    solver.setMedianFiltering(3)
    solver.setGamma(0.1)
    solver.setScalesNumber(4)
    solver.setWarpingsNumber(3)
    solver.setInnerIterations(20)
    solver.setOuterIterations(7)
    expected = solver.calc(grey[0], grey[1], None)  # type: ignore[call-overload]
    estimator = OpenCVTVL1(**asked)  # type: ignore[arg-type]
    assert np.array_equal(estimator(frames)[0], expected)
    assert not np.array_equal(OpenCVTVL1()(frames)[0], expected)
    assert {**estimator.parameters(), **asked} == estimator.parameters()


@pytest.mark.parametrize(
    "wrong",
    [{"median_filtering": 2}, {"scale_step": 1.0}, {"scales": 0}, {"threads": 0}, {"warps": -1}],
    ids=str,
)
def test_settings_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OpenCVTVL1(**wrong)


@pytest.mark.parametrize("lost", ["optflow", "optflow.DualTVL1OpticalFlow_create"])
def test_opencv_without_contrib_says_how_to_mend_it(
    lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(f"cv2.{lost}")
    with pytest.raises(MissingDependency) as caught:
        require_optflow()
    said = str(caught.value)
    assert "pip install --force-reinstall --no-deps 'opencv-contrib-python==4." in said
    with pytest.raises(MissingDependency):
        make_estimator("tvl1_opencv")
