"""Maps of other models: what fits gets in exactly as it is, what does not is named, not guessed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from small_stores import HEIGHT, WIDTH, write_small_store
from typer.testing import CliRunner

from foveal.cli import app
from foveal.errors import RecipeError
from foveal.pipeline.export.export import export
from foveal.pipeline.learn.evaluate import contestants, evaluate
from foveal.pipeline.learn.import_maps import Imported, import_maps
from foveal.pipeline.video.encode import encode_video
from foveal.pipeline.video.resize import resize_frames
from foveal.storage.reader import Store, open_store
from foveal.storage.verify import verify

FRAMES = 5
SIZE = (16, 24)


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pattern") / "small.zarr"
    stages = ("time", "density", "fixations")
    videos = {"a": {"frames": FRAMES, "stages": stages}, "b": {"frames": 3, "stages": stages}}
    write_small_store(folder, videos)
    return folder


@pytest.fixture
def store(pattern: Path, tmp_path: Path) -> Store:
    shutil.copytree(pattern, tmp_path / "small.zarr")
    return open_store(tmp_path / "small.zarr")


def maps(frames: int = FRAMES, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Map k is 40 everywhere and 200 in a block of four pixels that moves down with k."""
    values = np.full((frames, *size), 40, np.uint8)
    for k in range(frames):
        values[k, 2 * k : 2 * k + 2, 4:6] = 200
    return values


def write_pictures(
    folder: Path, values: NDArray[Any], *, first: int = 1, name: str = "{:04d}.png"
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k, one in enumerate(values):
        assert cv2.imwrite(str(folder / name.format(first + k)), one)


def write_mat(path: Path, values: NDArray[Any], name: str = "salmap") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {name: values})


def only(store: Store, folder: Path, **options: Any) -> Imported:
    (result,), _ = import_maps(str(store.location), "x", folder, videos=["a"], **options)
    return result


def stored(store: Store) -> NDArray[Any]:
    return np.asarray(store.array("a", "saliency_x")[:])


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("name", ["{:04d}.png", "map_{}.png"])
def test_pictures_get_in_exactly(store: Store, tmp_path: Path, first: int, name: str) -> None:
    write_pictures(tmp_path / "theirs" / "a", maps(), first=first, name=name)
    result = only(store, tmp_path / "theirs", source="SalGAN, Pan et al. 2017")
    assert result == Imported("a", "complete", form="pictures", frames=FRAMES, size=SIZE)
    np.testing.assert_array_equal(stored(store), maps())
    mark = store.marks("a")["saliency_x"]
    assert mark.infos["saliency_x"].role == "prediction"
    assert mark.provenance["source"] == "SalGAN, Pan et al. 2017"
    assert mark.provenance["numbered_from"] == first
    assert len(mark.identity["parameters"]["sha256"]) == 64
    assert only(store, tmp_path / "theirs").status == "unchanged"
    write_pictures(tmp_path / "theirs" / "a", maps()[::-1], first=first, name=name)
    assert only(store, tmp_path / "theirs").status == "complete"  # other files, other digest
    np.testing.assert_array_equal(stored(store), maps()[::-1])


def as_matrices(folder: Path) -> None:
    for k, one in enumerate(maps()):
        write_mat(folder / "a" / f"{k + 1}.mat", one / 255)


FORMS: dict[str, Callable[[Path], None]] = {
    "matrices": as_matrices,
    "mat": lambda folder: write_mat(folder / "a.mat", np.moveaxis(maps() / 255, 0, -1)),
}


@pytest.mark.parametrize("form", FORMS)
def test_matlab_files_get_in_as_float32(store: Store, tmp_path: Path, form: str) -> None:
    FORMS[form](tmp_path / "theirs")
    result = only(store, tmp_path / "theirs")
    assert (result.status, result.form, result.size) == ("complete", form, SIZE)
    np.testing.assert_array_equal(stored(store), (maps() / 255).astype(np.float32))


def test_a_grey_video_gets_in_within_what_its_codec_loses(store: Store, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    rgb = np.repeat(maps()[..., None], 3, axis=-1)
    encode_video(iter(rgb), tmp_path / "theirs" / "a.mp4", 10.0, "libx264")
    result = only(store, tmp_path / "theirs")
    assert (result.status, result.form, result.size) == ("complete", "video", SIZE)
    assert np.abs(stored(store).astype(int) - maps()).mean() < 8
    rgb[:, :, :12, 0] = 255
    encode_video(iter(rgb), tmp_path / "theirs" / "a.mp4", 10.0, "libx264")
    assert "coloured" in only(store, tmp_path / "theirs").reason


def test_another_size_is_made_by_the_stated_rule_alone(store: Store, tmp_path: Path) -> None:
    write_pictures(tmp_path / "theirs" / "a", maps())
    only(store, tmp_path / "theirs", size="source")
    expected = resize_frames(maps().astype(np.float32), (HEIGHT, WIDTH))
    np.testing.assert_array_equal(stored(store), expected)
    assert stored(store).mean() == pytest.approx(maps().mean(), rel=0.02)  # by area: keeps the sum
    only(store, tmp_path / "theirs", size=SIZE)
    assert stored(store).dtype == np.uint8  # the size they have: nothing to make


def drop(number: int) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{number:04d}.png").unlink()


def other_size(folder: Path) -> None:
    write_pictures(folder, maps(1, (8, 8)), first=3)


def damage(folder: Path) -> None:
    content = (folder / "0002.png").read_bytes()
    (folder / "0002.png").write_bytes(content[:60])


MISFITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "one is missing inside": (drop(3), "no file of number 3"),
    "one is missing at the end": (drop(5), "no file of number 5"),
    "the first is missing": (drop(1), "first file is number 2"),
    "one too many": (lambda f: write_pictures(f, maps(1), first=6), "no frame for number 6"),
    "a stray picture": (
        lambda f: write_pictures(f, maps(1), first=9, name="mean{}.png"),
        "mean9.png",
    ),
    "another size": (other_size, "is 8x8"),
    "coloured": (
        lambda f: write_pictures(f, np.random.default_rng(0).integers(0, 255, (1, *SIZE, 3))),
        "coloured",
    ),
    "damaged": (damage, "0002.png"),
    "mixed with matrices": (lambda f: write_mat(f / "1.mat", maps()[0]), "both pictures and MAT"),
    "twice": (lambda f: write_mat(f.parent / "a.mat", maps()), "could be its maps"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_what_does_not_fit_is_named_and_nothing_is_written(
    store: Store, tmp_path: Path, misfit: str
) -> None:
    folder = tmp_path / "theirs" / "a"
    write_pictures(folder, maps())
    spoil, said = MISFITS[misfit]
    spoil(folder)
    result = only(store, tmp_path / "theirs")
    assert result.status == "skipped"
    assert said in result.reason
    assert "saliency_x" not in store.infos("a")
    assert not verify(store.location)


def test_files_that_cannot_be_read_leave_the_former_import(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "theirs" / "a"
    write_pictures(folder, maps())
    only(store, tmp_path / "theirs")
    write_pictures(folder, maps()[::-1])
    damage(folder)
    assert only(store, tmp_path / "theirs").status == "skipped"
    np.testing.assert_array_equal(stored(store), maps())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (maps(), "frames seem to come first"),
        (np.full((*SIZE, FRAMES), np.nan), "not finite"),
        (np.zeros((2, 2, 2, FRAMES)), "shape"),
        (np.zeros((*SIZE, FRAMES - 1)), f"4 maps, but the video has {FRAMES} frames"),
    ],
)
def test_matlab_files_that_do_not_fit(
    store: Store, tmp_path: Path, values: NDArray[Any], said: str
) -> None:
    write_mat(tmp_path / "theirs" / "a.mat", values)
    assert said in only(store, tmp_path / "theirs").reason


def test_files_outside_the_folder_are_not_read(store: Store, tmp_path: Path) -> None:
    write_pictures(tmp_path / "elsewhere", maps())
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a").symlink_to(tmp_path / "elsewhere")
    assert "leads out of" in only(store, tmp_path / "theirs").reason


def test_variable_and_inside_are_told_not_guessed(store: Store, tmp_path: Path) -> None:
    both = {"mean": np.zeros(SIZE), "salmap": np.moveaxis(maps(), 0, -1)}
    (tmp_path / "theirs").mkdir()
    scipy.io.savemat(tmp_path / "theirs" / "a.mat", both)
    assert "name one with --variable" in only(store, tmp_path / "theirs").reason
    assert only(store, tmp_path / "theirs", variable="salmap").status == "complete"
    write_pictures(tmp_path / "deep" / "a" / "saliency", maps())
    assert "name that folder with --inside" in only(store, tmp_path / "deep").reason
    assert only(store, tmp_path / "deep", inside="saliency").status == "complete"


def test_imported_maps_are_scored_exported_and_refuse_a_networks_place(
    store: Store, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "theirs" / "a", np.asarray(store.array("a", "density")[:]))
    only(store, tmp_path / "theirs")
    wanted, _ = contestants(store, ["x"], [])
    scores = evaluate(store, wanted, videos=["a"], metrics=("cc", "sim", "kldiv"))
    means = {
        name: each["mean_of_videos"]
        for name, each in scores.tables["saliency_x"]["dataset"].items()
    }
    assert means["cc"] == pytest.approx(1)
    assert means["sim"] == pytest.approx(1)
    assert means["kldiv"] == pytest.approx(0, abs=1e-6)
    export(str(store.location), tmp_path / "again", "saliency_x", "png", videos=["a"], flat=True)
    again = [
        cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted((tmp_path / "again/a").glob("*"))
    ]
    assert len(again) == FRAMES
    np.testing.assert_array_equal(np.stack(again).argmax(-1), stored(store).argmax(-1))


def test_the_command_lists_what_does_not_fit(store: Store, tmp_path: Path) -> None:
    write_pictures(tmp_path / "theirs" / "a", maps())
    write_pictures(tmp_path / "theirs" / "zebra", maps())
    arguments = ["import-maps", str(store.location), "x", str(tmp_path / "theirs")]
    checked = CliRunner().invoke(app, [*arguments, "--check", "--json"])
    found = json.loads(checked.stdout)
    assert checked.exit_code == 3
    assert [each["status"] for each in found["videos"]] == ["fits", "skipped"]
    assert found["of_no_video"] == ["zebra"]
    assert "saliency_x" not in store.infos("a")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 3
    assert "1 complete, 1 skipped" in done.stdout
    assert "zebra" in done.stdout
    (tmp_path / "theirs" / "zebra").rename(tmp_path / "theirs" / "b")
    write_pictures(tmp_path / "theirs" / "b", maps(3))
    for extra in (4, 5):
        drop(extra)(tmp_path / "theirs" / "b")
    assert CliRunner().invoke(app, arguments).exit_code == 0
    with pytest.raises(RecipeError, match="lower-case"):
        import_maps(str(store.location), "Sal GAN", tmp_path / "theirs")
    with pytest.raises(RecipeError, match="is not a folder"):
        import_maps(str(store.location), "x", tmp_path / "nowhere")
