"""Frames at another rate, and features of backbones: what is stored is what the network gives."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from builds import FRAMES, build, built_store, recipe_values, write_raw
from hypothesis import given
from hypothesis import strategies as st
from small_stores import edit_mark

from foveal.errors import FovealError, MissingDependency, RecipeError, StoreError
from foveal.models import saliency
from foveal.models.features import Extractor, open_backbone
from foveal.models.features.module_nets import state_digest
from foveal.pipeline.export.export import export
from foveal.pipeline.preview.preview import write_preview
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.stages.sampling import Sampling
from foveal.pipeline.stages.windows import FrameWindows
from foveal.pipeline.video.resize import resize_frames
from foveal.storage.location import Location
from foveal.storage.reader import Store, open_store
from foveal.storage.verify import verify
from foveal.torch import Clips, Items
from foveal.torch.cutting import nearest_items

ONLY: dict[str, Any] = {"flow": [], "fixations": None, "density": None}
PICTURES = "module:tiny_backbones.Pictures"
CLIPS = "module:tiny_backbones.Clips"
PLAIN = "module:tiny_backbones.Plain"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Frames at 10 of 30 a second; features of every frame, every fourth, and of windows."""
    maps = {"backbone": PICTURES, "weights": "random:3", "dtype": "float32"}
    return built_store(
        tmp_path_factory.mktemp("features"),
        **{**ONLY, "frames": {"fps": 10.0}, "flow": [{"method": "dis", "size": [18, 32]}]},
        features=[
            {**maps, "name": "all", "layers": ["first", "second"]},
            {**maps, "name": "fourth", "every": 4, "pooling": "grid", "grid": [2, 2]},
            {
                "backbone": CLIPS,
                "weights": "random",
                "size": [24, 32],
                "frames": 3,
                "stride": 2,
                "step": 4,
                "batch_size": 2,
                "short_clips": "repeat_first",
            },
            {"backbone": PLAIN, "size": [4, 6], "frames": 2, "stride": 3, "dtype": "float32"},
        ],
    )


@pytest.fixture(scope="module")
def whole(store: Store) -> np.ndarray:
    """All frames of video 001 at the source's size."""
    folder = Path(store.location.url).parent
    values = recipe_values(folder / "raw", folder / "whole.zarr", **ONLY, frames={})
    build(Recipe.parse(values), only=["001"])
    return open_store(folder / "whole.zarr")["001"].frames.values


def test_kept_frames_are_those_of_the_source_by_their_numbers(
    store: Store, whole: np.ndarray
) -> None:
    for video, frames in FRAMES.items():
        numbers = store[video].frames_source_frame.values
        np.testing.assert_array_equal(numbers, np.arange(0, frames, 3))
        assert len(store[video].time) == frames == store[video].sizes["pair"] + 1
    kept = store["001"]
    np.testing.assert_array_equal(kept.frames.values, whole[kept.frames_source_frame.values])
    assert store.infos("001")["frames"].source_frames == "frames_source_frame"


def test_features_of_pictures_are_what_the_network_gives(store: Store, whole: np.ndarray) -> None:
    backbone = open_backbone(PICTURES, "random:3")
    pixels = torch.from_numpy(resize_frames(whole, (24, 32))).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (backbone.mean, backbone.std))
    with torch.inference_mode():
        first = backbone.network.first((pixels - mean) / std)
        second = backbone.network.second(first.relu())
    video = store["001"]
    np.testing.assert_allclose(video.features_all_0.values, first.numpy(), atol=1e-5)
    np.testing.assert_allclose(video.features_all_1.values, second.numpy(), atol=1e-5)
    pooled = torch.nn.functional.adaptive_avg_pool2d(second[::4], (2, 2)).numpy()
    np.testing.assert_allclose(video.features_fourth.values, pooled, atol=1e-5)
    np.testing.assert_array_equal(video.features_fourth_source_frame, [0, 4, 8, 12, 16])


def test_a_window_holds_the_frames_it_says(store: Store, whole: np.ndarray) -> None:
    video = store["001"]
    small = resize_frames(whole, (4, 6)).transpose(0, 3, 1, 2)
    starts = video.features_plain_window_start.values
    np.testing.assert_array_equal(starts, [0, 6, 12])
    for start, window in zip(starts, video.features_plain.values, strict=True):
        np.testing.assert_array_equal(window.transpose(1, 0, 2, 3), small[[start, start + 3]])


def test_a_short_video_has_one_window_or_none(store: Store) -> None:
    assert store["002"].features_clips_window_start.values.tolist() == [0, 4]
    assert store["601"].features_clips_window_start.values.tolist() == [0, 4, 8]
    frames = np.arange(3)[:, None]
    for rule, found in (("skip", []), ("repeat_first", [0, 0, 2])):
        windows = FrameWindows(3, 2, short_clips=rule)
        assert windows.push(frames) == ([], [])
        starts, (*short,) = windows.finish()
        assert [value for one in short for value in one[:, 0]] == found
        assert starts == ([-2] if found else [])
        assert windows.count(3) == len(starts)


@given(*[st.integers(1, 6)] * 3, st.lists(st.integers(0, 9), max_size=8))
def test_windows_do_not_depend_on_the_batches(
    frames: int, stride: int, step: int, sizes: list[int]
) -> None:
    windows, total, starts = FrameWindows(frames, stride, step), 0, []
    for size in sizes:
        new, cut = windows.push(np.arange(total, total + size)[:, None])
        for start, window in zip(new, cut, strict=True):
            assert window[:, 0].tolist() == list(range(start, start + windows.span, stride))
        total, starts = total + size, starts + new
        assert len(windows._held) <= windows.span
    assert starts == [k for k in range(0, total, step) if k + windows.span <= total]
    assert len(starts) == windows.count(total)


@pytest.mark.parametrize(
    ("every", "fps", "times", "kept"),
    [
        (6, None, np.arange(20) / 30, [0, 6, 12, 18]),
        (None, 5.0, np.arange(20) / 30, [0, 6, 12, 18]),
        (None, 5.0, np.round(np.arange(20) / 30, 3), [0, 6, 12, 18]),
        (None, 5.0, np.arange(20) * 1001 / 30000, [0, 6, 12, 18]),
        (None, 7.5, np.round(np.arange(20) / 30, 3), [0, 4, 8, 12, 16]),
        (None, 60.0, np.arange(4) / 30, [0, 1, 2, 3]),
        (None, 10.0, np.array([0, 0.03, 0.07, 0.5, 0.52, 0.61]), [0, 3, 5]),
    ],
)
def test_frames_are_kept_by_number_or_nearest_in_time(
    every: int | None, fps: float | None, times: np.ndarray, kept: list[int]
) -> None:
    for cuts in ([len(times)], [1] * len(times), [2, len(times) - 2]):
        sampling, found, start = Sampling(every, fps, 30.0), [], 0
        for size in cuts:
            found += sampling.choose(start, times[start : start + size]).tolist()
            start += size
        assert found == kept


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=30), st.data())
def test_a_frame_has_the_item_nearest_in_time(steps: list[float], data: Any) -> None:
    seconds = np.cumsum(steps)
    frames = st.integers(0, len(seconds) - 1)
    starts = np.array(sorted(data.draw(st.sets(frames, min_size=1))))
    found = nearest_items(seconds, starts, 1)
    distance = np.abs(seconds[:, None] - seconds[starts])
    np.testing.assert_allclose(distance[np.arange(len(seconds)), found], distance.min(axis=1))


def test_clips_read_all_of_it_by_time(store: Store) -> None:
    names = ["frames", "features_all_0", "features_fourth", "features_clips"]
    clips = Clips(store, videos=["001"], frames=6, stride=5, variables=names)
    video = store["001"]
    for sample in (clips[0], clips[2]):
        numbers = sample["frame"].numpy()
        kept = video.frames_source_frame.values
        nearest = np.abs(numbers[:, None] - kept).argmin(axis=1)
        pictures = video.frames.values[nearest].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(sample["frames"].numpy(), pictures)
        np.testing.assert_array_equal(sample["features_all_0"], video.features_all_0[numbers])
        middle = video.features_clips_window_start.values + 2
        nearest = np.abs(numbers[:, None] - middle).argmin(axis=1)
        np.testing.assert_array_equal(sample["features_clips"], video.features_clips[nearest])
        assert sample["features_clips_valid"].all()
    with pytest.raises(StoreError, match="runs along 'window'"):
        Clips(store, frames=4, variables=[Items("features_clips")])


def test_weights_are_said_everywhere(store: Store) -> None:
    assert store.videos.random_weights["001"] == [
        "features_all",
        "features_clips",
        "features_fourth",
    ]
    about = store["001"].features_all_0.attrs
    assert about["weights"] == "random:3"
    assert "random weights" in about["long_name"]
    digest = state_digest(open_backbone(PLAIN, None, frames=2).network)
    assert store["001"].features_plain.attrs["weights"] == f"sha256:{digest}"


def test_items_without_a_number_are_found(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.location.url, tmp_path / "s.zarr")
    location = Location(tmp_path / "s.zarr")

    def shorten(values: dict[str, Any]) -> None:
        values["arrays"]["frames_source_frame"]["shape"] = [2]

    edit_mark(location, "002", "frames", shorten)
    (found,) = [each for each in verify(location, ["002"]) if each.kind == "alignment"]
    assert "frames of 002 has 3 items, but frames_source_frame" in found.message


def test_it_is_whole_drawn_and_exported(store: Store, tmp_path: Path) -> None:
    assert verify(store.location) == []
    url = store.location.url
    made = write_preview(url, "001", tmp_path / "sheet.png", frames=[0, 7, 19])
    assert made.shown[0] == "frames"
    assert {"features all 0", "features fourth", "features clips"} <= set(made.shown)
    export(url, tmp_path / "out", "frames", videos=["001"])
    names = sorted(path.name for path in (tmp_path / "out").rglob("*.png"))
    assert names == [f"{k + 1:04d}.png" for k in range(0, 20, 3)]
    export(url, tmp_path / "npy", "features_fourth", videos=["001"])
    numbers = np.load(next((tmp_path / "npy").rglob("features_fourth_source_frame.npy")))
    assert numbers.tolist() == [0, 4, 8, 12, 16]


def test_what_does_not_change_the_numbers_computes_nothing_again(store: Store) -> None:
    features = [dict(section) for section in store.recipe["features"]]
    features[2]["batch_size"] = 5
    results, _ = build(Recipe.parse({**store.recipe, "features": features}))
    assert {result.stages for result in results.values()} == {()}
    features[0]["weights"] = "random:4"
    results, _ = build(Recipe.parse({**store.recipe, "features": features}), only=["002"])
    assert results["002"].stages == ("features_all",)


def test_frames_of_old_stores_keep_their_identity() -> None:
    from foveal.pipeline.stages.frames import FramesSection, FramesStage

    assert FramesStage(FramesSection(size=(2, 3))).parameters() == {
        "size": [2, 3],
        "interpolation": "area",
    }


SECTION = {"backbone": PICTURES}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": {**SECTION, "pooling": "grid"}}, "together"),
        ({"features": {**SECTION, "stride": 2}}, "give frames, the length"),
        ({"features": {**SECTION, "frames": 4, "every": 2}}, "for single pictures"),
        ({"features": {**SECTION, "every": 2, "fps": 5.0}}, "give one of them"),
        ({"features": [SECTION, SECTION]}, "not all different; set name"),
        ({"features": {**SECTION, "backbon": "x"}}, "did you mean"),
        ({"frames": {"every": 2, "fps": 5.0}}, "give one of them"),
        ({"frames": {"every": 0}}, "greater than or equal to 1"),
    ],
)
def test_combinations_without_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    values = {"dataset": {"kind": "videos", "root": "/data"}, "store": "s.zarr", **changes}
    with pytest.raises(RecipeError, match=message):
        Recipe.parse(values)


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        ("torchvison:resnet18", {}, "write one of torchvision:NAME"),
        ("torchvision:resnet81", {}, "did you mean torchvision:resnet"),
        ("torchvision:r3d_18", {"weights": "random"}, "give their length"),
        ("timm:resnet18", {"weights": "random", "frames": 4}, "takes single pictures"),
        ("timm:vit_tiny_patch16_223", {}, "did you mean timm:vit_tiny_patch16_224"),
        ("torchvision:resnet18", {"weights": "KINETICS"}, "has the weights IMAGENET1K_V1"),
        ("module:subprocess.run", {}, "only a torch.nn.Module class"),
        ("module:no_such_package.net", {}, "install its package"),
        ("huggingface:../of/hers", {}, "write huggingface:ORG/NAME"),
    ],
)
def test_backbones_that_cannot_be_are_refused(
    backbone: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        open_backbone(backbone, **options)


@pytest.mark.parametrize(
    "name",
    ["timm:vit_tiny_patch16_224", "torchvision:swin3d_b", "huggingface:MCG-NJU/videomae-base"],
)
def test_nothing_is_downloaded_and_the_message_says_what_to_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingDependency, match=f"foveal weights (get|fetch) {name.split('_')[0]}"):
        open_backbone(name, frames=16 if "3d" in name or "video" in name else None)
    assert not list(tmp_path.iterdir())


def test_wrong_layers_end_the_command_and_the_message_says_which_there_are(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    section = {"backbone": PICTURES, "layers": ["third"]}
    values = recipe_values(raw, tmp_path / "s.zarr", **ONLY, features=section)
    with pytest.raises(RecipeError, match="no layer 'third'; it has first, second"):
        build(Recipe.parse(values), only=["002"])


def test_values_beyond_float16_are_no_features(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    section = {"backbone": "module:tiny_backbones.huge", "size": [8, 8]}
    values = recipe_values(raw, tmp_path / "s.zarr", **ONLY, features=section)
    results, _ = build(Recipe.parse(values), only=["002"])
    assert "store them with dtype: float32" in results["002"].reason


def random_items(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, *shape, 3), np.uint8)


def test_tokens_of_a_timm_network_are_laid_out_as_a_map() -> None:
    backbone = open_backbone("timm:vit_tiny_patch16_224", "random:1", (32, 48))
    assert backbone.mean == (0.5, 0.5, 0.5)
    items = random_items(32, 48)

    def found(pooling: Any, grid: Any = None) -> np.ndarray:
        extractor = Extractor(backbone, ("blocks.1",), (32, 48), pooling, grid, "cpu")
        assert extractor.shapes() == [extractor(items)[0].shape[1:]]
        return extractor(items)[0]

    tokens = found("none")
    assert tokens.shape == (2, 1 + 6, 192)
    np.testing.assert_array_equal(found("cls"), tokens[:, 0])
    np.testing.assert_allclose(found("mean"), tokens[:, 1:].mean(axis=1), atol=1e-5)
    maps = tokens[:, 1:].transpose(0, 2, 1).reshape(2, 192, 2, 3)
    np.testing.assert_allclose(found("grid", (2, 3)), maps, atol=1e-5)
    np.testing.assert_allclose(found("grid", (1, 3)), maps.mean(axis=2, keepdims=True), atol=1e-5)


def test_torchvision_maps_come_channels_first() -> None:
    for name, layers, shapes in (
        ("resnet18", (), [(512, 1, 2)]),
        ("swin_t", ("features.1", "features.3"), [(96, 8, 12), (192, 4, 6)]),
    ):
        backbone = open_backbone(f"torchvision:{name}", "random")
        extractor = Extractor(backbone, layers, (32, 48), device="cpu")
        assert extractor.shapes() == shapes
    clips = open_backbone(CLIPS, "random", frames=4)
    items = random_items(4, 16, 24)
    kept, mean = (Extractor(clips, (), (16, 24), device="cpu", time=t) for t in ("keep", "mean"))
    np.testing.assert_allclose(mean(items)[0], kept(items)[0].mean(axis=2), atol=1e-6)
    with pytest.raises(RecipeError, match="has no class token"):
        Extractor(backbone, ("features.1",), (32, 48), "cls", device="cpu").shapes()


def test_a_file_of_weights_is_loaded_whole_or_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    trained = open_backbone("timm:test_resnet.r160_in1k", "random:9").network.state_dict()
    save_file(trained, tmp_path / "w.safetensors")
    loaded = open_backbone("timm:test_resnet.r160_in1k", str(tmp_path / "w.safetensors"))
    assert state_digest(loaded.network) == state_digest(
        open_backbone("timm:test_resnet.r160_in1k", "random:9").network
    )
    assert loaded.weights.startswith("sha256:")
    key = next(iter(trained))
    save_file({k: v for k, v in trained.items() if k != key}, tmp_path / "less.safetensors")
    with pytest.raises(FovealError, match=key):
        _ = open_backbone("timm:test_resnet.r160_in1k", str(tmp_path / "less.safetensors")).network


def test_threads_that_share_a_network_do_not_hear_each_other() -> None:
    backbone = open_backbone(PICTURES, "random")
    extractor = Extractor(backbone, ("first",), (24, 32), device="cpu")
    items = np.random.default_rng(1).integers(0, 256, (16, 2, 24, 32, 3), np.uint8)
    alone = [extractor(item)[0] for item in items]
    with ThreadPoolExecutor(4) as pool:
        together = [found[0] for found in pool.map(extractor, items)]
    np.testing.assert_array_equal(together, alone)


@pytest.fixture
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="transformers, an extra, is not installed")


def test_a_network_of_transformers_comes_from_its_folder(tmp_path: Path, transformers: Any) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.VideoMAEConfig(
        image_size=32, patch_size=16, num_frames=4, intermediate_size=16, **small
    )
    torch.manual_seed(0)
    model = transformers.VideoMAEModel(config).eval()
    model.save_pretrained(tmp_path)
    about = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5], "size": {"height": 32}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    backbone = open_backbone(f"huggingface:{tmp_path}", None, None, 4)
    assert (backbone.mean, backbone.size) == ((0.1, 0.2, 0.3), (32, 32))
    items = random_items(4, 32, 32)
    extractor = Extractor(backbone, ("encoder.layer.1",), (32, 32), "grid", (2, 2), "cpu")
    pixels = (torch.from_numpy(items) / 255 - torch.tensor(backbone.mean)) / 0.5
    with torch.inference_mode():
        hidden = model(pixels.permute(0, 1, 4, 2, 3), output_hidden_states=True).hidden_states[2]
    expected = hidden.transpose(1, 2).reshape(2, 16, 2, 2, 2)
    np.testing.assert_allclose(extractor(items)[0], expected, atol=1e-4)
    assert open_backbone(f"huggingface:{tmp_path}", "random", None, 4).is_random


def test_code_of_a_hub_is_never_run(tmp_path: Path, transformers: Any) -> None:
    own = {"model_type": "internvideo2", "auto_map": {"AutoModel": "evil.Net"}}
    (tmp_path / "config.json").write_text(json.dumps(own))
    (tmp_path / "evil.py").write_text("raise SystemExit('was run')")
    with pytest.raises(RecipeError, match="code of its own, which never runs"):
        open_backbone(f"huggingface:{tmp_path}", "random", None, 4)


def test_the_experiment_of_the_challenge_reads_what_its_recipe_makes() -> None:
    path = Path(__file__).parents[2] / "experiments" / "ntire2026.yaml"
    values = yaml.safe_load(path.read_text())
    recipe = values["stores"]["ntire26"]["recipe"]
    tiny = recipe | values["tiny"]["recipe"]
    for sections, changes in ((recipe, {}), (tiny, values["tiny"]["options"])):
        dataset = {"kind": "videos", "root": "/data"}
        without = {**sections, "dataset": dataset, "density": None, "store": "s.zarr"}
        (section,) = Recipe.parse(without).features
        arrays = [f"{section.stage_name}_{n}" for n in range(len(section.layers))]
        for training in values["trainings"].values():
            spec = saliency.spec("decoder3d", **training["options"] | changes)
            kinds = [each.kind for each in spec.inputs]
            assert kinds == [*arrays, *(["log_mel"] if len(kinds) > 3 else [])]
            assert spec.output_size == section.size
    rows = {row["name"]: row for row in values["tables"]["private"]["rows"]}
    published = rows["centre prior (baseline)"]["published"]["private_test"]
    assert published == [0.410, 0.408, 0.691, 1.305]
    assert rows["best of each metric"]["published"]["private_test"] == [0.828, 0.693, 0.898, 3.456]
