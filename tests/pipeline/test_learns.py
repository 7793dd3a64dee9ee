"""Networks learn from a store that the real pipeline built: reduced form of benchmarks/learn.py.

The same pebble twice, one still, one moving; observers follow the moving one. Whoever reads frames
alone can at best mark both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from builds import build, recipe_values
from faults.damages import LONG

from foveal.pipeline.demo.moving import write_moving_target
from foveal.pipeline.learn.checkpoint import load_network
from foveal.pipeline.learn.evaluate import contestants, evaluate
from foveal.pipeline.learn.predict import Predictor, predict_store
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.train import train
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.reader import Store, open_store

long_form = pytest.mark.skipif(not LONG, reason="part of the long form: make faults")
GFSALNET = {"width": 0.125, "input_size": [64, 96]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("moving")
    size = (64, 96)
    write_moving_target(folder / "raw", train_clips=40, val_clips=12, frames=8, size=size)
    sections: dict[str, Any] = {
        "frames": {},
        "flow": [{"method": "tvl1", "size": [32, 48]}],
        "density": {"sigma_px": 4.0, "size": list(size)},
    }
    values = recipe_values(folder / "raw", folder / "store.zarr", **sections)
    results, _ = build(Recipe.parse(values))
    assert all(result.ok for result in results.values())
    return open_store(folder / "store.zarr")


def held_out_nss(store: Store, folder: Path, model: str, **settings: Any) -> dict[str, float]:
    """NSS on the held-out clips of a network trained here, and of the baselines."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    url = store.location.url
    values = {"model": model, "stores": [url], "run": str(folder / model), "device": "cpu"}
    try:
        train(TrainSettings.parse({**values, "validation_split": None, "seed": 0, **settings}))
    finally:
        torch.set_num_threads(threads)
    network, _ = load_network(folder / model)
    predict_store(Predictor(network, model, device="cpu"), url, split="val")
    wanted, _ = contestants(store, [model], ("centre_bias", "flow_magnitude"))
    scores = evaluate(store, wanted, split="val", metrics=("nss",))
    return {
        name: table["dataset"]["nss"]["mean_of_videos"] for name, table in scores.tables.items()
    }


@long_form
def test_flow_readers_find_the_mover_and_frame_readers_mark_both(
    store: Store, tmp_path: Path
) -> None:
    settings = {"options": GFSALNET, "learning_rate": 1e-3, "iterations": 120, "batch_size": 8}
    flow = held_out_nss(store, tmp_path, "gfsalnet_temporal", **settings)
    frame = held_out_nss(store, tmp_path, "gfsalnet_spatial", **settings)
    assert flow["saliency_gfsalnet_temporal"] > 3 * flow["centre_bias"]
    assert flow["saliency_gfsalnet_temporal"] > flow["flow_magnitude"]
    assert flow["saliency_gfsalnet_temporal"] > 1.2 * frame["saliency_gfsalnet_spatial"]
    assert frame["saliency_gfsalnet_spatial"] > 1.5 * frame["centre_bias"]


@long_form
def test_gated_fusion_learns_to_trust_the_motion(store: Store, tmp_path: Path) -> None:
    settings = {"options": GFSALNET, "learning_rate": 1e-3, "iterations": 120, "batch_size": 8}
    both = held_out_nss(store, tmp_path, "gfsalnet", **settings)
    assert both["saliency_gfsalnet"] > 1.8 * both["centre_bias"]


@long_form
def test_stacked_flow_is_learnt_from(store: Store, tmp_path: Path) -> None:
    options = {"width": 0.5, "input_size": [48, 72], "flow_maps": 3}
    settings = {"learning_rate": 3e-4, "iterations": 250, "clip_frames": 4, "seed": 2}
    both = held_out_nss(store, tmp_path, "tp_cmrnet", options=options, **settings)
    assert both["saliency_tp_cmrnet"] > 1.5 * both["centre_bias"]
