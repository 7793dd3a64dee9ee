"""Scores that `foveal evaluate` keeps in a store, and what the report makes of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from builds import build, recipe_values, write_prediction, write_raw
from typer.testing import CliRunner, Result

from foveal.cli import app
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.report.report import report_page
from foveal.storage.evaluation import read_evaluation
from foveal.storage.location import Location
from foveal.storage.marks import read_journal
from foveal.storage.reader import Store, open_store
from foveal.storage.schema import ArraySpec
from foveal.storage.verify import verify
from foveal.storage.writer import VideoWriter


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The demo's three clips; the density itself and its inverse as predictions."""
    values = recipe_values(write_raw(tmp_path / "raw"), tmp_path / "store.zarr", flow=[])
    build(Recipe.parse(values))
    store = open_store(tmp_path / "store.zarr")
    for video in store:
        density = np.asarray(store.array(video, "density")[:], np.float32)
        write_prediction(store, video, "oracle", 0.5 * density + 3)
        write_prediction(store, video, "inverse", 255 - density)
    return store


def evaluate(store: Store, *options: str) -> Result:
    done = CliRunner().invoke(app, ["evaluate", store.location.url, *options])
    assert done.exit_code == 0, done.output
    return done


def seen(store: Store) -> tuple[str, list[str]]:
    """The report's section on evaluation: its words, and what its pictures are of."""
    page = report_page(open_store(store.location.url))
    part = re.search("<h2>Evaluation</h2>(.*?)</section>", page, re.DOTALL)
    assert part
    pictures = re.findall('<img [^>]*alt="([^"]*)"', part[1])
    return " ".join(re.sub("<[^>]*>", " ", part[1]).split()), pictures


def test_the_report_shows_the_table_and_the_best_and_worst_frames(store: Store) -> None:
    assert "<h2>Evaluation</h2>" not in report_page(store)
    told = json.loads(evaluate(store, "--json").stdout)
    kept = read_evaluation(Location(store.location.url))
    assert kept is not None
    assert told["contestants"].keys() == kept["contestants"].keys()
    words, pictures = seen(store)
    assert "3 of 3 videos of the store; metrics as mit defines them" in words
    nss = told["contestants"]["saliency_oracle"]["dataset"]["nss"]["mean_of_videos"]
    assert f" {nss:.3f} 1.000 " in words, "NSS, and CC of the density with itself"
    assert "No flow_magnitude:" in words
    assert sum("under saliency_oracle" in picture for picture in pictures) == 6
    assert sum("under saliency_inverse" in picture for picture in pictures) == 6
    best = told["contestants"]["saliency_oracle"]["best"][0]
    assert f"{best['video']} · frame {best['frame']} best · NSS {best['nss']:.2f}" in words
    assert verify(Location(store.location.url)) == []


def test_scores_of_a_prediction_written_anew_are_not_shown_as_current(store: Store) -> None:
    evaluate(store, "--metrics", "nss", "--split", "val", "--baselines", "none")
    density = np.asarray(store.array("601", "density")[:], np.float32)
    write_prediction(store, "601", "inverse", 250 - density)
    words, pictures = seen(store)
    assert "1 of 1 videos of split val" in words
    assert "Scores of saliency_inverse are out of date" in words
    assert not any("saliency_inverse" in picture for picture in pictures)
    assert any("saliency_oracle" in picture for picture in pictures)
    evaluate(store, "--metrics", "nss", "--split", "val", "--baselines", "none")
    assert "out of date" not in seen(store)[0]


def test_the_centre_bias_ages_with_the_train_split_it_is_made_from(store: Store) -> None:
    evaluate(store, "--metrics", "nss", "--split", "val", "--baselines", "centre_bias,uniform")
    assert "out of date" not in seen(store)[0]
    maps = np.asarray(store.array("001", "density")[:])
    journal = read_journal(store.location, ["001"])[0]["001"]["density"]
    writer = VideoWriter(Location(store.location.url), "001", {})
    writer.invalidate(["density"], [])
    spec = ArraySpec(
        "density",
        ("time", "map_y", "map_x"),
        maps.shape[1:],
        maps.dtype,
        {},
        8,
        8,
        axis="frame",
        kind="map",
        role="ground_truth",
    )
    stage = writer.stage("density", {**journal.identity, "changed": True}, [spec])
    stage.append({"density": maps[:, ::-1]})
    stage.complete({})
    assert "Scores of centre_bias are out of date" in seen(store)[0]


def test_a_store_that_cannot_be_written_to_is_scored_nevertheless(store: Store) -> None:
    (Path(store.location.url) / "evaluation.json/in the way").mkdir(parents=True)
    done = evaluate(store, "--metrics", "nss", "--baselines", "none")
    assert "saliency_oracle" in done.stdout
    assert "not stored for the report" in done.stderr


def test_a_damaged_evaluation_spoils_no_report(store: Store) -> None:
    path = Path(store.location.url) / "evaluation.json"
    path.write_text("{")
    assert "evaluation.json is damaged" in seen(store)[0]
    for nothing in ('{"contestants": {}}', '{"contestants": {}, "metrics": [], "split": 7}'):
        path.write_text(nothing)
        assert "holds no scores that can be shown" in seen(store)[0]
