"""Does every family learn? NSS on held-out clips after a short training on a CPU.

The dataset (`foveal.pipeline.demo.moving`) shows the same pebble twice, one still, one moving;
observers follow the one that moves. The store is built by the real pipeline, each network trained,
its maps written into the store and scored there beside the baselines. Sizes and widths are reduced
as the table says. A single frame cannot tell the pebbles apart: the best its reader can do is to
mark both, which divides NSS by the square root of two. The best step is chosen on four of the val
clips and scored on the six others. LSTS reads windows of 16 frames of an I3D with random weights,
trained by KL and Adam. The peer is the centre bias (mean density of the train clips).
Run: ``python benchmarks/learn.py [--networks salbce,gfsalnet] [--folder F] [--json]``
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from foveal.pipeline.build import finalise, plan_build, prepare, run_named
from foveal.pipeline.demo.moving import write_moving_target
from foveal.pipeline.learn.checkpoint import load_network
from foveal.pipeline.learn.evaluate import contestants, evaluate
from foveal.pipeline.learn.predict import Predictor, predict_store
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.train import TrainResult, train
from foveal.pipeline.recipe import Recipe
from foveal.storage.reader import open_store


@dataclass(frozen=True)
class Entry:
    """A network, reduced, and how it is trained here where that differs from its paper."""

    model: str
    options: dict[str, Any]
    settings: dict[str, Any]
    reads: str
    starts_from: str | None = None


VALIDATION_CLIPS = 4

SALGAN = {"width": 0.125, "input_size": [48, 64]}
GFSALNET = {"width": 0.125, "input_size": [64, 96]}
TP_CMRNET = {"width": 0.25, "input_size": [64, 96]}
CLIPS = {"clip_frames": 8, "batch_size": 2, "loss_over_time": "mean"}
LSTS = {"width": 0.125, "feature_shape": [2, 3, 4]}
LSTS_TRAINING = {
    "iterations": 240,
    "learning_rate": 1e-3,
    "batch_size": 16,
    "loss": "kl",
    "optimiser": "adam",
    "weight_decay": 1e-3,
    "validate_every": 20,
}

ENTRIES = {
    "salbce": Entry(
        "salbce",
        SALGAN,
        {"iterations": 800, "learning_rate": 1e-3, "clip_frames": 1, "batch_size": 8},
        "frame",
    ),
    "salema": Entry(
        "salema",
        SALGAN | {"alpha_mode": "learned", "dropout": 0.0},
        {"iterations": 100, "learning_rate": 3e-4, **CLIPS},
        "frames so far",
        starts_from="salbce",
    ),
    "salclstm": Entry(
        "salclstm",
        SALGAN,
        {"iterations": 200, "learning_rate": 1e-3, **CLIPS},
        "frames so far",
        starts_from="salbce",
    ),
    "gfsalnet_spatial": Entry(
        "gfsalnet_spatial", GFSALNET, {"iterations": 150, "learning_rate": 1e-3}, "frame"
    ),
    "gfsalnet_temporal": Entry(
        "gfsalnet_temporal", GFSALNET, {"iterations": 150, "learning_rate": 1e-3}, "flow"
    ),
    "gfsalnet": Entry(
        "gfsalnet", GFSALNET, {"iterations": 150, "learning_rate": 1e-3}, "frame, flow"
    ),
    "lsts_rgb": Entry("lsts_rgb", LSTS, LSTS_TRAINING, "I3D of frames"),
    "lsts_flow": Entry("lsts_flow", LSTS, LSTS_TRAINING, "I3D of flow"),
    "lsts_rgb_flow": Entry("lsts_rgb_flow", LSTS, LSTS_TRAINING, "I3D of both"),
    "tp_cmrnet_no_flow": Entry(
        "tp_cmrnet",
        TP_CMRNET | {"flow_maps": 0},
        {"iterations": 500, "learning_rate": 3e-4},
        "5 frames",
    ),
    "tp_cmrnet": Entry(
        "tp_cmrnet",
        TP_CMRNET | {"flow_maps": 3},
        {"iterations": 500, "learning_rate": 3e-4},
        "5 frames, flow",
    ),
}


def build_store(folder: Path, seed: int) -> str:
    """Write the raw dataset and build its store, unless they are there."""
    raw, store = folder / "raw", folder / "store.zarr"
    if not raw.exists():
        write_moving_target(raw, seed, train_clips=120, val_clips=VALIDATION_CLIPS + 6, frames=20)
    recipe = Recipe.parse(
        {
            "dataset": {"kind": "dhf1k", "root": str(raw)},
            "store": str(store),
            "frames": {},
            "flow": [{"method": "tvl1", "size": [48, 64]}],
            "i3d": {
                "window": 16,
                "size": [96, 128],
                "pooling": "none",
                "weights_rgb": "random",
                "weights_flow": "random",
            },
            "fixations": {},
            "density": {"sigma_px": 5.0, "size": [96, 128]},
        }
    )
    prepare(recipe)
    plan = plan_build(recipe)
    results = [*plan.settled, *(run_named(recipe, each.video.id) for each in plan.to_do)]
    finalise(recipe, results)
    assert all(result.ok for result in results), results
    return str(store)


def learn(name: str, store: str, folder: Path, seed: int) -> TrainResult:
    """Train one entry, and first what it starts from; write its maps into the store."""
    entry = ENTRIES[name]
    backbone = None
    if entry.starts_from is not None:
        backbone = str(learn(entry.starts_from, store, folder, seed).run / "best.pt")
    settings = TrainSettings.parse(
        {
            "model": entry.model,
            "options": entry.options,
            "backbone": backbone,
            "stores": [store],
            "run": str(folder / "runs" / name),
            "seed": seed,
            "validate_every": 50,
            "validation_videos": VALIDATION_CLIPS,
            "patience": None,
            "device": "cpu",
            **entry.settings,
        }
    )
    result = train(settings)
    network, trained = load_network(result.run)
    predict_store(Predictor(network, name, device="cpu", trained=trained), store, split="val")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(ENTRIES))
    parser.add_argument("--folder", type=Path, help="keep dataset, store and runs here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = arguments.networks.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        store = build_store(folder, arguments.seed)
        results = {name: learn(name, store, folder, arguments.seed) for name in names}
        opened = open_store(store)
        wanted, _ = contestants(opened, names)
        held_out = opened.select("val")[VALIDATION_CLIPS:]
        scores = evaluate(opened, wanted, videos=held_out, metrics=("auc_judd", "nss", "cc"))
    values = {
        name: {metric: entry["mean_of_videos"] for metric, entry in table["dataset"].items()}
        for name, table in scores.tables.items()
    }
    centre = values["centre_bias"]["nss"]
    rows = []
    for contestant, means in values.items():
        name = contestant.removeprefix("saliency_")
        row: dict[str, Any] = {"name": name, **means, "peer": "centre bias"}
        row["ratio"] = None if means["nss"] is None else means["nss"] / centre
        if name in results:
            result, entry = results[name], ENTRIES[name]
            row |= {
                "reads": entry.reads,
                "options": entry.options,
                "starts_from": entry.starts_from,
                "parameters": result.parameters,
                "steps": result.iterations,
                "seconds": round(result.seconds, 1),
                "waiting_share": round(result.waiting_share, 4),
            }
        rows.append(row)
    if arguments.json:
        print(json.dumps({"seed": arguments.seed, "rows": rows}))
        return
    print("| | reads | input | width | parameters | steps | seconds | waiting | NSS | x centre |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        nss = "undefined" if row["nss"] is None else f"{row['nss']:.2f}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}"
        if "reads" not in row:
            print(f"| {row['name']} | | | | | | | | {nss} | {ratio} |")
            continue
        size = "x".join(map(str, row["options"].get("input_size", ["features"])))
        print(
            f"| {row['name']} | {row['reads']} | {size} | {row['options']['width']} "
            f"| {row['parameters']:,} | {row['steps']} | {row['seconds']:.0f} "
            f"| {row['waiting_share']:.1%} | {nss} | {ratio} |"
        )


if __name__ == "__main__":
    main()
