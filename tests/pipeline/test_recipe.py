"""The recipe: strict, frozen, the same after a round trip, and errors that say what is allowed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from foveal.errors import RecipeError
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.density import DensitySection

REPOSITORY = Path(__file__).parents[2]
SMALLEST: dict[str, Any] = {"dataset": {"kind": "dhf1k", "root": "/d"}, "store": "/s.zarr"}
SCREEN = {"screen_width_px": 1440, "screen_width_cm": 41.0, "viewing_distance_cm": 60.0}


def write(path: Path, values: Any) -> Path:
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values), "utf-8")
    return path


def refused(values: dict[str, Any]) -> str:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse({**SMALLEST, **values})
    return str(caught.value)


# What a recipe holds


def test_a_section_left_out_is_a_stage_not_wanted() -> None:
    recipe = Recipe.parse(SMALLEST)
    assert recipe.frames is recipe.fixations is recipe.density is None
    assert recipe.flow == ()
    assert recipe.decode.errors == "quarantine"


def test_every_default_is_visible_in_the_resolved_recipe() -> None:
    sections = {"frames": {}, "flow": [{}], "fixations": {}, "density": {"sigma_px": 5}}
    resolved = Recipe.parse({**SMALLEST, **sections}).resolved()
    unsampled = {"every": None, "fps": None}
    assert resolved["frames"] == {"size": None, "interpolation": "area", **unsampled}
    assert resolved["flow"][0]["method"] == "tvl1"
    assert resolved["flow"][0]["encoding"] == "float16"
    assert resolved["fixations"] == {"mapping": "pairwise", "subjects": "all"}
    assert resolved["density"] == {
        "preset": None,
        "sigma_px": 5.0,
        "sigma_degrees": None,
        "geometry": None,
        "size": None,
        "normalise": None,
        "dtype": None,
    }
    assert resolved["dataset"]["splits"] == ["train", "val"]
    assert resolved["device"] == "auto"


def test_a_recipe_cannot_be_changed() -> None:
    recipe = Recipe.parse(SMALLEST)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.store = "/other"  # type: ignore[misc]


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    recipe = Recipe.parse({**SMALLEST, "dataset": {"kind": "dhf1k", "root": "~/DHF1K"}})
    assert recipe.dataset.root == Path("/home/someone/DHF1K")


sizes = st.none() | st.tuples(st.integers(1, 8192), st.integers(1, 8192)).map(list)
sigmas = st.floats(0, 1000, exclude_min=True)
densities = st.one_of(
    st.builds(lambda preset, size: {"preset": preset, "size": size},
              st.sampled_from(["dhf1k", "hollywood2", "ucf_sports", "ledov", "salicon"]), sizes),
    st.builds(lambda sigma, size, normalise:
              {"sigma_px": sigma, "size": size, "normalise": normalise, "dtype": "float32"},
              sigmas, sizes, st.sampled_from([None, "max", "sum", "none"])),
    st.builds(lambda sigma: {"sigma_degrees": sigma, "geometry": SCREEN}, sigmas),
)  # fmt: skip
# PyYAML writes control characters and Unicode line ends such that it reads others back.
text = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1)
recipes = st.fixed_dictionaries(
    {
        "dataset": st.fixed_dictionaries(
            {"kind": st.just("dhf1k"), "root": text.map(lambda name: f"/{name}")},
            optional={
                "splits": st.lists(st.sampled_from(["train", "val", "test"]), max_size=3),
                "reconcile": st.sampled_from(["strict", "truncate_to_shorter"]),
            },
        ),
        "store": text,
    },
    optional={
        "frames": st.fixed_dictionaries(
            {}, optional={"size": sizes, "interpolation": st.sampled_from(["area", "cubic"])}
        ),
        "flow": st.just([]) | st.builds(lambda size: [{"method": "tvl1", "size": size}], sizes),
        "fixations": st.builds(
            lambda subjects: {"subjects": subjects}, st.just("all") | st.lists(text, min_size=1)
        ),
        "density": densities,
        "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:3"]),
    },
)


@given(recipes)
@settings(max_examples=60, deadline=None)
def test_yaml_gives_the_same_recipe_back(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    recipe = Recipe.parse(values)
    path = write(tmp_path_factory.getbasetemp() / "round-trip.yaml", recipe.to_yaml())
    again = Recipe.load(path)
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()
    assert Recipe.parse(recipe.resolved()) == recipe


@pytest.mark.parametrize("path", sorted((REPOSITORY / "recipes").glob("*.yaml")), ids=str)
def test_the_recipes_that_come_along_are_right(path: Path) -> None:
    recipe = Recipe.load(path)
    assert Recipe.parse(recipe.resolved()) == recipe


# What is refused, and how


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"frams": {}},
            "frams: unknown key; did you mean 'frames'? allowed: dataset, store, ",
        ),
        ({"frames": {"sise": [1, 2]}}, "frames.sise: unknown key; did you mean 'size'? allowed:"),
        ({"frames": {"colour": 1}}, "frames.colour: unknown key; allowed: size, interpolation"),
        ({"flow": [{"methd": "tvl1"}]}, "flow.0.methd: unknown key; did you mean 'method'?"),
        (
            {"density": {"sigma_degrees": 1, "geometry": {**SCREEN, "screen_height": 3}}},
            "density.geometry.screen_height: unknown key",
        ),
        (
            {"dataset": {"kind": "dhf1k", "root": "/d", "spilts": ["train"]}},
            "spilts: unknown key; did you mean 'splits'?",
        ),
    ],
)
def test_unknown_keys_are_named_with_what_is_allowed(values: dict[str, Any], message: str) -> None:
    assert message in refused(values)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (
            {"frames": {"size": [0, 256]}},
            ["frames.size.0", "(got 0)", "greater than or equal to 1"],
        ),
        ({"frames": {"size": [9000, 256]}}, ["frames.size.0", "(got 9000)", "8192"]),
        ({"frames": {"size": [192.5, 256]}}, ["frames.size.0", "(got 192.5)", "integer"]),
        ({"frames": {"size": "192x256"}}, ["frames.size", "(got '192x256')", "array"]),
        ({"frames": {"size": [192]}}, ["frames.size.1", "required"]),
        (
            {"frames": {"interpolation": "bicubic"}},
            ["frames.interpolation", "'area', 'linear', 'cubic' or 'lanczos'", "'bicubic'"],
        ),
        # Any ptlflow model may be named, so names are looked up when the build is planned.
        ({"flow": [{"method": "TV L1"}]}, ["flow.0.method", "pattern", "(got 'TV L1')"]),
        ({"flow": [{"encoding": "jpeg"}]}, ["flow.0.encoding", "'float16'", "(got 'jpeg')"]),
        ({"flow": [{}, {}]}, ["flow", "once", "['tvl1', 'tvl1']"]),
        ({"density": {}}, ["density", "exactly one of preset, sigma_px and sigma_degrees", "none"]),
        (
            {"density": {"preset": "dhf1k", "sigma_px": 3.0}},
            ["density", "exactly one", "preset and sigma_px"],
        ),
        ({"density": {"sigma_px": 0}}, ["density.sigma_px", "greater than 0", "(got 0)"]),
        ({"density": {"sigma_px": "12"}}, ["density.sigma_px", "number", "(got '12')"]),
        ({"density": {"sigma_px": float("nan")}}, ["density.sigma_px", "finite", "(got nan)"]),
        ({"density": {"sigma_degrees": 1.0}}, ["density", "sigma_degrees and geometry"]),
        (
            {"density": {"sigma_px": 1.0, "normalise": "sum", "dtype": "uint8"}},
            ["density", "uint8 cannot hold normalise: sum", "float32"],
        ),
        ({"decode": {"errors": "ignore"}}, ["decode.errors", "'quarantine' or 'accept'"]),
        ({"device": "gpu"}, ["device", "auto|cpu|cuda", "(got 'gpu')"]),
        ({"store": ""}, ["store", "at least 1"]),
        (
            {"dataset": {"kind": "dhfk1", "root": "/"}},
            ["dataset.kind", "'dhf1k', 'diem'", "dhfk1"],
        ),
        ({"dataset": {"kind": "dhf1k"}}, ["root", "required"]),
        (
            {"dataset": {"kind": "dhf1k", "root": "/", "splits": ["trian"]}},
            ["splits.0", "'train', 'val' or 'test'", "(got 'trian')"],
        ),
        (
            {"dataset": {"kind": "dhf1k", "root": "/", "reconcile": "lax"}},
            ["reconcile", "'strict'"],
        ),
    ],
)
def test_wrong_values_name_the_key_the_value_and_what_is_allowed(
    values: dict[str, Any], parts: list[str]
) -> None:
    message = refused(values)
    assert [part for part in parts if part not in message] == []


def test_all_mistakes_are_told_at_once() -> None:
    message = refused({"frames": {"size": [0, 1]}, "device": "tpu", "flwo": []})
    assert len(message.splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "dataset: required, but not given"),
        ("- frames", "holds list, not a mapping"),
        ("frames: [1,", "is not YAML"),
        ("dataset: !!python/object/apply:os.system [id]", "is not YAML"),
        ("store: 2024-01-01", "a value that YAML reads specially"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path / "recipe.yaml", content)
    with pytest.raises(RecipeError, match=f"{re.escape(str(path))}(?s:.)*{message}"):
        Recipe.load(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"there is no file .*none\.yaml"):
        Recipe.load(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"store: caf\xe9")
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.load(tmp_path / "latin.yaml")


# Overrides


def loaded(tmp_path: Path, *overrides: str, **sections: Any) -> Recipe:
    return Recipe.load(write(tmp_path / "recipe.yaml", {**SMALLEST, **sections}), overrides)


def test_overrides_change_add_and_remove(tmp_path: Path) -> None:
    recipe = loaded(
        tmp_path,
        "frames.size=[192,256]",
        "frames.interpolation=linear",
        "dataset.splits=[test]",
        "flow.0.size=[112, 112]",
        "density.sigma_px=12.5",
        "fixations=",
        "store=s3://bucket/a=b.zarr",
        flow=[{"method": "tvl1"}],
        fixations={},
    )
    assert recipe.frames is not None
    assert (recipe.frames.size, recipe.frames.interpolation) == ((192, 256), "linear")
    assert recipe.dataset.resolved()["splits"] == ["test"]
    assert recipe.flow[0].size == (112, 112)
    assert recipe.density is not None
    assert recipe.density.sigma_px == 12.5
    assert recipe.fixations is None
    assert recipe.store == "s3://bucket/a=b.zarr"


def test_later_overrides_win(tmp_path: Path) -> None:
    assert loaded(tmp_path, "device=cpu", "device=cuda").device == "cuda"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("frames.size", r"--set 'frames.size': write it as key=value"),
        ("frames.size=[1,", "the value is not YAML"),
        ("store.x=3", "store is '/s.zarr', which has no keys"),
        ("flow.1.size=[3,4]", "'1' is no index of a list of 1"),
        ("flow.last.size=[3,4]", "'last' is no index of a list of 1"),
        ("frames.sise=[3,4]", r"frames\.sise: unknown key; did you mean 'size'"),
        ("frames.size=3", r"frames\.size: .*\(got 3\)"),
        ("=3", "unknown key"),
    ],
)
def test_wrong_overrides_say_what_is_wrong(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        loaded(tmp_path, override, flow=[{"method": "tvl1"}])


# What the density section means


def density(**values: Any) -> DensitySection:
    section = Recipe.parse({**SMALLEST, "density": values}).density
    assert section is not None
    return section


def test_normalisation_and_dtype_follow_from_each_other() -> None:
    assert density(preset="dhf1k").resolved_dtype == "uint8"
    assert density(preset="dhf1k").resolved_normalise == "max"
    assert density(preset="ledov").resolved_normalise == "none"
    assert density(preset="ledov").resolved_dtype == "float32"
    assert density(sigma_px=5.0, normalise="sum").resolved_dtype == "float32"
    assert density(sigma_px=5.0, dtype="float32").resolved_dtype == "float32"


def test_sigma_in_degrees_becomes_pixels_of_the_video_as_it_was_shown() -> None:
    # tan(1 deg) * 60 cm = 1.0473 cm on a screen of 41 cm and 1440 px: 36.783 screen px.
    screen_px = 36.783
    filled = density(sigma_degrees=1.0, geometry=SCREEN)
    assert filled.kernel(640).sigma_px == pytest.approx(screen_px * 640 / 1440, rel=1e-3)
    unscaled = density(sigma_degrees=1.0, geometry={**SCREEN, "shown": "unscaled"})
    assert unscaled.kernel(640).sigma_px == pytest.approx(screen_px, rel=1e-3)
    assert density(sigma_px=7.5).kernel(1920).sigma_px == 7.5
