"""A small challenge from its files: scores against the unpacked submission, ensembles, centre."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from builds import build, write_prediction
from miniatures import mouse_saliency as miniature
from numpy.typing import NDArray
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import RecipeError, StoreError
from foveal.pipeline.export import submission
from foveal.pipeline.export.submission import write_submission
from foveal.pipeline.learn.centre import Centre, fit_centre, predict_centre
from foveal.pipeline.learn.ensemble import LOGIT_EPS, predict_ensemble
from foveal.pipeline.learn.evaluate import contestants, evaluate
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.video.ffmpeg import ffmpeg_executable
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Video
from foveal.storage.reader import Store, open_store

CUT, BROKEN = "video_cut", "video_broken"
GRID = (18, 24)
Array = NDArray[Any]


def smooth(seed: int, frames: int, size: tuple[int, int] = GRID) -> Array:
    rng = np.random.default_rng(seed)
    noise = rng.random((frames, *size)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(one, (0, 0), 3) for one in noise]).astype(np.float16)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The miniature, a test video whose counts differ, a broken one; and their store."""
    folder = tmp_path_factory.mktemp("challenge")
    root = folder / "NTIRE26"
    miniature.write_ntire2026(root)
    miniature.write_clip(root, CUT, "Test", miniature.LANDSCAPE, frames=(8, 5, 7))
    miniature.write_clip(root, BROKEN, "Test", miniature.LANDSCAPE)
    (root / "Videos" / f"{BROKEN}.mp4").write_bytes(b"no video")
    lists = json.loads((root / "TrainTestSplit.json").read_text())
    lists["public_test"] += [CUT, BROKEN]
    miniature.write_split(root, lists)
    dataset = {"kind": "mouse_saliency", "root": str(root), "reconcile": "truncate_to_shorter"}
    values = {
        "dataset": dataset,
        "store": str(folder / "store.zarr"),
        "fixations": {},
        "density": {"preset": "published"},
    }
    build(Recipe.parse(values))
    store = open_store(folder / "store.zarr")
    for number, video in enumerate(store.select()):
        frames = store[video].sizes["time"]
        write_prediction(store, video, "one", smooth(number, frames))
        write_prediction(store, video, "two", 5 * smooth(number + 9, frames, (9, 12)) - 1)
    return root, folder / "store.zarr"


@pytest.fixture
def store(built: tuple[Path, Path], tmp_path: Path) -> Store:
    shutil.copytree(built[1], tmp_path / "store.zarr")
    return open_store(tmp_path / "store.zarr")


def unpacked(path: Path, folder: Path) -> list[Array]:
    """Every picture of a video, as ffmpeg writes them to PNG, read again and stretched."""
    folder.mkdir(parents=True)
    command = [ffmpeg_executable(), "-v", "error", "-i", str(path), str(folder / "%03d.png")]
    subprocess.run(command, check=True)
    pictures = []
    for name in sorted(folder.iterdir()):
        picture = cv2.imread(str(name), cv2.IMREAD_UNCHANGED)
        grey = (picture.mean(axis=2) if picture.ndim == 3 else picture).astype(np.float64)
        span = grey.max() - grey.min()
        pictures.append((grey - grey.min()) / (span + np.finfo(np.float32).eps))
    return pictures


def test_the_store_scores_what_its_submission_scores_unpacked(
    built: tuple[Path, Path], store: Store, tmp_path: Path
) -> None:
    root, video = built[0], miniature.PUBLIC
    wanted, _ = contestants(store, ["one"], ())
    table = evaluate(store, wanted, videos=[video], variant="ntire2026").tables["saliency_one"]
    found = {name: entry["mean_of_videos"] for name, entry in table["dataset"].items()}

    write_submission(store.location.url, tmp_path / "submission", "one", videos=[video])
    predicted = unpacked(tmp_path / "submission" / f"{video}.mp4", tmp_path / "png" / "p")
    published = unpacked(root / "SaliencyTest" / "Test" / f"{video}.mp4", tmp_path / "png" / "q")
    listed = json.loads((root / "FixationsTest" / "Test" / video / "fixations.json").read_text())
    scores: dict[str, list[float]] = {"cc": [], "sim": [], "nss": [], "auc_judd": []}
    for map_, q, points in zip(predicted, published, listed, strict=True):
        p = cv2.resize(map_.astype(np.float32), (q.shape[1], q.shape[0])).astype(np.float64)
        a, b = (one - one.mean() for one in (p, q))
        scores["cc"].append((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
        scores["sim"].append(np.minimum(p / p.sum(), q / q.sum()).sum())
        rows = [point[:2] for point in points if 0 <= point[0] < q.shape[0]]
        if not rows:
            continue
        values = np.array([p[y, x] for y, x in rows])
        scores["nss"].append(((values - p.mean()) / p.std()).mean())
        n = len(values)
        distinct = 1 if all(y == x for y, x in rows) else 2
        above = [(p >= value).sum() for value in sorted(values)[::-1]]
        fp = [0, *((count - k) / (p.size - distinct) for k, count in enumerate(above, 1)), 1]
        scores["auc_judd"].append(float(np.trapezoid([0, *(np.arange(n) + 1) / n, 1], fp)))
    assert table["dataset"]["nss"]["excluded"] == {"no_fixations": 1}
    for name, values in scores.items():
        assert found[name] == pytest.approx(np.mean(values), abs=2e-6), name


def test_scores_against_another_density_are_not_passed_off_as_the_challenges(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    values = {
        "dataset": {"kind": "mouse_saliency", "root": str(built[0]), "splits": ["train"]},
        "store": str(tmp_path / "blurred.zarr"),
        "fixations": {},
        "density": {"sigma_px": 4.0, "size": [24, 32]},
    }
    build(Recipe.parse(values))
    for url, remarks in ((tmp_path / "blurred.zarr", 1), (built[1], 0)):
        opened = open_store(url)
        wanted, _ = contestants(opened, [], ("uniform",))
        video = miniature.TRAIN[0]
        scores = evaluate(opened, wanted, videos=[video], variant="ntire2026")
        assert len(scores.remarks) == remarks
        assert evaluate(opened, wanted, videos=[video]).remarks == ()


# The submission


def test_a_submission_lists_what_is_missing_and_has_the_frames_that_are_counted(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "submission"
    done = {one.video: one for one in write_submission(store.location.url, folder, "saliency_one")}
    assert {name: one.status for name, one in done.items()} == {
        miniature.PUBLIC: "written",
        miniature.PRIVATE: "written",
        CUT: "written",
        BROKEN: "missing",
    }
    assert "video_broken.mp4" in done[BROKEN].reason
    # 8 frames in the video, points of 5, 7 maps: 5 are stored, the organisers count 7.
    assert (done[CUT].frames, done[CUT].repeated) == (7, 2)
    for name in (miniature.PUBLIC, miniature.PRIVATE, CUT):
        info = probe(Video(name, None, folder / f"{name}.mp4"))
        assert (info.frames, info.fps, info.size) == (done[name].frames, miniature.FPS, GRID)
    assert sorted(path.stem for path in folder.iterdir()) == sorted(
        (miniature.PUBLIC, miniature.PRIVATE, CUT)
    )


def test_a_submission_at_the_videos_size(store: Store, tmp_path: Path) -> None:
    write_submission(store.location.url, tmp_path, "one", split="private_test", source_size=True)
    info = probe(Video("", None, tmp_path / f"{miniature.PRIVATE}.mp4"))
    assert info.size == miniature.VERTICAL


def test_a_file_that_does_not_come_back_as_written_is_removed_and_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = submission.encode_video
    changes = {
        "it decodes to 7 frames, 8 are wanted": lambda frames, rate: (list(frames)[:-1], rate),
        "it decodes to 24x18 at 25 frames per second": lambda frames, rate: (frames, 25),
        "frame 3 decodes to other values": lambda frames, rate: (
            [255 - one if number == 3 else one for number, one in enumerate(frames)],
            rate,
        ),
    }
    for message, change in changes.items():

        def wrong(frames: Any, path: Path, rate: Any, codec: str, change: Any = change) -> int:
            frames, rate = change(frames, rate)
            return right(frames, path, rate, codec)

        monkeypatch.setattr(submission, "encode_video", wrong)
        done = write_submission(store.location.url, tmp_path, "one", videos=[miniature.PUBLIC])
        assert done[0].status == "wrong"
        assert message in done[0].reason
        assert not list(tmp_path.glob("*.mp4"))


def test_the_command_ends_with_3_where_anything_is_missing(store: Store, tmp_path: Path) -> None:
    words = ["export", store.location.url, str(tmp_path / "out"), "--array", "one"]
    words += ["--submission", "ntire2026"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 3
    told = {one["video"]: one["status"] for one in json.loads(done.stdout)["videos"]}
    assert told[BROKEN] == "missing"
    assert CliRunner().invoke(app, [*words, "--split", "private_test"]).exit_code == 3, (
        "files of other videos lie there"
    )
    words[2] = str(tmp_path / "fresh")
    assert CliRunner().invoke(app, [*words, "--split", "private_test"]).exit_code == 0


# Ensembles


@pytest.mark.parametrize("mode", ["mean", "logit", "max"])
def test_an_ensemble_is_what_its_formula_says(mode: Any, store: Store) -> None:
    video = miniature.PUBLIC
    results = predict_ensemble(store.location.url, ["one", "saliency_two"], "both", mode)
    assert {one.status for one in results} == {"complete"}
    maps = []
    for name in ("one", "two"):
        stored = store.array(video, f"saliency_{name}")[:].astype(np.float32)
        grid = np.stack([cv2.resize(one, GRID[::-1]) for one in stored])
        low, high = (np.array([f(one) for one in grid])[:, None, None] for f in (np.min, np.max))
        maps.append((grid - low) / (high - low))
    if mode == "logit":
        inside = np.clip(maps, LOGIT_EPS, 1 - LOGIT_EPS)
        expected = 1 / (1 + np.exp(-np.mean(np.log(inside / (1 - inside)), axis=0)))
    else:
        expected = np.mean(maps, axis=0) if mode == "mean" else np.max(maps, axis=0)
    found = store.array(video, "saliency_both")
    np.testing.assert_allclose(found[:], expected, atol=1e-3)
    assert found.attrs["members"] == ["saliency_one", "saliency_two"]
    assert open_store(store.location.url).infos(video)["saliency_both"].role == "prediction"


def test_an_ensemble_is_made_again_only_where_a_member_changed(store: Store) -> None:
    def made() -> dict[str, str]:
        results = predict_ensemble(store.location.url, ["one", "two"], "both")
        return {one.video: one.status for one in results}

    assert set(made().values()) == {"complete"}
    assert set(made().values()) == {"unchanged"}
    write_prediction(store, CUT, "two", smooth(99, 5))
    assert {name for name, status in made().items() if status == "complete"} == {CUT}
    for members, name in ((["one"], "x"), (["one", "one"], "x"), (["one", "x"], "x")):
        with pytest.raises(RecipeError, match="two or more different"):
            predict_ensemble(store.location.url, members, name)
    with pytest.raises(StoreError, match="no complete saliency_none"):
        predict_ensemble(store.location.url, ["one", "none"], "x")


# The centre prior


def test_a_centre_is_fitted_to_the_points_of_each_orientation(store: Store) -> None:
    centres = fit_centre(store, store.select("train"))
    for key, (height, width) in (
        ("landscape", miniature.LANDSCAPE),
        ("vertical", miniature.VERTICAL),
    ):
        inside = [
            ((one[1] + 0.5) / width, (one[0] + 0.5) / height)
            for listed in miniature.points((height, width))
            for one in listed
            if 0 <= one[0] < height
        ]
        expected = [*np.mean(inside, axis=0), *np.std(inside, axis=0), len(inside)]
        centre = centres[key]
        found = [centre.x, centre.y, centre.sigma_x, centre.sigma_y, centre.points]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_centre_is_one_map_for_every_frame_and_video(store: Store) -> None:
    centres, results = predict_centre(store.location.url, fit_split="train")
    assert {one.status for one in results} == {"complete"}
    maps = store.array(CUT, "saliency_centre")[:]
    assert maps.shape == (5, 120, 160)
    assert (maps == maps[0]).all()
    centre = centres["landscape"]
    y, x = np.unravel_index(np.argmax(maps[0].astype(float)), maps[0].shape)
    assert abs((x + 0.5) / 160 - centre.x) <= 1 / 160
    assert abs((y + 0.5) / 120 - centre.y) <= 1 / 120
    assert store.array(miniature.PRIVATE, "saliency_centre").shape == (8, 160, 90)
    unfitted, _ = predict_centre(store.location.url, "plain", sigma=0.1)
    assert unfitted["vertical"] == Centre(sigma_x=0.1, sigma_y=0.1)
    with pytest.raises(StoreError, match="too few to fit"):
        predict_centre(store.location.url, fit_split="private_test")


def test_observers_that_are_not_told_apart_do_not_predict_each_other(store: Store) -> None:
    _, missing = contestants(store, ["one"], ("one_against_others",))
    assert "do not say whose they are" in missing["one_against_others"]
