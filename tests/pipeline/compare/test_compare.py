"""Figures of models side by side: the right moments, the right numbers, one page."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from small_stores import write_small_store
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import RecipeError
from foveal.pipeline.compare.compare import compare
from foveal.pipeline.compare.draw import peak_frames
from foveal.pipeline.learn.evaluate import contestants, evaluate
from foveal.pipeline.learn.import_maps import import_maps
from foveal.storage.reader import open_store

FRAMES = {"a": 9, "b": 6, "c": 7}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Model `same` is the density; `flip` is it too in video b, and upside down in the others."""
    folder = tmp_path_factory.mktemp("compare")
    stages = ("time", "frames", "density", "fixations")
    videos = {name: {"frames": n, "stages": stages} for name, n in FRAMES.items()}
    videos["withheld"] = {"frames": 4, "stages": ("time", "frames"), "split": "test"}
    write_small_store(folder / "small.zarr", videos)
    store = open_store(folder / "small.zarr")
    for name in ("same", "flip"):
        for video in videos:
            maps = np.ones((4, 6, 8), np.uint8)
            if video in FRAMES:
                maps = np.asarray(store.array(video, "density")[:])
            turned = maps[:, ::-1] if name == "flip" and video != "b" else maps
            (folder / name / video).mkdir(parents=True)
            for k, one in enumerate(turned):
                cv2.imwrite(str(folder / name / video / f"{k + 1}.png"), one)
        import_maps(str(store.location), name, folder / name)
    return str(folder / "small.zarr")


def test_figures_and_numbers_are_those_of_the_stored_maps(url: str, tmp_path: Path) -> None:
    made = compare(
        url, tmp_path / "out", ["same", "flip"], videos=["a", "b"], split="train", metric="cc",
        frames=2,
    )  # fmt: skip
    figures = ("sheet", "difference", "time_a", "time_b")
    expected = [f"{name}.{suffix}" for name in figures for suffix in ("png", "pdf")]
    assert sorted(made.files) == sorted(["index.html", "videos.csv", "frames.csv", *expected])
    for name in figures:
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 10
        assert (tmp_path / "out" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    store = open_store(url)
    wanted, _ = contestants(store, ["same", "flip"], [])
    scores = evaluate(store, wanted, split="train", metrics=("cc",)).tables
    assert made.between == ("saliency_same", "saliency_flip")
    for video in FRAMES:
        for model in made.between:
            mean = scores[model]["videos"][video]["metrics"]["cc"]["mean"]
            assert made.means[video][model] == pytest.approx(mean)
        assert made.means[video]["saliency_same"] == pytest.approx(1)
    assert made.means["b"]["saliency_flip"] == pytest.approx(1)
    assert made.means["a"]["saliency_flip"] < 0.5
    rows = list(csv.DictReader((tmp_path / "out" / "frames.csv").read_text().splitlines()))
    assert len(rows) == FRAMES["a"] + FRAMES["b"]
    of_a = [float(row["cc_saliency_flip"]) for row in rows if row["video"] == "a"]
    assert np.mean(of_a) == pytest.approx(made.means["a"]["saliency_flip"])
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("data:image/png;base64,") == len(figures)
    assert "http" not in page.replace("http://www.w3.org", "")


def test_videos_without_ground_truth_are_drawn_without_scores(url: str, tmp_path: Path) -> None:
    arguments = ["compare", url, "same", "--videos", "withheld", "--split", "test", "--frames", "1"]
    done = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert "has no complete" in found["not_scored"]["withheld"]
    assert (found["means"], found["between"]) == ({}, None)
    assert "sheet.png" in found["files"]
    assert "time_withheld.png" not in found["files"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"models": ["nobody"]}, "saliency_nobody; all have saliency_flip, saliency_same"),
        ({"between": ("same", "same")}, "name two of"),
        ({"between": ("same", "x")}, "name two of"),
        ({"frames": 0}, "1 to 12"),
        ({"metric": "nsss"}, "nsss"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    url: str, tmp_path: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        compare(url, tmp_path / "out", videos=["a"], split="train", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_peaks_are_the_extremes_apart_from_each_other() -> None:
    first = np.full(100, 1.0)
    second = np.full(100, 0.5)
    first[20], second[60], first[62], first[90] = 5.0, 4.0, 0.0, 0.2
    scores = {"saliency_x": first, "saliency_y": second}
    assert peak_frames(scores, ("saliency_x", "saliency_y")) == [
        (0, "x best"), (20, "x ahead"), (60, "y ahead"), (90, "x worst"),
    ]  # fmt: skip
    # Frame 62 is the worst, but too near to 60; 20 the best, but shown already.
    assert peak_frames({"saliency_x": first}, None) == [(20, "x best"), (62, "x worst")]
    lower = peak_frames({"saliency_x": first}, None, higher_is_better=False)
    assert lower == [(20, "x worst"), (62, "x best")]
    never = peak_frames(
        {"saliency_x": first, "saliency_z": first - 1}, ("saliency_x", "saliency_z")
    )
    assert not any(why == "z ahead" for _, why in never)
    assert peak_frames({"saliency_x": np.full(5, np.nan)}, None) == []
