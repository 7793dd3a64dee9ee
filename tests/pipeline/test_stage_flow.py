"""Flow in the pipeline: any estimator, encodings within their error, a logged fallback."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from builds import build, recipe_values, write_raw
from numpy.typing import NDArray

from foveal.errors import RecipeError
from foveal.models import flow
from foveal.models.flow import make_estimator
from foveal.models.flow.errors import FlowDeviceError
from foveal.models.flow.resize import resize_flow
from foveal.pipeline.build.run import Status
from foveal.pipeline.demo import load_true_flow
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Video
from foveal.storage.location import Location
from foveal.storage.marks import read_marks
from foveal.storage.reader import open_store
from foveal.storage.verify import verify


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "dhf1k")


def built(raw: Path, store: Path, only: str = "002", **flow: Any) -> Any:
    values = recipe_values(raw, store, flow=[flow], fixations=None, density=None, frames=None)
    results, _ = build(Recipe.parse(values), only=[only])
    assert results[only].status is Status.COMPLETE, results[only].reason
    return open_store(str(store))[only]


def frames_of(raw: Path, video: str) -> NDArray[np.uint8]:
    clip = Video(video, None, raw / "video" / f"{video}.AVI")
    return np.concatenate([batch.frames for batch in decode(clip, probe(clip))])


def resized(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    area = cv2.INTER_AREA
    return np.stack([cv2.resize(one, size[::-1], interpolation=area) for one in frames])


def test_a_learned_estimator_passes_the_seam(raw: Path, tmp_path: Path) -> None:
    data = built(raw, tmp_path / "s.zarr", method="raft_small", weights="random", size=[32, 48])
    estimator = make_estimator("raft_small", weights="random", device="cpu")
    expected = estimator(resized(frames_of(raw, "002")[-6:], (32, 48)))
    np.testing.assert_allclose(data["flow_raft_small"][-5:], expected, atol=2e-2)
    mark = read_marks(Location(tmp_path / "s.zarr"), "002")["flow_raft_small"]
    assert mark.provenance["weights"] == "random"


@pytest.mark.parametrize(
    ("encoding", "error_px"), [("float32", 0.0), ("float16", 2e-3), ("fixed16", 1 / 128)]
)
def test_every_encoding_reads_back_as_pixels(
    raw: Path, tmp_path: Path, encoding: str, error_px: float
) -> None:
    data = built(raw, tmp_path / "s.zarr", method="tvl1", size=[24, 32], encoding=encoding)
    expected = make_estimator("tvl1")(resized(frames_of(raw, "002"), (24, 32)))
    np.testing.assert_allclose(data["flow_tvl1"].values, expected, atol=error_px + 1e-6)


def test_lsts_computes_small_and_stores_large(raw: Path, tmp_path: Path) -> None:
    sizes = {"compute_size": [24, 32], "size": [48, 64], "encoding": "float32"}
    small = make_estimator("tvl1")(resized(frames_of(raw, "002"), (24, 32)))
    for scale in (True, False):
        data = built(
            raw, tmp_path / f"{scale}.zarr", method="tvl1", scale_flow_on_resize=scale, **sizes
        )
        expected = resize_flow(small, (48, 64), scale_flow_on_resize=scale)
        np.testing.assert_allclose(data["flow_tvl1"].values, expected, atol=1e-6)


def test_tvl1_on_the_demo_is_near_the_truth(raw: Path, tmp_path: Path) -> None:
    """Mean end-point error in pixels of the video, where nothing is hidden or mixed."""
    data = built(raw, tmp_path / "s.zarr", only="001", method="tvl1", encoding="float32")
    truth = load_true_flow(raw, 1)
    estimate = data["flow_tvl1"].values[:, :: truth.stride, :: truth.stride]
    error_px = np.linalg.norm(estimate - truth.flow.astype(np.float32), axis=-1)
    seen = ~(truth.occluded | truth.mixed)
    length_px = np.linalg.norm(truth.flow.astype(np.float32), axis=-1)[seen].mean()
    assert error_px[seen].mean() < 0.2
    assert error_px[seen].mean() < 0.25 * length_px


def test_auto_on_a_machine_without_gpu_says_that_it_takes_tvl1(
    raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = recipe_values(raw, tmp_path / "s.zarr", flow=[{"method": "auto", "size": [24, 32]}])
    with caplog.at_level(logging.WARNING):
        results, _ = build(Recipe.parse(values | {"device": "cpu"}), only=["002"])
    assert "flow_tvl1" in results["002"].stages
    assert "tvl1" in caplog.text.lower()
    shown = read_marks(Location(tmp_path / "s.zarr"), "002")["flow_tvl1"].provenance
    assert shown["because"]


class Dying:
    """An estimator whose device is lost."""

    name = "raft"

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise FlowDeviceError("raft failed on cuda:0: out of memory with one pair")

    def parameters(self) -> dict[str, Any]:
        return {"method": "raft"}

    def provenance(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> None:
    real = flow.make_estimator

    def chosen(method: str, **settings: Any) -> Any:
        return Dying() if method == "raft" else real(method, **settings)

    monkeypatch.setattr(flow, "make_estimator", chosen)


def test_a_lost_gpu_falls_back_loudly(
    dying: None, raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flow = [{"method": "raft", "size": [24, 32], "fallback": "tvl1"}]
    recipe = Recipe.parse(recipe_values(raw, tmp_path / "s.zarr", flow=flow))
    with caplog.at_level(logging.WARNING):
        results, index = build(recipe, only=["002"])
    assert results["002"].status is Status.COMPLETE
    assert "flow_tvl1 instead" in results["002"].reason
    assert "falling back to flow_tvl1" in caplog.text
    assert index.loc["002", "status"] == "partial"
    assert "out of memory" in index.loc["002", "reason"]
    data = open_store(recipe.store)["002"]
    assert "flow_tvl1" in data
    assert "flow_raft" not in data
    shown = read_marks(Location(recipe.store), "002")["flow_tvl1"].provenance
    assert "out of memory" in shown["fallback_because"]
    assert verify(Location(recipe.store)) == []


def test_without_a_fallback_the_video_fails_and_keeps_what_was_whole(
    dying: None, raw: Path, tmp_path: Path
) -> None:
    before = Recipe.parse(recipe_values(raw, tmp_path / "s.zarr", flow=[]))
    build(before, only=["002"])
    flow = [{"method": "raft", "size": [24, 32]}]
    recipe = Recipe.parse(recipe_values(raw, tmp_path / "s.zarr", flow=flow))
    results, _ = build(recipe, only=["002"])
    assert results["002"].status is Status.FAILED
    assert {"frames", "density"} <= set(open_store(recipe.store)["002"].variables)


def test_quality_figures_stand_in_the_index(raw: Path, tmp_path: Path) -> None:
    built(raw, tmp_path / "s.zarr", method="tvl1", size=[48, 64])
    figures = open_store(str(tmp_path / "s.zarr")).videos.loc["002", "flow_quality"]["flow_tvl1"]
    assert figures["pairs"] == 8
    assert 0 < figures["mean_magnitude_px"] <= figures["p99_magnitude_px"] + 1 / 64
    assert figures["photometric_error"] < figures["photometric_error_unwarped"]
    assert figures["non_finite_values"] == 0
    assert figures["flags"] == []


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ([{"method": "tvl1", "weights": "random"}], "tvl1 has no weights"),
        ([{"method": "auto"}, {"method": "tvl1"}], "give method auto alone"),
        ([{"method": "tvl1"}, {"method": "tvl1"}], "give each method once"),
        ([{"method": "tvl1", "encoding": "jpeg"}], "float16"),
    ],
)
def test_wrong_flow_sections_are_refused(flow: list[dict[str, str]], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.parse(recipe_values(Path("/r"), "/s.zarr", flow=flow))


def test_an_unknown_method_is_named(raw: Path, tmp_path: Path) -> None:
    recipe = Recipe.parse(recipe_values(raw, tmp_path / "s.zarr", flow=[{"method": "farneback"}]))
    with pytest.raises(RecipeError, match="farneback"):
        build(recipe)
