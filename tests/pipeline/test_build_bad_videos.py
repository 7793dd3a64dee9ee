"""One bad video does not stop the night: it is set aside with a reason, the others are whole."""

from __future__ import annotations

import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from builds import build, recipe_values, write_raw

from foveal.errors import RecipeError
from foveal.pipeline.build.run import Status
from foveal.pipeline.demo import encode_video
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.location import Location
from foveal.storage.reader import open_store
from foveal.storage.verify import verify

VIDEO, GAZE = "video/002.AVI", "exportdata_train"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "dhf1k")


@pytest.fixture
def raw(good: Path, tmp_path: Path) -> Path:
    root = tmp_path / "raw"
    shutil.copytree(good, root)
    return root


def zero_bytes(root: Path) -> None:
    (root / VIDEO).write_bytes(b"")


def text(root: Path) -> None:
    (root / VIDEO).write_text("see video 003\n" * 500)


def audio_only(root: Path) -> None:
    (root / VIDEO).unlink()
    with wave.open(str(root / VIDEO), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))


def truncated(root: Path) -> None:
    content = (root / VIDEO).read_bytes()
    (root / VIDEO).write_bytes(content[: len(content) * 2 // 3])


def no_frames(root: Path) -> None:
    # An AVI that ends with its header: streams, but not one packet.
    content = (root / VIDEO).read_bytes()
    (root / VIDEO).write_bytes(content[: content.index(b"movi") + 4])


def gaze_missing(root: Path) -> None:
    for path in (root / GAZE).rglob("*_Trail002.txt"):
        path.unlink()


def gaze_garbled(root: Path) -> None:
    path = root / GAZE / "P02" / "P02_Trail002.txt"
    lines = path.read_text().splitlines(keepends=True)
    lines[7] = "garbage\there\n"
    path.write_text("".join(lines))


def gaze_empty(root: Path) -> None:
    for path in (root / GAZE).rglob("*_Trail002.txt"):
        path.write_text(path.read_text().splitlines(keepends=True)[0])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (zero_bytes, "002.AVI.*empty"),
        (text, "002.AVI"),
        (audio_only, "002.AVI.*no video stream"),
        (truncated, "002.AVI"),
        (no_frames, "002.AVI"),
        (gaze_missing, "no gaze of video 002"),
        (gaze_garbled, "P02_Trail002.txt.*line 8"),
        (gaze_empty, "002"),
    ],
)
def test_a_bad_video_is_quarantined_with_its_reason(
    raw: Path, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    damage(raw)
    recipe = Recipe.parse(recipe_values(raw, tmp_path / "store.zarr"))
    results, index = build(recipe)
    assert results["002"].status is Status.QUARANTINED
    assert index.loc["002", "status"] == "quarantined"
    assert index["reason"].str.contains(reason, regex=True)["002"], index.loc["002", "reason"]
    assert (index["status"].drop("002") == "complete").all()
    assert verify(Location(recipe.store)) == []
    assert len(open_store(recipe.store)["601"].variables) > 5


def test_a_quarantined_video_is_left_alone_until_it_changes(raw: Path, tmp_path: Path) -> None:
    recipe = Recipe.parse(recipe_values(raw, tmp_path / "store.zarr"))
    good = (raw / VIDEO).read_bytes()
    truncated(raw)
    first, _ = build(recipe)
    again, index = build(recipe)
    assert again["002"].status is Status.QUARANTINED
    assert again["002"].wall_seconds == 0
    assert again["002"].reason == first["002"].reason
    assert index.loc["002", "status"] == "quarantined"
    retried, _ = build(recipe, retry=True)
    assert retried["002"].status is Status.QUARANTINED
    (raw / VIDEO).write_bytes(good)
    mended, index = build(recipe)
    assert mended["002"].status is Status.COMPLETE
    assert index.loc["002", "status"] == "complete"
    assert index.loc["002", "reason"] == ""


def test_a_video_turned_bad_keeps_what_was_complete(raw: Path, tmp_path: Path) -> None:
    recipe = Recipe.parse(recipe_values(raw, tmp_path / "store.zarr"))
    build(recipe)
    gaze_garbled(raw)
    results, index = build(recipe)
    assert results["002"].status is Status.QUARANTINED
    assert index.loc["002", "status"] == "quarantined"
    assert {"frames", "flow_tvl1"} <= set(open_store(recipe.store)["002"].variables)


def published(root: Path, store: Path, **dataset: object) -> Recipe:
    section = {"kind": "dhf1k", "root": str(root), "ground_truth": "import", "splits": ["train"]}
    values = recipe_values(root, store, dataset=section | dataset, flow=[])
    return Recipe.parse(values)


def test_fewer_maps_than_frames_quarantine_or_truncate_by_name(raw: Path, tmp_path: Path) -> None:
    for folder in ("maps", "fixation"):
        (raw / "annotation/0001" / folder / "0020.png").unlink()
    strict, _ = build(published(raw, tmp_path / "strict.zarr"), only=["001"])
    assert strict["001"].status is Status.QUARANTINED
    assert "20 frames declared, but the annotation has 19" in strict["001"].reason
    assert "truncate_to_shorter" in strict["001"].reason
    recipe = published(raw, tmp_path / "cut.zarr", reconcile="truncate_to_shorter")
    cut, _ = build(recipe, only=["001"])
    assert cut["001"].status is Status.COMPLETE
    data = open_store(recipe.store)["001"]
    assert data.sizes["time"] == len(data["density"]) == 19


def test_published_maps_are_kept_value_for_value(raw: Path, tmp_path: Path) -> None:
    recipe = published(raw, tmp_path / "s.zarr")
    recipe = Recipe.parse(recipe.resolved() | {"density": {"preset": "published"}})
    results, _ = build(recipe, only=["001"])
    assert results["001"].status is Status.COMPLETE, results["001"].reason
    density = open_store(recipe.store)["001"]["density"].values
    assert len(density) == 20
    for frame, stored in enumerate(density, start=1):
        picture = raw / "annotation/0001/maps" / f"{frame:04d}.png"
        np.testing.assert_array_equal(stored, cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE))


def test_published_maps_without_import_are_refused(raw: Path, tmp_path: Path) -> None:
    values = recipe_values(raw, tmp_path / "s.zarr", density={"preset": "published"})
    with pytest.raises(RecipeError, match=r"needs dataset\.ground_truth: import"):
        Recipe.parse(values)


def test_more_maps_than_frames_quarantine(raw: Path, tmp_path: Path) -> None:
    first = raw / "annotation/0001"
    for folder in ("maps", "fixation"):
        shutil.copy(first / folder / "0020.png", first / folder / "0021.png")
    results, _ = build(published(raw, tmp_path / "strict.zarr"), only=["001"])
    assert "20 frames declared, but the annotation has 21" in results["001"].reason


def test_a_clip_of_one_frame_has_no_pair_but_everything_else(raw: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (1, 72, 128, 3), np.uint8)
    (raw / VIDEO).unlink()
    encode_video(iter(picture), raw / VIDEO, 30.0)
    recipe = Recipe.parse(recipe_values(raw, tmp_path / "store.zarr"))
    results, _ = build(recipe, only=["002"])
    assert results["002"].status is Status.COMPLETE, results["002"].reason
    data = open_store(recipe.store)["002"]
    assert data["flow_tvl1"].shape == (0, 24, 32, 2)
    assert data["density"].shape == (1, 36, 64)
