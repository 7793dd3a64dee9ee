"""Evaluation: predictions that are known to be right, baselines against brute force, masks."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builds import build, recipe_values, write_prediction, write_raw
from small_stores import write_small_store
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import RecipeError, StoreError
from foveal.models.metrics import nss
from foveal.pipeline.learn import baselines
from foveal.pipeline.learn.evaluate import (
    BASELINES,
    contestants,
    evaluate,
    predictions_in,
)
from foveal.pipeline.learn.evaluation import Evaluation
from foveal.pipeline.learn.ground_truth import Truth
from foveal.pipeline.learn.masks import attach_masks, stored_masks
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.density_maps import density_map
from foveal.pipeline.video.density_kernels import gaussian
from foveal.storage.reader import Store, open_store

SIGMA_PX = 4.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The demo's three clips with three observers, the density itself as a prediction."""
    folder = tmp_path_factory.mktemp("evaluate")
    values = recipe_values(write_raw(folder / "raw"), folder / "store.zarr")
    build(Recipe.parse(values))
    store = open_store(folder / "store.zarr")
    for video in store:
        density = np.asarray(store.array(video, "density")[:], np.float32)
        write_prediction(store, video, "oracle", 0.5 * density + 3)
        write_prediction(store, video, "inverse", 255 - density)
    return open_store(folder / "store.zarr")


def score(store: Store, names: list[str], **options: Any) -> Evaluation:
    found, missing = contestants(store, names, options.pop("wanted", ()))
    return evaluate(store, found, without_baselines=missing, **options)


def test_best_and_worst_frames_are_no_neighbours(store: Store) -> None:
    scores = score(store, ["oracle"], metrics=["nss"])
    # No clip is as long as frames must lie apart, so each gives one.
    for frames in (scores.best["saliency_oracle"], scores.worst["saliency_oracle"]):
        assert sorted(frame.video for frame in frames) == ["001", "002", "601"]


def mean(scores: Evaluation, name: str, metric: str) -> float | None:
    value: float | None = scores.tables[name]["dataset"][metric]["mean_of_videos"]
    return value


def test_the_density_itself_is_a_perfect_prediction_and_its_inverse_the_worst(
    store: Store,
) -> None:
    scores = score(store, ["oracle", "saliency_inverse"])
    assert list(scores.tables) == ["saliency_oracle", "saliency_inverse"]
    assert mean(scores, "saliency_oracle", "cc") == pytest.approx(1)
    assert mean(scores, "saliency_oracle", "sim") == pytest.approx(1, abs=1e-5)
    assert mean(scores, "saliency_inverse", "cc") == pytest.approx(-1)
    high, low = (mean(scores, f"saliency_{name}", "nss") for name in ("oracle", "inverse"))
    assert high is not None
    assert high > 1
    assert low == pytest.approx(-high, rel=1e-4)


def test_scores_are_those_of_the_metric_on_the_densitys_grid(store: Store) -> None:
    scores = score(store, ["oracle"], split="val")
    truth = Truth(store, "601")
    expected = nss(truth.density(0, truth.frames), truth.fixated(0, truth.frames))
    entry = scores.tables["saliency_oracle"]["videos"]["601"]["metrics"]["nss"]
    assert entry["mean"] == pytest.approx(float(expected.nanmean()), rel=1e-5)
    order = expected.nan_to_num(-9).argsort(descending=True)
    assert next(frame.frame for frame in scores.best["saliency_oracle"]) == int(order[0])
    lowest = scores.worst["saliency_oracle"]
    assert lowest[0].nss == pytest.approx(float(expected[~expected.isnan()].min()), rel=1e-5)
    assert [frame.nss for frame in lowest] == sorted(frame.nss for frame in lowest)


def test_the_centre_bias_is_the_mean_of_the_train_splits_densities(store: Store) -> None:
    found = baselines.mean_density(store, store.select("train"))
    maps = np.concatenate([np.asarray(store.array(v, "density")[:]) for v in ("001", "002")])
    maps = maps[maps.sum(axis=(1, 2)) > 0].astype(np.float64)
    expected = (maps / maps.sum(axis=(1, 2), keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-9)


def test_the_train_mean_takes_evenly_spread_frames_of_large_splits(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "CENTRE_BIAS_FRAMES", 10)  # of 29: every third
    found = baselines.mean_density(store, store.select("train"))
    maps = np.concatenate([np.asarray(store.array(v, "density")[::3]) for v in ("001", "002")])
    maps = maps[maps.sum(axis=(1, 2)) > 0].astype(np.float64)
    expected = (maps / maps.sum(axis=(1, 2), keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-9)


def test_a_uniform_map_has_auc_a_half_and_no_nss(store: Store) -> None:
    scores = score(store, [], wanted=("uniform",))
    assert mean(scores, "uniform", "auc_judd") == 0.5
    assert mean(scores, "uniform", "nss") is None
    excluded = scores.tables["uniform"]["dataset"]["nss"]["excluded"]
    assert excluded["constant_prediction"] > 0


def test_one_observer_is_predicted_by_the_others_in_turn(store: Store) -> None:
    truth = Truth(store, "001")
    assert truth.kernel == gaussian(SIGMA_PX)
    start, stop = 3, 9
    contest = baselines.one_against_others(truth, start, stop)
    left_out = []
    for frame in range(start, stop):
        points = truth.points.between(frame, frame + 1)
        observers = sorted(set(points.subject.tolist()))
        one = observers[frame % len(observers)]
        left_out.append(one)
        maps = []
        for mine in (points.subject != one, points.subject == one):
            xy = np.stack([points.x[mine], points.y[mine]], axis=-1)
            maps.append(density_map(xy, truth.source_size, truth.size, gaussian(SIGMA_PX)))
        np.testing.assert_array_equal(contest.saliency[frame - start], maps[0])
        np.testing.assert_array_equal(contest.density[frame - start], maps[1])
        count = contest.fixations.count[contest.fixations.frame == frame - start].sum()
        assert count == (points.subject == one).sum()
    assert len(set(left_out)) > 1


def test_flow_magnitude_is_that_of_the_outgoing_motion_the_last_one_repeated(
    store: Store,
) -> None:
    contestant = baselines.flow_magnitude(store, None)
    truth = Truth(store, "002")
    maps = contestant(truth, 0, truth.frames).saliency
    parts = [contestant(truth, at, min(at + 4, truth.frames)).saliency for at in range(0, 9, 4)]
    assert torch.equal(torch.cat(parts), maps)
    assert torch.equal(maps[-1], maps[-2])
    flow = np.asarray(store.array("002", "flow_tvl1")[:], np.float32)
    expected = baselines.resized_maps(torch.from_numpy(np.hypot(*flow.T).T.copy()), truth.size)
    torch.testing.assert_close(maps[:-1], expected)


def test_all_baselines_stand_in_one_table_people_above_the_centre(store: Store) -> None:
    scores = score(store, ["oracle"], wanted=BASELINES, split="val")
    assert list(scores.tables) == ["saliency_oracle", *BASELINES]
    people, centre = (mean(scores, name, "nss") for name in ("one_against_others", "centre_bias"))
    assert people is not None
    assert centre is not None
    assert people > centre
    rows = list(csv.DictReader(scores.to_csv().splitlines()))
    assert len(rows) == 5 * (2 + 1)
    assert float(rows[0]["cc"]) == pytest.approx(1)
    json.dumps(scores.to_dict(), allow_nan=False)


def test_baselines_that_a_store_cannot_give_are_named_with_the_reason(tmp_path: Path) -> None:
    stages = ("time", "frames", "density", "fixations")
    write_small_store(tmp_path / "s.zarr", {"v": {"split": "val", "stages": stages}})
    store = open_store(tmp_path / "s.zarr")
    found, missing = contestants(store, [], ("centre_bias", "flow_magnitude", "uniform"))
    assert list(found) == ["uniform"]
    assert "no complete videos in split 'train'" in missing["centre_bias"]
    assert "no optical flow" in missing["flow_magnitude"]
    with pytest.raises(StoreError, match="not recorded how the density of 'v' was blurred"):
        baselines.one_against_others(Truth(store, "v"), 0, 20)


def test_only_frames_that_count_in_a_mask_are_scored(tmp_path: Path) -> None:
    write_small_store(tmp_path / "s.zarr", {"v": {}, "w": {}, "x": {}})
    with (tmp_path / "list.csv").open("w") as file:
        file.write("video,frame,mask\n")
        for number in range(60):  # 30 a second; the store has 10
            file.write(f"v,{number},{number in (15, 30)}\nw,{number},False\n")
    attach_masks(str(tmp_path / "s.zarr"), tmp_path / "list.csv", "meta")
    store = open_store(tmp_path / "s.zarr")
    masks = stored_masks(store, list(store), "meta")
    assert list(masks) == ["v"]
    counted = int(masks["v"].sum())
    assert 0 < counted < 20
    scores = evaluate(store, {"flow": baselines.stored("density")}, masks=masks)
    assert list(scores.tables["flow"]["videos"]) == ["v"]
    assert scores.tables["flow"]["dataset"]["cc"]["frames"] == counted
    with pytest.raises(RecipeError, match="masks there: mask_meta"):
        stored_masks(store, list(store), "other")


def test_what_is_missing_is_said(store: Store) -> None:
    with pytest.raises(StoreError, match="foveal predict"):
        score(store, ["nobody"])
    with pytest.raises(RecipeError, match="unknown baseline 'chance'"):
        contestants(store, [], ["chance"])
    with pytest.raises(RecipeError, match="nothing to score"):
        evaluate(store, {})
    assert predictions_in(store, ["001", "601"]) == ["saliency_inverse", "saliency_oracle"]


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_predict_and_evaluate_from_the_command_line(store: Store, in_folder: Path) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    url = str(shutil.copytree(store.location.url, "store.zarr"))
    options = ("--set", "options={width: 0.05, input_size: [16, 32]}", "--set", "iterations=2")
    trained = json.loads(run("train", "salbce", "--store", url, *options, "--json"))
    assert trained["iterations"] == 2
    predicted = json.loads(run("predict", "runs/salbce", "--store", url, "--json"))
    assert predicted["array"] == "saliency_salbce"
    assert {video["status"] for video in predicted["videos"]} == {"complete"}
    command = ("evaluate", url, "salbce", "--split", "val", "--metrics", "nss,cc")
    scores = json.loads(run(*command, "--json", "--csv", "scores.csv"))
    assert set(scores["contestants"]) == {"saliency_salbce", *BASELINES}
    assert (in_folder / "scores.csv").read_text().startswith("contestant,of,video,nss,cc\n")
    shown = run(*command, "--per-video")
    assert "mean of videos" in shown
    assert "\n601" in shown
