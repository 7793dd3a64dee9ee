"""Streaming, averaging, masks, exclusions, and the choice of other pictures' fixations."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foveal.errors import RecipeError
from foveal.models.metrics import (
    FixatedPixels,
    OtherFixations,
    ScoreTable,
    auc_judd,
    cc,
    find_metric,
    names,
    nss,
)
from foveal.registry import plugins

METRICS = names()


def clip(frames: int, seed: int, size: tuple[int, int] = (12, 16)) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (frames, *size)
    fixations = (torch.rand(shape, generator=generator) > 0.95).int()
    fixations[:, 0, seed % size[1]] = 1
    return {
        "saliency": torch.rand(shape, generator=generator),
        "fixations": fixations,
        "density": torch.rand(shape, generator=generator),
        "other_fixations": fixations.roll(5, 2),
    }


def without_nan(values: list[float]) -> float:
    return float(np.nanmean(values))


def test_frames_then_videos_then_dataset_against_the_flat_mean() -> None:
    table = ScoreTable(("nss", "cc"))
    short, long = clip(2, 0), clip(10, 1)
    for video, data in (("short", short), ("long", long)):
        table.update(video, data["saliency"], data["fixations"], data["density"])
    result = table.table()
    of_short = nss(short["saliency"], short["fixations"]).numpy()
    of_long = nss(long["saliency"], long["fixations"]).numpy()
    scores = result["dataset"]["nss"]
    assert scores["mean_of_videos"] == pytest.approx((of_short.mean() + of_long.mean()) / 2)
    assert scores["mean_of_frames"] == pytest.approx(np.concatenate([of_short, of_long]).mean())
    assert scores["mean_of_videos"] != pytest.approx(scores["mean_of_frames"])
    assert (scores["videos"], scores["frames"], scores["excluded"]) == (2, 12, {})
    assert result["videos"]["long"]["metrics"]["nss"]["mean"] == pytest.approx(of_long.mean())
    assert result["videos"]["long"]["frames"] == 10
    assert json.loads(json.dumps(result)) == result


def test_batches_of_interleaved_videos_give_the_same_table() -> None:
    data = {"a": clip(7, 2), "b": clip(5, 3)}
    whole, streamed = ScoreTable(), ScoreTable()
    for video, each in data.items():
        whole.update(video, **each)
    for start in range(0, 7, 3):
        for video, each in data.items():
            if start < len(each["saliency"]):
                streamed.update(video, **{k: v[start : start + 3] for k, v in each.items()})
    for metric in METRICS:
        np.testing.assert_allclose(
            streamed.per_frame("a")[metric], whole.per_frame("a")[metric], atol=1e-12
        )
        assert streamed.table()["dataset"][metric]["mean_of_videos"] == pytest.approx(
            whole.table()["dataset"][metric]["mean_of_videos"], abs=1e-12
        )


def test_a_mask_keeps_its_frames_and_skips_videos_without_any() -> None:
    first, second = clip(6, 4), clip(4, 5)
    mask = np.array([False, True, False, False, True, True])
    table = ScoreTable()
    table.update("first", **first, mask=mask)
    table.update("second", **second, mask=np.zeros(4, bool))
    kept = ScoreTable()
    kept.update("first", **{name: values[torch.as_tensor(mask)] for name, values in first.items()})
    for metric in METRICS:
        masked, plain = (t.table()["dataset"][metric] for t in (table, kept))
        assert masked["mean_of_videos"] == pytest.approx(plain["mean_of_videos"], abs=1e-12)
        assert (masked["videos"], masked["frames"]) == (1, 3)
        assert masked["excluded"] == {"masked": 7}
        assert math.isnan(table.per_frame("first")[metric][0])
    assert table.table()["videos"]["second"]["metrics"]["nss"]["mean"] is None


def test_every_exclusion_is_counted_by_its_reason() -> None:
    data = clip(6, 6)
    data["fixations"][1] = 0
    data["density"][2] = 0
    data["saliency"][3] = 0.25
    data["density"][4] = 0.5
    data["other_fixations"][5] = 0
    table = ScoreTable()
    scores = table.update("v", **data)
    dataset = table.table()["dataset"]
    assert dataset["auc_judd"]["excluded"] == {"no_fixations": 1}
    assert dataset["auc_shuffled"]["excluded"] == {"no_fixations": 1, "undefined": 1}
    assert dataset["nss"]["excluded"] == {"constant_prediction": 1, "no_fixations": 1}
    assert dataset["cc"]["excluded"] == {
        "constant_prediction": 1,
        "empty_density": 1,
        "undefined": 1,
    }
    assert dataset["sim"]["excluded"] == dataset["cc"]["excluded"]
    assert dataset["kldiv"]["excluded"] == {"empty_density": 1}
    assert scores["auc_judd"][3] == 0.5
    assert dataset["auc_judd"]["frames"] == 5
    assert dataset["cc"]["mean_of_frames"] == pytest.approx(
        without_nan(cc(data["saliency"], data["density"]).tolist())
    )


def test_nothing_scored_gives_none_not_nan() -> None:
    table = ScoreTable(("auc_judd",))
    table.update("v", torch.rand(2, 4, 5), torch.zeros(2, 4, 5))
    entry = table.table()["dataset"]["auc_judd"]
    assert entry["mean_of_videos"] is None
    assert entry["mean_of_frames"] is None
    assert entry["excluded"] == {"no_fixations": 2}


def test_fixated_pixels_serve_as_well_as_maps() -> None:
    data, mask = clip(5, 7), torch.tensor([True, False, True, True, False])
    table = ScoreTable(("auc_judd",))
    table.update("v", data["saliency"], FixatedPixels.from_maps(data["fixations"]), mask=mask)
    expected = auc_judd(data["saliency"][mask], data["fixations"][mask])
    np.testing.assert_array_equal(table.per_frame("v")["auc_judd"][mask.numpy()], expected.numpy())


def test_what_is_missing_or_unknown_is_named() -> None:
    saliency = torch.rand(2, 4, 5)
    with pytest.raises(ValueError, match="cc needs density"):
        ScoreTable(("cc",)).update("v", saliency)
    with pytest.raises(ValueError, match="auc_shuffled needs other_fixations"):
        ScoreTable(("auc_shuffled",)).update("v", saliency, saliency)
    with pytest.raises(RecipeError, match=r"unknown metric 'aucjudd'; did you mean 'auc_judd'"):
        ScoreTable(("aucjudd",))
    with pytest.raises(ValueError, match=r"mask must be bool \[2\]"):
        ScoreTable(("nss",)).update("v", saliency, saliency, mask=np.ones(3, bool))
    with pytest.raises(ValueError, match="has no scores"):
        ScoreTable().per_frame("v")


THEIRS = """
from foveal.models.metrics import Metric

def half_of_both(rows, density, fixations, variant):
    return (density.values.mean(1).double() + fixations.offsets().diff()) / 2

HALF = Metric("half", ("density", "fixations"), half_of_both)
NUMBER = 3
"""


@pytest.fixture
def their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another distribution that registers a metric, and something else as one."""
    about = tmp_path / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[foveal.metrics]\nhalf = their_metrics:HALF\nnumber = their_metrics:NUMBER\n"
    )
    (tmp_path / "their_metrics.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    plugins.cache_clear()
    yield
    plugins.cache_clear()


@pytest.mark.usefixtures("their_package")
def test_a_strangers_metric_stands_in_the_table() -> None:
    assert "half" in names()
    data = clip(3, 8)
    data["fixations"][1] = 0
    table = ScoreTable(("half", "cc"))
    scores = table.update("v", **data)["half"]
    counts = data["fixations"].sum((1, 2))
    assert scores == pytest.approx((data["density"].mean((1, 2)) + counts) / 2, rel=1e-6)
    assert table.table()["dataset"]["half"]["frames"] == 3
    with pytest.raises(RecipeError, match=r"metric 'number' .*is a int; register"):
        find_metric("number")


def one_pixel_videos() -> dict[str, FixatedPixels]:
    """Video k fixates pixel k of every frame, 40 frames each; frame 0 has no fixation."""
    videos = {}
    for k in range(4):
        maps = torch.zeros(40, 6, 8)
        maps.flatten(1)[1:, k] = k + 1
        videos[f"v{k}"] = FixatedPixels.from_maps(maps)
    return videos


def test_other_fixations_come_from_other_videos() -> None:
    others = OtherFixations(one_pixel_videos(), "mit").of("v1", 0, 40, (6, 8))
    assert others.shape == (40, 6, 8)
    assert set(others.pixel.tolist()) == {0, 2, 3}
    assert (others.offsets().diff() >= 1).all()
    counts = others.count.tolist()
    assert sum(counts) > 40 * 10  # 10 frames each; video k holds k + 1 fixations a frame
    everyone = OtherFixations(one_pixel_videos(), "pysaliency").of("v1", 3, 9, (6, 8))
    assert everyone.shape == (1, 6, 8)
    assert everyone.pixel.tolist() == [0, 2, 3]
    assert everyone.count.tolist() == [39.0, 39 * 3.0, 39 * 4.0]
    drawn = OtherFixations(one_pixel_videos(), "dhf1k").of("v1", 0, 40, (6, 8))
    assert set(drawn.pixel.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("variant", ["mit", "dhf1k"])
def test_other_fixations_do_not_depend_on_batches(variant: Any) -> None:
    source = OtherFixations(one_pixel_videos(), variant, seed=3)
    whole = source.of("v2", 0, 12, (6, 8))
    later = OtherFixations(dict(reversed(one_pixel_videos().items())), variant, seed=3)
    part = later.of("v2", 5, 9, (6, 8))
    wanted = torch.arange(12)
    expected = whole.frames((wanted >= 5) & (wanted < 9))
    for name in ("frame", "pixel", "count"):
        assert torch.equal(getattr(part, name), getattr(expected, name))
    reseeded = OtherFixations(one_pixel_videos(), variant, seed=4).of("v2", 0, 12, (6, 8))
    assert len(reseeded.count) != len(whole.count) or not torch.equal(reseeded.count, whole.count)


def test_other_fixations_move_to_the_grid_asked_for() -> None:
    wide = torch.zeros(1, 10, 20)
    wide[0, 9, 19] = 1
    videos = {"wide": FixatedPixels.from_maps(wide), "v": FixatedPixels.from_maps(wide[:, :, :4])}
    others = OtherFixations(videos, "pysaliency").of("v", 0, 1, (5, 4))
    assert others.pixel.tolist() == [4 * 4 + 3]
    with pytest.raises(ValueError, match="not one of the 2 videos"):
        OtherFixations(videos, "mit").of("absent", 0, 1, (5, 4))


def test_a_lone_video_has_no_others() -> None:
    alone = {"v": one_pixel_videos()["v1"]}
    for variant in ("mit", "pysaliency"):
        others = OtherFixations(alone, variant).of("v", 0, 3, (6, 8))  # type: ignore[arg-type]
        assert len(others.pixel) == 0
        table = ScoreTable(("auc_shuffled",), variant)  # type: ignore[arg-type]
        fixations = alone["v"].frames(torch.arange(40) < 3)
        table.update("v", torch.rand(3, 6, 8), fixations, other_fixations=others)
        assert table.table()["dataset"]["auc_shuffled"]["excluded"] == {
            "no_fixations": 1,
            "undefined": 2,
        }
