"""The challenge's scores against its formulas, written as plain loops."""

from __future__ import annotations

import itertools
import math
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foveal.errors import RecipeError
from foveal.models.metrics import (
    FixatedPixels,
    ScoreTable,
    auc_judd,
    cc,
    challenge,
    kldiv,
    nss,
    sim,
)
from foveal.models.metrics.challenge import METRICS, on_grid

Map = NDArray[np.float64]
SIZE = (9, 13)


def stretched(values: NDArray[Any]) -> NDArray[Any]:
    low, high = values.min(), values.max()
    return (values - low) / (high - low + np.finfo(np.float32).eps)


def written_out(prediction: Map, density: Map, points: list[tuple[int, int]]) -> dict[str, float]:
    """Scores of one frame; `points` are (row, column), repeated ones too."""
    height, width = density.shape
    # A submission has 8 bits, and pictures of grey videos are float32: rounding decides what ties.
    lifted = prediction.astype(np.float32) - np.float32(prediction.min())
    submitted = np.rint(lifted * (np.float32(255) / (lifted.max() or np.float32(1))))
    p = cv2.resize(stretched(submitted.astype(np.float32)), (width, height)).astype(float)
    q = stretched(density)
    number = height * width
    p_standard = (p - p.sum() / number) / (np.sqrt(((p - p.mean()) ** 2).sum() / number) + 1e-7)
    q_standard = (q - q.sum() / number) / (np.sqrt(((q - q.mean()) ** 2).sum() / number) + 1e-7)
    norms = (p_standard**2).sum() * (q_standard**2).sum()
    scores = {
        "cc": (p_standard * q_standard).sum() / math.sqrt(norms + 1e-7),
        "sim": np.minimum(p / (p.sum() + 1e-7), q / (q.sum() + 1e-7)).sum(),
        "nss": math.nan,
        "auc_judd": math.nan,
    }
    if points:
        scores["nss"] = sum(p_standard[y, x] for y, x in points) / len(points)
        n = len(points)
        distinct = 1 if all(y == x for y, x in points) else 2
        curve = [(0.0, 0.0)]
        for k, threshold in enumerate(sorted((p[y, x] for y, x in points), reverse=True), start=1):
            reached = sum(p[y, x] >= threshold for y in range(height) for x in range(width))
            curve.append(((reached - k) / (number + (n - distinct) - n), k / n))
        curve.append((1.0, 1.0))
        scores["auc_judd"] = sum(
            (right[0] - left[0]) * (left[1] + right[1]) / 2
            for left, right in itertools.pairwise(curve)
        )
    return scores


def ours(
    prediction: Map, density: Map, points: list[tuple[int, int]], dtype: Any = np.float64
) -> dict[str, float]:
    height, width = density.shape
    maps = on_grid(torch.from_numpy(prediction[None]), (height, width)).numpy().astype(dtype)
    counts = np.zeros((1, height, width))
    for y, x in points:
        counts[0, y, x] += 1
    fixations = FixatedPixels.from_maps(torch.from_numpy(counts))
    truth = torch.from_numpy(density[None].astype(dtype))
    saliency = torch.from_numpy(maps)
    return {
        "cc": cc(saliency, truth, "ntire2026").item(),
        "sim": sim(saliency, truth, "ntire2026").item(),
        "nss": nss(saliency, fixations, "ntire2026").item(),
        "auc_judd": auc_judd(saliency, fixations, "ntire2026").item(),
    }


@st.composite
def frames(draw: st.DrawFn) -> tuple[Map, Map, list[tuple[int, int]]]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([2, 5, 256]))
    size = draw(st.sampled_from([SIZE, (5, 7), (18, 20)]))
    prediction = rng.integers(0, levels, size).astype(float)
    density = rng.integers(0, 1024, SIZE).astype(float)
    side = draw(st.sampled_from([SIZE[0], 3]))  # few places: many points in one pixel
    points = [(int(y), int(x)) for y, x in rng.integers(0, side, (draw(st.integers(0, 12)), 2))]
    if draw(st.booleans()):
        points = [(y, y) for y, _ in points]
    return prediction, density, points


@settings(max_examples=30, deadline=None)
@given(frames())
def test_scores_are_those_of_the_formulas(case: tuple[Map, Map, list[tuple[int, int]]]) -> None:
    expected = written_out(*case)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-6)):
        found = ours(*case, dtype=dtype)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance)


def test_the_slip_counts_columns_and_not_points() -> None:
    # 4 pixels, the highest fixated: one point passes, 3 others; the curve is (0, 1), (1, 1).
    prediction = np.array([[1.0, 0, 0, 0]])
    # n - 1 points on one pixel leave fp = (1 - k) / (4 - distinct), below 0.
    for points, distinct in (([(0, 0), (0, 0)], 1), ([(0, 1), (0, 1)], 2)):
        found = ours(prediction, prediction, points)["auc_judd"]
        assert found == pytest.approx(written_out(prediction, prediction, points)["auc_judd"])
        above = 1 if distinct == 1 else 4
        fp = [0, *((above - k) / (4 - distinct) for k in (1, 2)), 1]
        assert found == pytest.approx(np.trapezoid([0, 0.5, 1, 1], fp))


def test_constant_maps_have_a_score_and_frames_without_points_have_none() -> None:
    rng = np.random.default_rng(0)
    density = rng.random(SIZE)
    found = ours(np.full(SIZE, 7.0), density, [(1, 2)])
    assert (found["cc"], found["sim"], found["nss"]) == (0, 0, 0)
    assert found["auc_judd"] == pytest.approx(
        written_out(np.full(SIZE, 7.0), density, [(1, 2)])["auc_judd"]
    )
    nobody = ours(density, density, [])
    assert math.isnan(nobody["nss"])
    assert math.isnan(nobody["auc_judd"])
    assert nobody["cc"] == pytest.approx(1, abs=1e-4)  # 8 bits


def test_several_frames_and_threads_give_what_single_frames_give() -> None:
    rng = np.random.default_rng(3)
    maps = torch.from_numpy(rng.random((5, *SIZE)).astype(np.float32))
    density = torch.from_numpy(rng.random((5, *SIZE)).astype(np.float32))
    counts = torch.from_numpy(rng.poisson(0.1, (5, *SIZE)))
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            for metric, truth in ((cc, density), (sim, density), (nss, counts), (auc_judd, counts)):
                together = metric(maps, truth, "ntire2026")
                alone = [metric(maps[k : k + 1], truth[k : k + 1], "ntire2026") for k in range(5)]
                assert together.tolist() == torch.cat(alone).tolist()
    finally:
        torch.set_num_threads(threads)


def test_a_table_takes_what_the_challenge_defines_and_nothing_else() -> None:
    assert ScoreTable(variant="ntire2026").metrics == METRICS
    with pytest.raises(RecipeError, match=r"defines cc, sim, nss, auc_judd, not kldiv"):
        ScoreTable(["cc", "kldiv"], "ntire2026")
    with pytest.raises(ValueError, match="no other metric"):
        kldiv(torch.ones(1, 2, 2), torch.ones(1, 2, 2), "ntire2026")


def test_integers_are_scored_as_the_numbers_they_are() -> None:
    rng = np.random.default_rng(6)
    maps = on_grid(torch.from_numpy(rng.random((2, 5, 7))), SIZE)
    values = rng.integers(0, 1024, (2, *SIZE))
    tables = []
    for dtype in (np.uint16, np.float32):
        table = ScoreTable(("cc", "sim"), "ntire2026")
        tables.append(table.update("v", maps, density=torch.from_numpy(values.astype(dtype))))
    for name in ("cc", "sim"):
        np.testing.assert_allclose(tables[0][name], tables[1][name], rtol=0, atol=1e-12)


def test_torch_gives_what_the_compiled_loops_give(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    maps = on_grid(torch.from_numpy(rng.random((3, 8, 10))), (40, 50))
    density = torch.from_numpy(rng.integers(0, 1024, (3, 40, 50)).astype(np.float32))
    counts = torch.from_numpy(rng.poisson(0.01, (3, 40, 50)))
    pairs = ((cc, density), (sim, density), (nss, counts), (auc_judd, counts))
    compiled = [metric(maps, truth, "ntire2026") for metric, truth in pairs]
    monkeypatch.setattr(challenge, "_is_compiled", lambda rows: False)
    for (metric, truth), expected in zip(pairs, compiled, strict=True):
        torch.testing.assert_close(metric(maps, truth, "ntire2026"), expected, atol=1e-9, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_scores() -> None:
    rng = np.random.default_rng(4)
    maps = on_grid(torch.from_numpy(rng.random((3, 20, 30))), (180, 320))
    density = torch.from_numpy(rng.random((3, 180, 320)).astype(np.float32))
    counts = torch.from_numpy(rng.poisson(0.001, (3, 180, 320)))
    for metric, truth in ((cc, density), (sim, density), (nss, counts), (auc_judd, counts)):
        there = metric(maps.cuda(), truth.cuda(), "ntire2026").cpu()
        torch.testing.assert_close(there, metric(maps, truth, "ntire2026"), atol=1e-6, rtol=0)
