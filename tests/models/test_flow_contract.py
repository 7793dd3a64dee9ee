"""Rules for every flow method; learned ones run with random weights, so not their accuracy."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pytest
from flow_scenes import needs_ptlflow, panning_frames
from numpy.typing import NDArray

from foveal.models.flow import FlowEstimator, make_estimator
from foveal.registry import plugins

CLASSICAL = ("tvl1", "tvl1_opencv", "dis")
LEARNED = ("raft", "raft_small", "pwcnet", "flownet2")
EVERY_LEARNED = tuple(pytest.param(method, marks=needs_ptlflow) for method in LEARNED)
EVERY_METHOD = (*CLASSICAL, *EVERY_LEARNED)


@functools.cache
def estimator(method: str) -> FlowEstimator:
    return fresh(method)


def fresh(method: str, **settings: Any) -> FlowEstimator:
    if method in CLASSICAL:
        return make_estimator(method, **settings)
    return make_estimator(method, weights="random", device="cpu", **settings)


def error_inside(flow: NDArray[np.float32], u: float, v: float, margin_px: int = 12) -> float:
    """Mean end-point error away from the border, where points enter and leave."""
    inner = flow[:, margin_px:-margin_px, margin_px:-margin_px]
    return float(np.hypot(inner[..., 0] - u, inner[..., 1] - v).mean())


def test_the_suite_covers_every_named_method() -> None:
    assert {*CLASSICAL, *LEARNED, "tvl1_cuda"} == set(plugins("flow"))


@pytest.mark.parametrize("method", EVERY_METHOD)
@pytest.mark.parametrize(
    ("height", "width"), [(37, 53), (9, 14), (1, 1), (130, 47)], ids=lambda side: str(side)
)
def test_any_size_gives_uv_of_that_size(method: str, height: int, width: int) -> None:
    frames = panning_frames(2, height, width, 1.0, 0.5)
    before = frames.copy()
    flow = estimator(method)(frames)
    assert flow.shape == (1, height, width, 2)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()
    assert np.array_equal(frames, before)


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_a_batch_gives_what_its_pairs_give_alone(method: str) -> None:
    frames = panning_frames(4 if method in CLASSICAL else 3, 60, 90, 1.5, -0.75)
    together = estimator(method)(frames)
    pairs = range(len(frames) - 1)
    alone = np.concatenate([estimator(method)(frames[k : k + 2]) for k in pairs])
    if method in CLASSICAL:
        assert np.array_equal(together, alone)
    else:
        assert np.abs(together - alone).max() < 1e-3


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_two_estimators_and_two_calls_agree_to_the_bit(method: str) -> None:
    frames = panning_frames(3 if method in CLASSICAL else 2, 48, 64, 0.5, 1.0)
    first = estimator(method)(frames)
    assert np.array_equal(first, estimator(method)(frames))
    if method != "flownet2":  # the same code builds it; a second 650 MB network proves no more
        assert np.array_equal(first, fresh(method)(frames))


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_views_are_read_as_their_values(method: str) -> None:
    frames = panning_frames(2, 40, 60, 1.0, 0.0)
    wide = np.repeat(frames, 2, axis=2)
    view = wide[::-1, :, ::2]
    assert not view.flags.c_contiguous
    assert np.array_equal(estimator(method)(view), estimator(method)(view.copy()))


@pytest.mark.parametrize("method", EVERY_METHOD)
@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((3, 16, 16, 3), np.float32),
        np.zeros((1, 16, 16, 3), np.uint8),
        np.zeros((3, 16, 16), np.uint8),
        np.zeros((3, 16, 16, 4), np.uint8),
        np.zeros((3, 0, 16, 3), np.uint8),
    ],
    ids=["float", "one frame", "grey", "four channels", "empty"],
)
def test_anything_but_two_rgb_frames_is_refused(method: str, wrong: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="frames"):
        estimator(method)(wrong)


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_settings_and_circumstances_can_be_stored(method: str) -> None:
    one = estimator(method)
    assert one.name == method
    assert json.loads(json.dumps(one.parameters()))["method"] == method
    assert json.loads(json.dumps(one.provenance()))["device"] == "cpu"
    former = json.loads(json.dumps(getattr(one, "former_parameters", list)()))
    assert all(parameters["method"] == method for parameters in former)
    assert one.parameters() not in former


@pytest.mark.parametrize("method", CLASSICAL)
@pytest.mark.parametrize(
    ("u", "v"), [(2.0, 0.0), (0.0, -3.0), (1.0, 1.0), (0.5, 0.25), (-1.3, 0.7)]
)
def test_known_translations_are_found(method: str, u: float, v: float) -> None:
    flow = estimator(method)(panning_frames(3, 80, 96, u, v))
    assert error_inside(flow, u, v) < 0.1


@pytest.mark.parametrize("method", CLASSICAL)
def test_nothing_moves_where_nothing_moves(method: str) -> None:
    still = np.repeat(panning_frames(1, 64, 80, 0, 0), 3, axis=0)
    assert np.abs(estimator(method)(still)).max() < 1e-3


@pytest.mark.parametrize("method", EVERY_LEARNED)
@pytest.mark.parametrize(("height", "width"), [(130, 171)])
def test_learned_flow_equals_ptlflow_called_directly(method: str, height: int, width: int) -> None:
    import ptlflow
    import torch

    torch.manual_seed(0)
    model = ptlflow.get_model(method).eval()
    frames = panning_frames(2, height, width, 2.0, -1.0)
    bgr = torch.from_numpy(frames[..., ::-1].astype(np.float32) / 255).permute(0, 3, 1, 2)
    with torch.inference_mode():
        direct = model({"images": bgr[None].contiguous()})["flows"][:, 0]
    expected = direct.permute(0, 2, 3, 1).numpy()
    got = estimator(method)(frames)
    assert np.abs(expected).mean() > 0.1
    assert np.abs(got - expected).max() < 1e-3
