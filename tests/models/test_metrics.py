"""Metrics against closed forms, their invariances, and plain NumPy transcriptions."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from foveal.models.metrics import (
    VARIANTS,
    FixatedPixels,
    MapRows,
    auc_judd,
    auc_shuffled,
    cc,
    kldiv,
    nss,
    sim,
)

Map = NDArray[np.float64]
EPS = np.finfo(float).eps


def plain_judd(saliency: Map, counts: Map) -> float:
    """AUC_Judd.m without jitter, tied thresholds taken together."""
    fixated = saliency[counts > 0]
    others = saliency[counts == 0]
    if len(fixated) == 0 or len(others) == 0:
        return math.nan
    thresholds = sorted(set(fixated), reverse=True)
    tp = [0.0, *[np.mean(fixated >= t) for t in thresholds], 1.0]
    fp = [0.0, *[np.mean(others >= t) for t in thresholds], 1.0]
    return float(np.trapezoid(tp, fp))


def literal_judd(saliency: Map, counts: Map) -> float:
    """AUC_Judd.m line by line with jitter = 0; sound only where no values tie."""
    fixated = saliency[counts > 0]
    tp, fp = np.zeros(len(fixated) + 2), np.zeros(len(fixated) + 2)
    tp[-1] = fp[-1] = 1
    for i, threshold in enumerate(np.sort(fixated)[::-1], 1):
        above = np.sum(saliency >= threshold)
        tp[i] = i / len(fixated)
        fp[i] = (above - i) / (saliency.size - len(fixated))
    return float(np.trapezoid(tp, fp))


def plain_pairs(saliency: Map, counts: Map, negatives: Map, negative_counts: NDArray[Any]) -> float:
    """Share of (fixation, negative) pairs in the right order, by looking at every pair."""
    right = total = 0.0
    for positive, count in zip(saliency[counts > 0], counts[counts > 0], strict=True):
        for negative, weight in zip(negatives, negative_counts, strict=True):
            right += count * weight * ((positive > negative) + 0.5 * (positive == negative))
            total += count * weight
    return right / total if total else math.nan


def plain_shuffled(saliency: Map, fixated: list[int], others: tuple[int, ...]) -> float:
    """One split of AUC_shuffled.m."""
    stretched = ((saliency - saliency.min()) / (saliency.max() - saliency.min())).ravel()
    positives, negatives = stretched[fixated], stretched[list(others)]
    top = max(positives.max(), negatives.max())
    thresholds = [k / 10 for k in range(10, -1, -1) if k / 10 <= top]
    tp = [0.0, *[np.mean(positives >= t) for t in thresholds], 1.0]
    fp = [0.0, *[np.mean(negatives >= t) for t in thresholds], 1.0]
    return float(np.trapezoid(tp, fp))


def plain_nss(saliency: Map, counts: Map, variant: str) -> float:
    if not counts.any() or saliency.min() == saliency.max():
        return math.nan
    if variant == "pysaliency":
        standardised = (saliency - saliency.mean()) / saliency.std()
        return float((standardised * counts).sum() / counts.sum())
    standardised = (saliency - saliency.mean()) / saliency.std(ddof=1)
    return float(standardised[counts > 0].mean())


def plain_sim(saliency: Map, density: Map, variant: str) -> float:
    if not density.any():
        return math.nan
    if variant == "pysaliency":
        p, q = as_density(saliency), as_density(density)
    else:
        if saliency.min() == saliency.max() or density.min() == density.max():
            return math.nan
        p = (saliency - saliency.min()) / (saliency.max() - saliency.min())
        q = (density - density.min()) / (density.max() - density.min())
        p, q = p / p.sum(), q / q.sum()
    return float(np.minimum(p, q).sum())


def plain_kldiv(saliency: Map, density: Map, variant: str) -> float:
    if not density.any():
        return math.nan
    if variant == "pysaliency":
        p, q, eps = as_density(saliency), as_density(density), 2.2204e-16
    else:
        p = saliency / saliency.sum() if saliency.any() else saliency
        q, eps = density / density.sum(), EPS
    return float((q * np.log(eps + q / (p + eps))).sum())


def as_density(values: Map) -> Map:
    lifted = values - min(values.min(), 0)
    return lifted / lifted.sum() if lifted.any() else np.full(values.shape, 1 / values.size)


def frame(values: Any) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)[None]


@st.composite
def small_frames(draw: st.DrawFn) -> tuple[Map, Map]:
    """A small map with many ties and fixation counts on it."""
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    levels = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    saliency = rng.integers(0, levels, (height, width)).astype(float)
    counts = rng.poisson(draw(st.sampled_from([0.1, 0.5, 2.0])), (height, width)).astype(float)
    return saliency, counts


# AUC-Judd


def test_auc_judd_closed_forms() -> None:
    fixations = frame([[0, 0, 0, 1]])
    assert auc_judd(frame([[0, 1, 2, 3]]), fixations).item() == 1.0
    # one fixated pixel below one of three others: (1/3, 1) is the curve's only inner point
    assert auc_judd(frame([[0, 1, 3, 2]]), fixations).item() == pytest.approx(1 - 1 / 6)
    assert auc_judd(frame([[0, 1, 3, 2]]), fixations, "pysaliency").item() == pytest.approx(
        (2 + 0.5) / 4
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_constant_map_scores_one_half(variant: Any) -> None:
    saliency, fixations = torch.full((1, 3, 4), 7.0), frame(np.eye(3, 4))
    others = frame(np.eye(3, 4)[::-1].copy())
    assert auc_judd(saliency, fixations, variant).item() == 0.5
    assert auc_shuffled(saliency, fixations, others, variant).item() == 0.5


@settings(max_examples=100, deadline=None)
@given(small_frames())
def test_auc_judd_agrees_with_plain_numpy(case: tuple[Map, Map]) -> None:
    saliency, counts = case
    for variant in ("mit", "dhf1k"):
        np.testing.assert_allclose(
            auc_judd(frame(saliency), frame(counts), variant).numpy(),  # type: ignore[arg-type]
            [plain_judd(saliency, counts)],
            atol=1e-12,
        )
    everywhere = np.ones(saliency.size)
    np.testing.assert_allclose(
        auc_judd(frame(saliency), frame(counts), "pysaliency").numpy(),
        [plain_pairs(saliency, counts, saliency.ravel(), everywhere)],
        atol=1e-12,
    )


def test_auc_judd_is_the_mit_script_where_nothing_ties() -> None:
    rng = np.random.default_rng(0)
    saliency = rng.permutation(40 * 70).reshape(40, 70).astype(float)
    counts = np.zeros((40, 70))
    counts.flat[rng.choice(counts.size, 30, replace=False)] = 1
    assert auc_judd(frame(saliency), frame(counts)).item() == pytest.approx(
        literal_judd(saliency, counts), abs=1e-12
    )


def hard_maps() -> dict[str, Map]:
    """Pictures large enough for the table search, each hard for it in another way."""
    rng = np.random.default_rng(1)
    shape = (90, 110)
    uniform = rng.random(shape)
    relu = np.maximum(rng.normal(size=shape), 0)
    mixed_scales = np.exp(rng.normal(0, 15, shape))
    return {
        "uniform": uniform,
        "many zeros": relu,
        "saturated": np.minimum(relu, 0.5),
        "256 levels": np.floor(uniform**4 * 255),
        "all scales": mixed_scales,
        "negative": -mixed_scales,
        "narrow": 0.5 + 1e-6 * uniform,
        "huge": (uniform - 0.5) * 1e38,
        "subnormal": uniform * 1e-42,
        "one outlier": np.where(np.arange(uniform.size).reshape(shape) == 17, 1e30, uniform),
    }


@pytest.mark.parametrize("name", sorted(hard_maps()))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_auc_counts_are_exact_on_large_maps(name: str, dtype: torch.dtype) -> None:
    saliency = torch.as_tensor(hard_maps()[name]).to(dtype)[None]
    exact = saliency[0].double().numpy()
    rng = np.random.default_rng(2)
    counts = np.zeros(exact.shape)
    counts.flat[rng.choice(counts.size, 60, replace=False)] = rng.integers(1, 4, 60)
    counts.flat[[int(exact.argmin()), int(exact.argmax())]] = 1
    assert auc_judd(saliency, frame(counts)).item() == pytest.approx(
        plain_judd(exact, counts), abs=1e-12
    )
    fixated, weights = exact[counts > 0], counts[counts > 0]
    below = np.array([np.mean(exact < v) + np.mean(exact == v) / 2 for v in fixated])
    assert auc_judd(saliency, frame(counts), "pysaliency").item() == pytest.approx(
        float((weights * below).sum() / weights.sum()), abs=1e-12
    )
    everywhere = torch.ones(1, *exact.shape)
    assert auc_shuffled(saliency, frame(counts), everywhere, "pysaliency").item() == pytest.approx(
        auc_judd(saliency, frame(counts), "pysaliency").item(), abs=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(small_frames(), st.sampled_from(VARIANTS))
def test_auc_judd_is_invariant_to_monotone_maps(case: tuple[Map, Map], variant: Any) -> None:
    saliency, counts = case
    plain = auc_judd(frame(saliency), frame(counts), variant)
    for monotone in (lambda v: 3 * v - 40, np.exp, lambda v: v**3, np.arctan):
        other = auc_judd(frame(monotone(saliency)), frame(counts), variant)
        np.testing.assert_array_equal(other.numpy(), plain.numpy())
    np.testing.assert_allclose(
        auc_judd(frame(-saliency), frame(counts), "pysaliency").numpy(),
        1 - auc_judd(frame(saliency), frame(counts), "pysaliency").numpy(),
        atol=1e-12,
    )


# shuffled AUC


def test_shuffled_auc_is_the_mean_over_all_splits_of_the_mit_script() -> None:
    rng = np.random.default_rng(3)
    saliency = rng.random((5, 6))
    fixated, elsewhere = [3, 17], [0, 4, 11, 17, 29]
    counts, others = np.zeros(30), np.zeros(30)
    counts[fixated], others[elsewhere] = 1, 1
    splits = [plain_shuffled(saliency, fixated, s) for s in itertools.combinations(elsewhere, 2)]
    score = auc_shuffled(frame(saliency), frame(counts.reshape(5, 6)), frame(others.reshape(5, 6)))
    assert score.item() == pytest.approx(np.mean(splits), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(small_frames(), st.integers(0, 1000))
def test_shuffled_auc_of_pysaliency_compares_all_pairs(case: tuple[Map, Map], seed: int) -> None:
    saliency, counts = case
    others = np.random.default_rng(seed).poisson(0.7, saliency.shape).astype(float)
    expected = plain_pairs(saliency, counts, saliency[others > 0], others[others > 0])
    for form in (frame(others), frame(others)[0]):
        score = auc_shuffled(frame(saliency), frame(counts), form, "pysaliency")
        np.testing.assert_allclose(score.numpy(), [expected], atol=1e-12)


def test_one_frame_of_others_serves_all() -> None:
    generator = torch.Generator().manual_seed(0)
    saliency = torch.rand(4, 10, 12, generator=generator)
    fixations = torch.rand(4, 10, 12, generator=generator) > 0.9
    others = torch.rand(10, 12, generator=generator) > 0.8
    for variant in ("mit", "pysaliency"):
        shared = auc_shuffled(saliency, fixations, others, variant)  # type: ignore[arg-type]
        repeated = auc_shuffled(saliency, fixations, others.expand(4, -1, -1), variant)  # type: ignore[arg-type]
        np.testing.assert_allclose(shared.numpy(), repeated.numpy(), atol=1e-12)


# NSS, CC, SIM, KLDiv


def test_nss_closed_form() -> None:
    saliency, fixations = frame([[0, 0, 0, 4]]), frame([[0, 0, 0, 1]])
    assert nss(saliency, fixations).item() == pytest.approx(1.5)  # (4 - 1) / sqrt(12 / 3)
    assert nss(saliency, fixations, "pysaliency").item() == pytest.approx(math.sqrt(3))
    twice = frame([[1, 0, 0, 3]])
    assert nss(saliency, twice).item() == pytest.approx(0.5)
    assert nss(saliency, twice, "pysaliency").item() == pytest.approx((9 - 1) / 4 / math.sqrt(3))


@settings(max_examples=60, deadline=None)
@given(small_frames(), st.sampled_from(VARIANTS), st.integers(0, 1000))
def test_map_metrics_agree_with_plain_numpy(case: tuple[Map, Map], variant: Any, seed: int) -> None:
    saliency, counts = case
    rng = np.random.default_rng(seed)
    density = np.maximum(rng.normal(size=saliency.shape), 0) * rng.integers(0, 2)
    np.testing.assert_allclose(
        nss(frame(saliency), frame(counts), variant).numpy(),
        [plain_nss(saliency, counts, variant)],
        atol=1e-10,
    )
    for ours, plain in ((sim, plain_sim), (kldiv, plain_kldiv)):
        np.testing.assert_allclose(
            ours(frame(saliency), frame(density), variant).numpy(),
            [plain(saliency, density, variant)],
            atol=1e-10,
        )
    if min(np.ptp(saliency), np.ptp(density)) > 0:
        expected = np.corrcoef(saliency.ravel(), density.ravel())[0, 1]
    else:
        expected = math.nan
    np.testing.assert_allclose(
        cc(frame(saliency), frame(density), variant).numpy(), [expected], atol=1e-10
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    gain=st.floats(1e-3, 1e3),
    offset=st.floats(-1e3, 1e3),
    variant=st.sampled_from(VARIANTS),
)
def test_invariances(seed: int, gain: float, offset: float, variant: Any) -> None:
    rng = np.random.default_rng(seed)
    saliency, density = frame(rng.random((7, 9))), frame(rng.random((7, 9)))
    fixations = frame(rng.random((7, 9)) < 0.2)
    changed = gain * saliency + offset

    def assert_same(first: Tensor, second: Tensor) -> None:
        # an offset of 1e3 on values of 1e-3 leaves ten digits of a double
        np.testing.assert_allclose(first.numpy(), second.numpy(), atol=1e-7)

    assert_same(nss(changed, fixations, variant), nss(saliency, fixations, variant))
    assert_same(cc(changed, density, variant), cc(saliency, density, variant))
    assert_same(cc(density, changed, variant), cc(saliency, density, variant))
    assert_same(kldiv(gain * saliency, density, variant), kldiv(saliency, density, variant))
    assert_same(sim(gain * saliency, density, variant), sim(saliency, density, variant))
    assert_same(sim(density, saliency, variant), sim(saliency, density, variant))
    if variant != "pysaliency":
        assert_same(sim(changed, density, variant), sim(saliency, density, variant))
    assert_same(cc(-saliency, density, variant), -cc(saliency, density, variant))
    assert sim(saliency, saliency, variant).item() == pytest.approx(1.0)
    assert cc(saliency, saliency, variant).item() == pytest.approx(1.0)
    assert kldiv(saliency, saliency, variant).item() == pytest.approx(0.0, abs=1e-12)
    assert kldiv(saliency, density, variant).item() > 0


def test_disjoint_maps() -> None:
    left, right = frame([[1, 1, 0, 0]]), frame([[0, 0, 1, 1]])
    assert sim(left, right).item() == 0.0
    assert cc(left, right).item() == pytest.approx(-1.0)
    assert kldiv(left, right).item() == pytest.approx(math.log(0.5 / EPS), rel=1e-12)


def test_float32_agrees_with_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    saliency = torch.rand(2, 360, 640, generator=generator) ** 6 + 100.0
    density = torch.rand(2, 360, 640, generator=generator) ** 20
    fixations = torch.rand(2, 360, 640, generator=generator) > 0.9997
    for metric, truth in ((nss, fixations), (cc, density), (sim, density), (kldiv, density)):
        exact = metric(saliency.double(), truth if metric is nss else truth.double())
        np.testing.assert_allclose(metric(saliency, truth).numpy(), exact.numpy(), atol=3e-6)


# what every metric shares


@pytest.mark.parametrize("variant", VARIANTS)
def test_undefined_scores_are_nan(variant: Any) -> None:
    saliency, constant = frame([[0.0, 1.0, 2.0]]), frame([[3.0, 3.0, 3.0]])
    nothing, one = frame([[0.0, 0.0, 0.0]]), frame([[0.0, 1.0, 0.0]])
    for score in (
        auc_judd(saliency, nothing, variant),
        auc_shuffled(saliency, nothing, one, variant),
        auc_shuffled(saliency, one, nothing, variant),
        nss(saliency, nothing, variant),
        nss(constant, one, variant),
        cc(saliency, nothing, variant),
        cc(saliency, constant, variant),
        cc(constant, saliency, variant),
        sim(saliency, nothing, variant),
        kldiv(saliency, nothing, variant),
    ):
        assert score.isnan().all()


def test_batches_do_not_change_scores() -> None:
    generator = torch.Generator().manual_seed(4)
    saliency = torch.rand(5, 80, 90, generator=generator)
    fixations = (torch.rand(5, 80, 90, generator=generator) > 0.995).int()
    fixations[2] = 0
    density, others = saliency.roll(9, 2) ** 2, fixations.roll(3, 1)
    for variant in VARIANTS:
        for score in (
            lambda s, f, d, o: auc_judd(s, f, variant),  # noqa: B023
            lambda s, f, d, o: auc_shuffled(s, f, o, variant),  # noqa: B023
            lambda s, f, d, o: nss(s, f, variant),  # noqa: B023
            lambda s, f, d, o: cc(s, d, variant),  # noqa: B023
            lambda s, f, d, o: sim(s, d, variant),  # noqa: B023
            lambda s, f, d, o: kldiv(s, d, variant),  # noqa: B023
        ):
            whole = score(saliency, fixations, density, others)
            single = [
                score(
                    saliency[k : k + 1], fixations[k : k + 1], density[k : k + 1], others[k : k + 1]
                )
                for k in range(5)
            ]
            assert whole.shape == (5,)
            assert whole.dtype == torch.float64
            np.testing.assert_allclose(whole.numpy(), torch.cat(single).numpy(), atol=1e-12)
            again = score(saliency, fixations, density, others)
            np.testing.assert_array_equal(again.numpy(), whole.numpy())


def test_an_empty_batch_has_no_scores() -> None:
    empty = torch.zeros(0, 6, 8)
    assert auc_judd(empty, empty).shape == (0,)
    assert auc_shuffled(empty, empty, empty).shape == (0,)
    assert nss(empty, empty).shape == (0,)
    assert cc(empty, empty).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.int64])
def test_every_real_dtype_is_scored(dtype: torch.dtype) -> None:
    values = torch.arange(48).reshape(1, 6, 8)
    fixations = values % 7 == 0
    assert auc_judd(values.to(dtype), fixations).item() == auc_judd(values, fixations).item()
    assert cc(values.to(dtype), values.to(dtype)).item() == pytest.approx(1.0)


def test_inputs_that_do_not_fit_are_refused() -> None:
    saliency = torch.rand(2, 6, 8)
    with pytest.raises(ValueError, match="do not fit"):
        auc_judd(saliency, torch.zeros(2, 6, 9))
    with pytest.raises(ValueError, match="differ in shape"):
        cc(saliency, torch.rand(1, 6, 8))
    with pytest.raises(ValueError, match="mit, dhf1k, pysaliency"):
        nss(saliency, saliency, "borji")  # type: ignore[arg-type]
    broken = saliency.clone()
    broken[1, 2, 3] = math.nan
    with pytest.raises(ValueError, match="frame 1 of the batch"):
        sim(broken, saliency)
    with pytest.raises(ValueError, match="density of 1 of 2"):
        sim(saliency, broken)
    with pytest.raises(ValueError, match=r"\[n, h, w\]"):
        nss(saliency[0], saliency[0])


def test_points_land_on_the_pixels_of_the_map() -> None:
    frames = torch.tensor([0, 0, 0, 2])
    x, y = torch.tensor([0.0, 639.0, 639.4, 320.0]), torch.tensor([0.0, 359.0, 359.0, 179.4])
    pixels = FixatedPixels.from_points(frames, x, y, 3, (360, 640), (36, 64))
    maps = torch.zeros(3, 36, 64)
    maps[0, 0, 0], maps[0, 35, 63], maps[2, 17, 32] = 1, 2, 1
    same = FixatedPixels.from_maps(maps)
    for name in ("frame", "pixel", "count"):
        assert torch.equal(getattr(pixels, name), getattr(same, name))
    with pytest.raises(ValueError, match="outside the picture"):
        FixatedPixels.from_points(frames, x + 10, y, 3, (360, 640), (36, 64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    saliency = torch.rand(6, 90, 120, generator=generator).round(decimals=2)
    fixations = (torch.rand(6, 90, 120, generator=generator) > 0.995).int()
    others, density = fixations.roll(7, 2), saliency.roll(5, 1) ** 3
    for variant in VARIANTS:
        for score, truths in (
            (auc_judd, (fixations,)),
            (auc_shuffled, (fixations, others)),
            (nss, (fixations,)),
            (cc, (density,)),
            (sim, (density,)),
            (kldiv, (density,)),
        ):
            on_cpu = score(saliency, *truths, variant)
            on_gpu = score(saliency.cuda(), *(truth.cuda() for truth in truths), variant)
            assert on_gpu.is_cuda
            np.testing.assert_allclose(on_gpu.cpu().numpy(), on_cpu.numpy(), atol=1e-6)


def test_prepared_rows_give_the_same_scores() -> None:
    saliency = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(5))
    fixations = saliency > 0.98
    rows, pixels = MapRows.of(saliency), FixatedPixels.from_maps(fixations)
    assert torch.equal(auc_judd(rows, pixels), auc_judd(saliency, fixations))
    assert torch.equal(nss(rows, pixels), nss(saliency, fixations))


def test_jitter_breaks_ties_as_the_authors_script_does() -> None:
    rng = np.random.default_rng(3)
    saliency = rng.integers(0, 6, (1, 24, 32)).astype(np.float64)
    fixated = rng.random((1, 24, 32)) < 0.05
    noise = torch.rand(24 * 32, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    jittered = saliency[0].ravel() + noise.numpy() / 1e7
    on = fixated[0].ravel()
    thresholds = np.sort(jittered[on])[::-1]
    above = np.array([(jittered >= each).sum() for each in thresholds])
    hits = np.arange(1, len(thresholds) + 1)
    true = np.concatenate([[0], hits / on.sum(), [1]])
    false = np.concatenate([[0], (above - hits) / (on.size - on.sum()), [1]])
    expected = np.trapezoid(true, false)
    maps, points = torch.from_numpy(saliency), torch.from_numpy(fixated.astype(np.uint8))
    assert float(auc_judd(maps, points, jitter_seed=7)) == pytest.approx(expected, abs=1e-12)
    assert float(auc_judd(maps, points)) == pytest.approx(expected, abs=0.1)


def test_a_negative_map_has_no_divergence_and_makes_no_noise(recwarn: Any) -> None:
    saliency = torch.tensor([[[-1.0, 2.0], [3.0, 4.0]]])
    density = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    for variant in VARIANTS:
        kldiv(saliency, density, variant)
    assert not recwarn.list
