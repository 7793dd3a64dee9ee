"""decoder3d learns from cached features of an untrained network, far beyond the centre bias.

The dataset is that of test_learns: of two equal pebbles observers follow the one that moves, so
only features of windows tell which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from builds import build, recipe_values

from foveal.errors import RecipeError
from foveal.pipeline.demo.moving import write_moving_target
from foveal.pipeline.learn.checkpoint import load_network
from foveal.pipeline.learn.evaluate import contestants, evaluate
from foveal.pipeline.learn.predict import Predictor, predict_store
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.train import train
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.reader import Store, open_store

SIZE = (64, 96)
FEATURES = ["features_clips_0", "features_clips_1"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("moving")
    write_moving_target(folder / "raw", train_clips=12, val_clips=4, frames=8, size=SIZE)
    sections: dict[str, Any] = {
        "frames": None,
        "flow": [],
        "density": {"sigma_px": 4.0, "size": list(SIZE)},
        "features": {
            "backbone": "module:tiny_backbones.Clips",
            "weights": "random",
            "size": list(SIZE),
            "layers": ["first", "second"],
            "frames": 3,
            "step": 1,
            "dtype": "float32",
        },
    }
    results, _ = build(
        Recipe.parse(recipe_values(folder / "raw", folder / "store.zarr", **sections))
    )
    assert all(result.ok for result in results.values())
    return open_store(folder / "store.zarr")


def settings(store: Store, folder: Path, shapes: Any) -> TrainSettings:
    options = {"features": FEATURES, "feature_shapes": shapes, "output_size": list(SIZE)}
    return TrainSettings.parse(
        {
            "model": "decoder3d",
            "options": {**options, "channels": 8, "clip_frames": 4},
            "stores": [store.location.url],
            "run": str(folder / "run"),
            "device": "cpu",
            "validation_split": None,
            "learning_rate": 3e-3,
            "iterations": 50,
        }
    )


@pytest.mark.slow
def test_features_of_windows_tell_the_mover(store: Store, tmp_path: Path) -> None:
    infos = store.infos("001")
    shapes = [list(infos[name].item_shape) for name in FEATURES]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(settings(store, tmp_path, shapes))
    finally:
        torch.set_num_threads(threads)
    network, _ = load_network(tmp_path / "run")
    predict_store(Predictor(network, "d", device="cpu"), store.location.url, split="val")
    wanted, _ = contestants(store, ["d"], ("centre_bias",))
    scores = evaluate(store, wanted, split="val", metrics=("nss", "cc"))
    ours, centre = (scores.tables[name]["dataset"] for name in ("saliency_d", "centre_bias"))
    assert ours["nss"]["mean_of_videos"] > 2 * centre["nss"]["mean_of_videos"]
    assert ours["cc"]["mean_of_videos"] > 2 * centre["cc"]["mean_of_videos"]


def test_a_network_built_for_other_features_is_told_theirs(store: Store, tmp_path: Path) -> None:
    wanted = r"options.feature_shapes=\[\[8, 3, 16, 24\], \[16, 2, 8, 12\]\]"
    with pytest.raises(RecipeError, match=wanted):
        train(settings(store, tmp_path, [[8, 3, 16, 24], [16, 2, 4, 6]]))
