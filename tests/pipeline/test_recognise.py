"""`recognise` on every miniature: the right form, and a recipe that lists the same videos."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import WRITERS, hollywood2
from miniatures.mutants import mutated

from foveal.errors import RecipeError
from foveal.pipeline.check.recognise import recognise
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.recipe.yaml_files import read_mapping
from foveal.pipeline.sources import open_source
from foveal.registry import find, plugins

KNOWN = sorted(set(WRITERS) - {"videos-csv", "videos-parquet", "videos-frames"})


@pytest.mark.parametrize("form", KNOWN)
@pytest.mark.parametrize("nested", [False, True])
def test_each_form_is_recognised_and_its_recipe_lists_its_videos(
    form: str, nested: bool, tmp_path: Path
) -> None:
    root = tmp_path / "my data"
    miniature = WRITERS[form](root)
    found = recognise(tmp_path if nested else root, "out.zarr")
    assert found.guess is not None, found.message
    assert found.guess.root == root
    values = yaml.safe_load(found.recipe)
    assert "#" in found.recipe
    assert (values["dataset"]["kind"], values["store"]) == (miniature.dataset["kind"], "out.zarr")
    for key in ("form", "gaze", "edition"):
        if key in miniature.dataset:
            assert values["dataset"][key] == miniature.dataset[key]
    if "free_viewing_subjects" in miniature.dataset:
        assert "free_viewing_subjects" in values["dataset"]
        values["dataset"]["free_viewing_subjects"] = ["001"]
    recipe = Recipe.parse(values)
    videos = [video.id for video in open_source(recipe.dataset, recipe.fixations).videos()]
    wanted = recipe.dataset.resolved().get("splits")
    assert videos == [
        name
        for name, one in miniature.videos.items()
        if wanted is None or one.split is None or one.split in wanted
    ]


def test_published_maps_alone_are_imported(tmp_path: Path) -> None:
    WRITERS["dhf1k-import"](tmp_path)
    values = yaml.safe_load(recognise(tmp_path).recipe)
    assert values["dataset"]["ground_truth"] == "import"
    assert values["store"] == "dhf1k.zarr"


def test_an_incomplete_dataset_is_told_with_what_it_lacks(tmp_path: Path) -> None:
    hollywood2.write_frames(tmp_path)
    for folder in tmp_path.glob("*/*/maps"):
        shutil.rmtree(folder)
    found = recognise(tmp_path)
    assert found.guess is None
    assert found.recipe == ""
    assert "looks like Hollywood-2" in found.message
    assert "missing training/actionclip*/maps" in found.message


def test_a_folder_of_videos_is_taken_as_such(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "one.mkv").touch()
    values = yaml.safe_load(recognise(tmp_path).recipe)
    assert values["dataset"]["kind"] == "videos"
    assert values["dataset"]["videos"] == "clips"


def test_videos_in_folders_are_not_taken_for_a_dataset_by_a_third_of_its_signs(
    tmp_path: Path,
) -> None:
    (tmp_path / "one.mp4").mkdir()
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "one.mp4").touch()
    found = recognise(tmp_path)
    assert found.guess is not None
    assert found.guess.dataset.kind == "videos"


def test_of_two_forms_that_match_the_one_with_more_signs_is_taken(tmp_path: Path) -> None:
    WRITERS["dhf1k-raw"](tmp_path)
    WRITERS["dhf1k-frames"](tmp_path)
    found = recognise(tmp_path)
    assert yaml.safe_load(found.recipe)["dataset"]["form"] == "frames"
    assert "signs of DHF1K, as published too" in found.message
    assert 'cite W. Wang et al., "Revisiting Video Saliency"' in found.message


def test_a_dataset_without_a_ready_recipe_gets_a_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS["ledov-v5"](tmp_path)
    monkeypatch.setattr("foveal.pipeline.check.recognise.resources.files", lambda _: tmp_path)
    plain = yaml.safe_load(recognise(tmp_path, "out.zarr").recipe)
    assert plain["dataset"] == {"kind": "ledov", "root": str(tmp_path)}
    assert (plain["store"], plain["frames"]) == ("out.zarr", {"size": [192, 256]})


def test_an_empty_folder_and_a_missing_one(tmp_path: Path) -> None:
    assert "none of the known datasets" in recognise(tmp_path).message
    with pytest.raises(RecipeError, match="is no folder"):
        recognise(tmp_path / "nothing")


RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES)
def test_every_ready_recipe_is_valid_and_round_trips(path: Path) -> None:
    recipe = Recipe.load(path)
    assert Recipe.parse(yaml.safe_load(recipe.to_yaml())) == recipe


def test_reading_recipes_loads_no_library_that_reads_data() -> None:
    code = (
        "import sys\n"
        "from foveal.pipeline.recipe.recipe import Recipe\n"
        "from foveal.registry import find, plugins\n"
        "for path in sys.argv[1:]: Recipe.load(path)\n"
        "for kind in plugins('sources'): find('sources', kind)\n"
        "print(*sorted({'cv2', 'h5py', 'av', 'scipy', 'pyarrow', 'pandas', 'PIL', 'torch'}"
        " & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", code, *map(str, RECIPES)]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == "\n"


def test_every_dataset_says_whom_to_cite_and_under_which_terms() -> None:
    for kind in plugins("sources"):
        about = find("sources", kind)
        assert about.kind == kind
        assert about.forms
        general = any(form.folder_key for form in about.forms)
        assert general or (about.citation and about.terms)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (BOMB, "more than 10000 values, aliases followed"),
        ("a: &a [*a]", "more than 10000 values"),
        ("[" * 1000, "not YAML"),
        ("a: 1\na: 2\n", "the key 'a' stands twice"),
        ("a: 2001-13-45", "not YAML"),
        ("a: !!bool x", "not YAML"),
        ("a: " + "9" * 5000, "not YAML"),
        ("? [a]\n: b", "not YAML"),
        ("a: é", "cannot be read"),
        ("#" * (1 << 20) + "\n", "larger than"),
        ("- a", "not a mapping"),
    ],
)
def test_yaml_that_no_recipe_is_ends_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeError, match=complaint):
        read_mapping(path)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_mutants_of_recipes_are_read_or_refused(tmp_path_factory: Any, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path_factory.getbasetemp() / "mutant.yaml"
    path.write_bytes(mutated(rng.choice(RECIPES).read_bytes(), rng))
    with contextlib.suppress(RecipeError):
        Recipe.load(path)


def gaze_folder(root: Path, heads: str, rows: list[str], name: str = "gaze.csv") -> Path:
    """Two videos of one frame and a table."""
    root.mkdir(parents=True)
    for clip in ("one.mp4", "two.mp4"):
        (root / clip).write_bytes(b"")
    (root / name).write_text("\n".join([heads, *rows]) + "\n")
    return root


def test_one_table_of_gaze_beside_videos_becomes_a_gaze_section(tmp_path: Path) -> None:
    miniature = WRITERS["videos-csv"](tmp_path / "data")
    found = recognise(tmp_path / "data", "out.zarr")
    values = yaml.safe_load(found.recipe)
    assert values["dataset"]["gaze"]["path"] == miniature.dataset["gaze"]["path"]
    assert {"fixations", "density"} <= values.keys()
    recipe = Recipe.parse(values)
    source = open_source(recipe.dataset, recipe.fixations)
    assert [video.id for video in source.videos()] == [*miniature.videos]


def test_headings_of_many_kinds_are_understood(tmp_path: Path) -> None:
    root = gaze_folder(
        tmp_path / "a",
        "Participant,Stimulus,Timestamp [ms],Gaze X,Gaze Y,Event",
        ["p1,one,0,0.5,0.25,Fixation", "p1,two,40,0.1,1.0,Saccade"],
    )
    found = recognise(root)
    gaze = yaml.safe_load(found.recipe)["dataset"]["gaze"]
    assert gaze["columns"] == {
        "video": "Stimulus",
        "subject": "Participant",
        "frame": None,
        "seconds": "Timestamp [ms]",
        "x": "Gaze X",
        "y": "Gaze Y",
        "event": "Event",
    }
    assert (gaze["units"], gaze["fixation_event"]) == ("fraction", "Fixation")
    assert "0 … 1: taken as fractions" in found.message
    numbered = gaze_folder(tmp_path / "b", "video,frame,x,y", ["one,1,300,20", "three,2,4,5"])
    gaze = yaml.safe_load(recognise(numbered).recipe)["dataset"]["gaze"]
    assert (gaze["first_frame"], gaze["columns"]["subject"]) == (1, None)


def test_a_table_that_does_not_tell_enough_is_named_and_left_out(tmp_path: Path) -> None:
    root = gaze_folder(tmp_path / "a", "video,pupil", ["one,3"])
    found = recognise(root)
    assert "gaze" not in yaml.safe_load(found.recipe)["dataset"]
    assert "seems to be x, y, frame or seconds" in found.message
    other = gaze_folder(tmp_path / "b", "video,frame,x,y", ["one.mp4,0,3,4"])
    assert "make the names the same, without suffix" in recognise(other).message
