"""Losses: closed forms, other libraries as oracles, finite values and gradients everywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from foveal.errors import RecipeError
from foveal.models import metrics
from foveal.models.losses import MEASURES, SaliencyLoss, min_max, parse_terms, saliency_loss

SHAPE = (2, 3, 6, 8)


def maps(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 0.9 + 0.05


def fixation_counts(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    counts = (torch.rand(shape, generator=generator) < 0.2).float()
    counts[..., 2, 3] = 2
    return counts


def test_kl_closed_form() -> None:
    density = torch.tensor([[3.0, 1.0]])
    prediction = torch.tensor([[1.0, 1.0]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert MEASURES["kl"](prediction, density).item() == pytest.approx(expected, abs=1e-6)
    assert MEASURES["kl"](density * 7, density).item() == pytest.approx(0, abs=1e-6)


def test_nss_closed_form_counts_each_fixation() -> None:
    prediction = torch.tensor([[0.0, 0.0, 0.0, 4.0]])
    counts = torch.tensor([[1.0, 0.0, 0.0, 3.0]])
    # mean 1, sample deviation 2: standardised -0.5 and 1.5
    assert MEASURES["nss"](prediction, counts).item() == pytest.approx((-0.5 + 3 * 1.5) / 4)


def test_sim_closed_form() -> None:
    # scaled to 0 … 1, then to a sum of 1: [0, 1/3, 2/3] and [2/3, 1/3, 0]
    prediction, density = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[30.0, 20.0, 10.0]])
    assert MEASURES["sim"](prediction, density).item() == pytest.approx(1 / 3)


def test_cc_equals_numpy() -> None:
    a, b = maps(1), maps(2)
    expected = [
        np.corrcoef(x.ravel(), y.ravel())[0, 1]
        for x, y in zip(a.numpy().reshape(-1, 6, 8), b.numpy().reshape(-1, 6, 8), strict=True)
    ]
    assert MEASURES["cc"](a, b).flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_bce_and_mse_equal_torch() -> None:
    a, b = maps(1), maps(2)
    for name, expected in (
        ("bce", torch.nn.BCELoss()(a, b)),
        ("mse", torch.nn.MSELoss()(a, b)),
    ):
        torch.testing.assert_close(saliency_loss(name, target="as_given")(a, b), expected)


def test_bce_scales_the_density_of_each_frame() -> None:
    prediction, density = maps(1), maps(2) * torch.tensor([1e-4, 1.0, 255.0]).view(1, 3, 1, 1)
    expected = torch.nn.BCELoss()(prediction, min_max(maps(2)))
    torch.testing.assert_close(saliency_loss("bce")(prediction, density), expected)


def test_weighted_sum_is_the_sum_of_its_terms() -> None:
    prediction, density, fixations = maps(1), maps(2), fixation_counts()
    parts = {
        name: saliency_loss({name: 1})(prediction, density, fixations).item() for name in MEASURES
    }
    loss = saliency_loss("kl - 0.2*cc - 0.1*nss - 0.1 * sim + 2*bce + mse")
    expected = parts["kl"] - 0.2 * parts["cc"] - 0.1 * parts["nss"] - 0.1 * parts["sim"]
    expected += 2 * parts["bce"] + parts["mse"]
    assert loss(prediction, density, fixations).item() == pytest.approx(expected, rel=1e-5)


def test_sum_over_time_adds_the_frames_of_a_clip() -> None:
    prediction, density = maps(1), maps(2)
    mean, summed = (saliency_loss("bce", over_time=kind) for kind in ("mean", "sum"))
    assert summed(prediction, density).item() == pytest.approx(
        3 * mean(prediction, density).item(), rel=1e-5
    )


def test_empty_ground_truth_and_padding_are_left_out() -> None:
    prediction, density = maps(1), maps(2)
    density[0, 1] = 0
    valid = torch.ones(2, 3, dtype=torch.bool)
    valid[1, 2] = False
    kept = torch.ones(2, 3, dtype=torch.bool)
    kept[0, 1] = kept[1, 2] = False
    for name in ("bce", "mse", "kl", "cc", "sim"):
        loss = saliency_loss(name, target="as_given")
        expected = MEASURES[name](prediction, density)[kept].mean()
        torch.testing.assert_close(loss(prediction, density, valid=valid), expected)


def test_nss_goes_by_fixations_not_density() -> None:
    prediction, fixations = maps(1), fixation_counts()
    fixations[0, 1] = 0
    kept = fixations.amax(dim=(-2, -1)) > 0
    expected = MEASURES["nss"](prediction, fixations)[kept].mean()
    got = saliency_loss("nss")(prediction, torch.zeros(SHAPE), fixations)
    torch.testing.assert_close(got, expected)


HARD_MAPS = {
    "zeros": torch.zeros(SHAPE),
    "ones": torch.ones(SHAPE),
    "constant": torch.full(SHAPE, 0.3),
    "one_column": torch.zeros(SHAPE).index_fill_(3, torch.tensor([2]), 1.0),
    "tiny": torch.full(SHAPE, 1e-38),
    "ordinary": maps(3),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("kind", HARD_MAPS)
@pytest.mark.parametrize("truth", HARD_MAPS)
def test_finite_on_degenerate_maps(name: str, kind: str, truth: str) -> None:
    prediction = HARD_MAPS[kind].clone().requires_grad_()
    loss = saliency_loss(name)(prediction, HARD_MAPS[truth], (HARD_MAPS[truth] > 0.9).int())
    loss.backward()
    assert prediction.grad is not None
    assert loss.isfinite()
    assert prediction.grad.isfinite().all()


def test_all_zero_prediction_counts_as_uniform_and_learns() -> None:
    prediction = torch.zeros(1, 1, 4, 4, requires_grad=True)
    density = torch.zeros(1, 1, 4, 4)
    density[..., 1, 2] = 5
    loss = saliency_loss("kl")(prediction, density)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(16), abs=1e-4)
    assert prediction.grad is not None
    assert prediction.grad.argmin() == 1 * 4 + 2


@pytest.mark.parametrize("name", ["kl", "nss", "cc", "sim"])
@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_scale_of_the_prediction_does_not_matter(name: str, scale: float, seed: int) -> None:
    prediction, density, fixations = maps(seed), maps(seed + 100), fixation_counts(seed)
    loss = saliency_loss(name)
    torch.testing.assert_close(
        loss(prediction * scale, density, fixations),
        loss(prediction, density, fixations),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize("name", MEASURES)
def test_gradient_equals_finite_differences(name: str) -> None:
    prediction = maps(1, (2, 3, 4)).double().requires_grad_()
    truth = fixation_counts(2, (2, 3, 4)) if name == "nss" else maps(2, (2, 3, 4))
    assert torch.autograd.gradcheck(lambda p: MEASURES[name](p, truth.double()), prediction)


@pytest.mark.parametrize("name", MEASURES)
def test_float32_inside_autocast(name: str) -> None:
    prediction, density, fixations = maps(1).bfloat16(), maps(2).bfloat16(), fixation_counts()
    outside = saliency_loss(name)(prediction.float(), density.float(), fixations)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = saliency_loss(name)(prediction, density, fixations)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("bce", {"bce": 1}),
        ("kl - 0.1*nss", {"kl": 1, "nss": -0.1}),
        ("-nss+2 * kl", {"nss": -1, "kl": 2}),
        ("1e-3*mse - .5*cc", {"mse": 1e-3, "cc": -0.5}),
    ],
)
def test_sums_are_read_as_written(text: str, weights: dict[str, float]) -> None:
    assert parse_terms(text) == weights
    assert saliency_loss(text).weights == weights


@pytest.mark.parametrize("text", ["", "kl nss", "kl *", "2", "kl + kl", "kl / nss", "auc", "0.1kl"])
def test_unreadable_sums_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="bce"):
        saliency_loss(text)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="resize the ground truth"):
        saliency_loss("kl")(maps(), maps(0, (2, 3, 12, 16)))
    with pytest.raises(ValueError, match="nss needs fixation counts"):
        saliency_loss("nss")(maps(), maps())
    with pytest.raises(RecipeError, match="over_time"):
        SaliencyLoss({"kl": 1}, over_time="max")  # type: ignore[arg-type]


def test_metrics_agree() -> None:
    prediction, density = maps(1, (5, 20, 30)), maps(2, (5, 20, 30)) ** 8
    fixations = fixation_counts(3, (5, 20, 30))
    for name, expected in (
        ("kl", metrics.kldiv(prediction, density)),
        ("cc", metrics.cc(prediction, density)),
        ("sim", metrics.sim(prediction, density)),
        # the loss weighs pixels by their fixations, as pysaliency does; over N - 1 pixels
        ("nss", metrics.nss(prediction, fixations, "pysaliency") * math.sqrt(599 / 600)),
    ):
        truth = fixations if name == "nss" else density
        torch.testing.assert_close(
            MEASURES[name](prediction, truth).double(), expected, rtol=1e-4, atol=1e-5
        )
