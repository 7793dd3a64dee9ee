"""Does every family learn? NSS on held-out clips after a short training on a CPU.

The dataset (`foveal.pipeline.demo.moving`) shows the same pebble twice, one still, one moving;
observers follow the one that moves. The store is built by the real pipeline, each network trained,
its maps written into the store and scored there beside the baselines. Sizes and widths are reduced
as the table says. A single frame cannot tell the pebbles apart: the best its reader can do is to
mark both, which divides NSS by the square root of two. The best step is chosen on some of the val
clips and scored on the others. LSTS, trained by KL and Adam, reads windows of 16 frames of an I3D
with random weights (`write_i3d`). The peer is the centre bias (mean density of the train clips).
Run: ``python benchmarks/learn.py [--networks salbce,gfsalnet] [--folder F] [--json]``
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _figures import higher, print_json
from torch import nn

from foveal.models.i3d.network import Tower, random_i3d
from foveal.models.i3d.preprocess import preprocess
from foveal.pipeline.build.build import Build
from foveal.pipeline.demo.moving import write_moving_target
from foveal.pipeline.learn.checkpoint import load_network
from foveal.pipeline.learn.evaluate import contestants, evaluate
from foveal.pipeline.learn.predict import Predictor, predict_store
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.train import TrainResult, train
from foveal.pipeline.recipe.recipe import Recipe
from foveal.storage.reader import open_store


@dataclass(frozen=True)
class Entry:
    """A network, reduced, and how it is trained here where that differs from its paper."""

    model: str
    options: dict[str, Any]
    settings: dict[str, Any]
    reads: str
    starts_from: str | None = None


VALIDATION_CLIPS = 6
HELD_OUT_CLIPS = 14
CALIBRATION_CLIPS = 64
WINDOW_FRAMES = 16
SIZE = (96, 128)

TOWERS: tuple[Tower, ...] = ("rgb", "flow")

SALGAN = {"width": 0.125, "input_size": [96, 128]}
GFSALNET = {"width": 0.125, "input_size": [64, 96]}
TP_CMRNET = {"width": 0.25, "input_size": [64, 96]}
# As the figures of docs/results.md were measured, whatever the papers say.
RELEASED = {"weight_decay": 1e-4, "gradient_clip_norm": 100.0}
GFSALNET_TRAINING = {"iterations": 150, "learning_rate": 1e-3, "batch_size": 8}
CLIPS = {"clip_frames": 8, "batch_size": 2, "loss_over_time": "mean"}
LSTS = {"width": 0.25, "feature_shape": [2, 3, 4]}
LSTS_TRAINING = {
    "iterations": 300,
    "learning_rate": 1e-3,
    "batch_size": 16,
    "loss": "kl",
    "optimiser": "adam",
    "weight_decay": 1e-2,
    "validate_every": 20,
    "schedule": "constant",
}

ENTRIES = {
    "salbce": Entry(
        "salbce",
        SALGAN,
        {"iterations": 400, "learning_rate": 3e-4, "clip_frames": 1, "batch_size": 8, **RELEASED},
        "frame",
    ),
    "salema": Entry(
        "salema",
        SALGAN | {"alpha_mode": "learned", "alpha": 0.25, "dropout": 0.0},
        {"iterations": 100, "learning_rate": 3e-4, **CLIPS, **RELEASED},
        "frames so far",
        starts_from="salbce",
    ),
    "salclstm": Entry(
        "salclstm",
        SALGAN | {"peepholes": "none"},
        {"iterations": 200, "learning_rate": 1e-3, **CLIPS, **RELEASED},
        "frames so far",
        starts_from="salbce",
    ),
    "gfsalnet_spatial": Entry("gfsalnet_spatial", GFSALNET, GFSALNET_TRAINING, "frame"),
    "gfsalnet_temporal": Entry("gfsalnet_temporal", GFSALNET, GFSALNET_TRAINING, "flow"),
    "gfsalnet": Entry("gfsalnet", GFSALNET, GFSALNET_TRAINING, "frame, flow"),
    "lsts_rgb": Entry("lsts_rgb", LSTS, LSTS_TRAINING, "I3D of frames"),
    "lsts_flow": Entry("lsts_flow", LSTS, LSTS_TRAINING, "I3D of flow"),
    "lsts_rgb_flow": Entry("lsts_rgb_flow", LSTS, LSTS_TRAINING, "I3D of both"),
    "tp_cmrnet_no_flow": Entry(
        "tp_cmrnet",
        TP_CMRNET | {"flow_maps": 0},
        {"iterations": 1000, "learning_rate": 3e-4},
        "5 frames",
    ),
    "tp_cmrnet": Entry(
        "tp_cmrnet",
        TP_CMRNET | {"flow_maps": 3},
        {"iterations": 1000, "learning_rate": 3e-4},
        "5 frames, flow",
    ),
}


def build_store(folder: Path, seed: int, train_clips: int, features: bool) -> str:
    """Write the raw dataset and build its store, features last; what is there is kept."""
    raw, store = folder / "raw", folder / "store.zarr"
    if not raw.exists():
        val_clips = VALIDATION_CLIPS + HELD_OUT_CLIPS
        write_moving_target(
            raw, seed, train_clips=train_clips, val_clips=val_clips, frames=40, size=SIZE
        )
    sections: dict[str, Any] = {
        "dataset": {"kind": "dhf1k", "root": str(raw)},
        "store": str(store),
        "frames": {},
        "flow": [{"method": "tvl1", "size": [48, 64]}],
        "fixations": {},
        "density": {"sigma_px": 5.0, "size": list(SIZE)},
    }
    build(Recipe.parse(sections))
    if not features:
        return str(store)
    weights = {f"weights_{tower}": write_i3d(tower, store, folder) for tower in TOWERS}
    i3d = {"window": WINDOW_FRAMES, "size": list(SIZE), "pooling": "none", **weights}
    build(Recipe.parse({**sections, "i3d": i3d}))
    return str(store)


def build(recipe: Recipe) -> None:
    with Build.open(recipe).at_work() as work:
        plan = work.plan()
        results = [*plan.settled, *(work.run(each.video.id) for each in plan.to_do)]
        work.finalise(results)
    broken = [result for result in results if not result.ok]
    assert not broken, broken


def write_i3d(tower: Tower, store: Path, folder: Path) -> str:
    """A file of random I3D weights that tell the clips of this dataset apart.

    Plain random filters do not: what they give of all clips is nearly the same. So the statistics
    of each BatchNorm are measured, on windows of train clips, and the RGB stem sees change: the
    mean over time is taken from its filters.
    """
    path = folder / f"i3d_{tower}.pt"
    if path.exists():
        return str(path)
    network = random_i3d(tower)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.reset_running_stats()
            module.momentum = None
    if tower == "rgb":
        stem = network.get_parameter("Conv3d_1a_7x7.conv3d.weight")
        stem.data -= stem.data.mean(dim=2, keepdim=True)
    opened = open_store(store)
    array = "frames" if tower == "rgb" else "flow_tvl1"
    windows = [
        preprocess(
            torch.from_numpy(opened.array(video, array)[:WINDOW_FRAMES]), tower, "lsts", SIZE
        )
        for video in opened.select("train")[:CALIBRATION_CLIPS]
    ]
    network.train()
    with torch.no_grad():
        for batch in torch.split(torch.stack(windows).movedim(-1, 1), 4):
            network(batch)
    torch.save(network.state_dict(), path)
    return str(path)


def learn(name: str, store: str, folder: Path, seed: int, steps: int | None) -> TrainResult:
    """Train one entry, and first what it starts from; write its maps into the store.

    `steps` replaces the entry's own number of steps.
    """
    entry = ENTRIES[name]
    backbone = None
    if entry.starts_from is not None:
        backbone = str(learn(entry.starts_from, store, folder, seed, steps).run / "best.pt")
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
            **({} if steps is None else {"iterations": steps, "validate_every": steps}),
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
    parser.add_argument("--train-clips", type=int, default=120)
    parser.add_argument("--steps", type=int, help="in place of each network's own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = arguments.networks.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        features = any(name.startswith("lsts") for name in names)
        store = build_store(folder, arguments.seed, arguments.train_clips, features)
        results = {
            name: learn(name, store, folder, arguments.seed, arguments.steps) for name in names
        }
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
        told = [
            higher(
                f"NSS of {row['name']} on held-out clips",
                row["nss"],
                "NSS",
                "centre bias",
                centre,
                note=f"reads {row['reads']}" if "reads" in row else "a baseline",
            )
            for row in sorted(rows, key=lambda row: "reads" not in row)
            if row["nss"] is not None
        ]
        print_json(__file__, told, {"seed": arguments.seed, "rows": rows})
        return
    print(
        "| | reads | input | width | parameters | steps | seconds | waiting "
        "| NSS | CC | AUC-Judd | x centre |"
    )
    print("|---|---|" + "---:|" * 10)
    for row in rows:
        cells = [row["name"], row.get("reads", ""), *[""] * 6]
        if "reads" in row:
            size = row["options"].get("input_size", row["options"].get("feature_shape"))
            cells[2:] = [
                "x".join(map(str, size)),
                str(row["options"]["width"]),
                f"{row['parameters']:,}",
                str(row["steps"]),
                f"{row['seconds']:.0f}",
                f"{row['waiting_share']:.1%}",
            ]
        for key, digits in (("nss", 2), ("cc", 2), ("auc_judd", 3), ("ratio", 1)):
            cells.append("" if row[key] is None else f"{row[key]:.{digits}f}")
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
