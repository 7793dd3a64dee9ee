"""Protocols as the papers have them: who is held out, pictures, short shots, batches, inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_stores import write_small_store
from typer.testing import CliRunner

from foveal.cli import app
from foveal.cli.train import NETWORKS
from foveal.errors import RecipeError
from foveal.models import saliency
from foveal.models.saliency.protocols import PROTOCOLS, explain, markdown
from foveal.models.tensor_files import read
from foveal.pipeline.learn.checkpoint import load_network
from foveal.pipeline.learn.fit import misfits
from foveal.pipeline.learn.held_out import divide
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.several_stores import augmentation, open_clips
from foveal.pipeline.learn.step import Step
from foveal.pipeline.learn.train import TrainResult, train
from foveal.storage.reader import Store, open_store
from foveal.torch.loader import ClipLoader

REPOSITORY = Path(__file__).parents[2]
SMALL = {"width": 0.05, "input_size": [16, 16]}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Videos without a split val, still pictures, shots of films."""
    folder = tmp_path_factory.mktemp("protocols")
    frames = ("time", "frames", "density", "fixations")
    short = {f"{n}": {"frames": n, "stages": frames} for n in (3, 5, 8, 12)}
    still = {f"p{n}": {"frames": 1, "stages": frames} for n in range(6)}
    still["q"] = {"frames": 1, "split": "val", "stages": frames}
    shots = {
        f"actioncliptrain{film:05d}_{shot}": {"frames": 4, "stages": (*frames, "flow_tvl1")}
        for film in range(1, 6)
        for shot in (1, 2)
    }
    for name, videos in {"videos": short, "pictures": still, "films": shots}.items():
        write_small_store(folder / f"{name}.zarr", videos)
    return {name: folder / f"{name}.zarr" for name in ("videos", "pictures", "films")}


def settings(*urls: Path, **changes: Any) -> TrainSettings:
    values = {
        "model": "salbce", "options": SMALL, "stores": [str(url) for url in urls], "run": "r",
        "device": "cpu", "learning_rate": 1e-3,
    }  # fmt: skip
    return TrainSettings.parse(values | changes)


def learn(run: Path, *urls: Path, **changes: Any) -> tuple[TrainResult, list[Step]]:
    steps: list[Step] = []
    return train(settings(*urls, run=str(run), **changes), steps.append), steps


def named(store: Path, dataset: str) -> Store:
    opened = open_store(store)
    opened.dataset = dataset
    return opened


# -- who is held out --------------------------------------------------------------------------


def test_a_share_is_held_out_by_seed_and_name_alone(stores: dict[str, Path]) -> None:
    url = stores["videos"]
    opened = open_store(url)
    one = divide(settings(url, validation_share=0.25), [opened])
    ((_, train_videos),) = one.train
    ((_, held),) = one.validation
    assert sorted([*train_videos, *held]) == sorted(opened.select("train"))
    assert len(held) == 1
    assert divide(settings(url, validation_share=0.25), [opened]).record() == one.record()
    seeds = {str(divide(settings(url, validation_share=0.25, seed=s), [opened]).record())
             for s in range(8)}  # fmt: skip
    assert len(seeds) > 1
    assert one.record() == [{"store": str(opened.location), "videos": list(held)}]
    # At least one of each store, never all.
    for share in (0.001, 0.999):
        ((_, part),) = divide(settings(url, validation_share=share), [opened]).validation
        assert len(part) == (1 if share < 0.5 else 3)


def test_films_are_never_divided(stores: dict[str, Path]) -> None:
    store = named(stores["films"], "hollywood2")
    for seed in range(5):
        division = divide(settings(stores["films"], validation_share=0.4, seed=seed), [store])
        ((_, held),) = division.validation
        ((_, kept),) = division.train
        films = [{video.rsplit("_", 1)[0] for video in part} for part in (held, kept)]
        assert not films[0] & films[1]
        assert (len(films[0]), len(held)) == (2, 4)


def test_ids_and_patterns_are_held_out_and_unknown_ones_named(stores: dict[str, Path]) -> None:
    url = stores["films"]
    one = divide(settings(url, validation_ids=["*_2", "actioncliptrain00001_1"]), [open_store(url)])
    ((_, held),) = one.validation
    assert len(held) == 6
    assert "actioncliptrain00001_1" in held
    with pytest.raises(RecipeError, match=r"'601' matches no training video .* there are 10, such"):
        divide(settings(url, validation_ids=["601"]), [open_store(url)])
    with pytest.raises(RecipeError, match="every video is held out"):
        divide(settings(url, validation_ids=["*"]), [open_store(url)])


def test_a_store_without_val_trains_and_says_so(
    stores: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result, _ = learn(tmp_path / "run", stores["videos"], clip_frames=2, iterations=2)
    assert (result.best_nss, result.ended) == (None, "iterations")
    assert "has no split 'val', so it is not validated on; validation_share=0.1" in caplog.text
    assert load_network(tmp_path / "run")[1]["validated_on"] == []
    caplog.clear()
    both = [open_store(stores[name]) for name in ("videos", "pictures")]
    division = divide(settings(stores["videos"], stores["pictures"]), both)
    assert division.record() == [{"store": str(both[1].location), "videos": ["q"]}]
    assert "videos.zarr has no split" in caplog.text


def test_the_held_out_are_recorded_and_validated_on(
    stores: dict[str, Path], tmp_path: Path
) -> None:
    changes = {"clip_frames": 2, "iterations": 2, "validation_share": 0.25}
    result, _ = learn(tmp_path / "run", stores["videos"], stores["films"], **changes)
    assert result.best_nss is not None
    recorded = read(tmp_path / "run" / "last.pt")["validated_on"]
    assert [len(one["videos"]) for one in recorded] == [1, 2]
    assert load_network(tmp_path / "run")[1]["validated_on"] == recorded


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation_share": 0.1, "validation_ids": ["1"]}, "exclude each other"),
        ({"validation_split": "val", "validation_share": 0.1}, "exclude each other"),
        ({"validation_share": 1.0}, "validation_share"),
        ({"validation_stores": ["s"], "validation_share": 0.1}, "goes with validation_split"),
        ({"augment": {"mirrors": 1.0}}, "did you mean 'mirror'"),
    ],
)
def test_wrong_protocols_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        settings(Path("s"), **changes)


# -- clips ------------------------------------------------------------------------------------


def test_pictures_are_trained_on_one_by_one_by_themselves(
    stores: dict[str, Path], tmp_path: Path
) -> None:
    result, _ = learn(tmp_path / "run", stores["pictures"], iterations=3)
    made = load_network(tmp_path / "run")[1]["settings"]
    assert (made["clip_frames"], made["epochs"]) == (1, 27)
    assert made["augment"] == {"mirror": 0.5, "rotate_degrees": 10.0}
    assert result.best_nss is not None
    video = settings(stores["videos"]).with_paper(saliency.spec("salbce"))
    assert (video.clip_frames, video.epochs) == (10, 7)
    assert augmentation(video) is None


def test_short_shots_are_padded_and_padding_costs_nothing(
    stores: dict[str, Path], tmp_path: Path
) -> None:
    # Shots of 3, 5, 8 and 12 frames in clips of 10: one clip each, none dropped.
    changes = {"validation_split": None, "learning_rate": 1e-30, "epochs": 1}
    _, padded = learn(tmp_path / "padded", stores["videos"], **changes)
    assert len(padded) == 4
    _, whole = learn(tmp_path / "frames", stores["videos"], clip_frames=1, augment={}, **changes)
    assert len(whole) == 28
    # The loss of a clip sums its real frames, so over all shots but the two frames that fill no
    # clip it is the sum of the losses of all frames.
    lost = sum(step.loss for step in whole) - sum(step.loss for step in padded)
    assert 0 < lost < 0.1 * sum(step.loss for step in whole)
    assert len(learn(tmp_path / "skip", stores["videos"], short="skip", **changes)[1]) == 1


def test_augmentation_is_drawn_alike_whoever_reads(stores: dict[str, Path], tmp_path: Path) -> None:
    changes = {"clip_frames": 3, "iterations": 3, "augment": {"mirror": 0.5, "rotate_degrees": 9.0}}
    losses = {}
    for name, more in {
        "here": {}, "workers": {"workers": 2}, "plain": {"augment": {}}, "seed": {"seed": 3},
    }.items():  # fmt: skip
        _, steps = learn(tmp_path / name, stores["videos"], **{**changes, **more})
        losses[name] = [step.loss for step in steps]
    assert losses["here"] == losses["workers"]
    assert len({str(one) for one in losses.values()}) == 3


def test_batches_have_the_size_of_their_dataset(stores: dict[str, Path]) -> None:
    spec = saliency.spec("salbce", **SMALL)
    opened = [open_store(stores["videos"]), open_store(stores["pictures"])]
    clips = open_clips(opened, "train", spec, None, frames=1)
    loader = ClipLoader(clips, [4, 2], seed=1)  # type: ignore[arg-type]
    batches = list(loader)
    of = [{video.startswith("p") for video in batch["video"]} for batch in batches]
    assert all(len(one) == 1 for one in of), "a batch is of one store"
    sizes = {False: [], True: []}  # type: ignore[var-annotated]
    for one, batch in zip(of, batches, strict=True):
        sizes[one.pop()].append(len(batch["video"]))
    assert (sizes[False], sizes[True]) == ([4] * 7, [2] * 3)
    kinds = [bool(batch["video"][0].startswith("p")) for batch in batches]
    assert len(np.flatnonzero(np.diff(kinds))) > 1, "they come mixed"
    whole = [ClipLoader(clips, [4, 2], seed=1, rank=r, world_size=3, drop_last=True)  # type: ignore[arg-type]
             for r in range(3)]  # fmt: skip
    assert len({len(one) for one in whole}) == 1


def test_the_paper_s_other_batch_size_is_taken_for_its_dataset() -> None:
    spec = saliency.spec("gfsalnet")
    resolved = settings(Path("s"), model="gfsalnet", options={}).with_paper(spec)
    assert (resolved.batch_size, resolved.batch_size_of) == (16, {"ucf_sports": 8})
    mine = settings(Path("s"), model="gfsalnet", options={}, batch_size=4).with_paper(spec)
    assert (mine.batch_size, mine.batch_size_of) == (4, {})


# -- inputs that do not fit -------------------------------------------------------------------


def test_inputs_that_do_not_fit_are_said_and_refused(
    stores: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # 6x8 frames and 3x4 TV-L1 for a network that wants PWC-Net at 32x32.
    spec = saliency.spec("gfsalnet", width=0.1, input_size=[32, 32])
    found = misfits([open_store(stores["films"])], spec, None)
    assert [one.split(": ", 1)[1] for one in found] == [
        "frames are 6x8, gfsalnet reads 32x32: enlarged; in its recipe: frames: {size: [32, 32]}, "
        "or null",
        "flow is flow_tvl1, gfsalnet reads that of pwcnet; in its recipe: "
        "flow: [{method: pwcnet, size: [32, 32]}]",
        "flow_tvl1 is 3x4, gfsalnet reads 32x32: enlarged; in its recipe: "
        "flow: [{method: pwcnet, size: [32, 32]}]",
    ]
    options = {"options": {"width": 0.1, "input_size": [32, 32]}, "model": "gfsalnet"}
    with pytest.raises(RecipeError, match=r"strict_inputs: .*pwcnet.*or train without"):
        learn(tmp_path / "strict", stores["films"], strict_inputs=True, **options)
    assert not (tmp_path / "strict").exists(), "refused before anything is written"
    learn(tmp_path / "run", stores["films"], iterations=1, batch_size=2, **options)
    assert "flow is flow_tvl1, gfsalnet reads that of pwcnet" in caplog.text
    assert load_network(tmp_path / "run")[1]["misfits"] == found
    fits = saliency.spec("salbce", width=0.1, input_size=[16, 16])
    assert len(misfits([open_store(stores["films"])], fits, None)) == 1


def test_a_schedule_that_ends_training_is_said(
    stores: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = {"factor": 0.1, "every": 1, "unit": "iteration"}
    learn(tmp_path / "run", stores["videos"], clip_frames=1, iterations=6, schedule=schedule)
    assert "learning rate to 0.0001 of its start by step 4 of 6; schedule=constant" in caplog.text


# -- what the papers say ----------------------------------------------------------------------


def test_every_setting_of_every_network_is_explained() -> None:
    own = [name.strip() for name in NETWORKS.split(",")]
    assert set(PROTOCOLS) <= set(own) <= set(saliency.names())
    page = (REPOSITORY / "docs" / "training.md").read_text()
    for name in own:
        spec = saliency.spec(name)
        assert markdown(spec) in page, f"docs/training.md should say of {name}:\n{markdown(spec)}"
        rows = {row[0]: row for row in explain(spec)}
        if name not in PROTOCOLS:
            continue
        for field in ("loss", "optimiser", "learning_rate", "schedule", "weight_decay",
                      "gradient_clip_norm", "batch_size", "clip_frames", "epochs", "patience",
                      "augment", "short"):  # fmt: skip
            assert field in rows, (name, field)
        for setting, paper, _, ours, reason in rows.values():
            assert paper, (name, setting)
            departs = paper == "not stated" and ours not in ("0", "none", "constant", "nothing")
            assert reason or not departs or setting in ("carry_state", "validation_split"), (
                name, setting, ours)  # fmt: skip


def test_nothing_is_done_that_no_paper_states() -> None:
    for name in saliency.names():
        training = saliency.spec(name).training
        assert training.gradient_clip_norm is None
        assert training.weight_decay == (5e-5 if name.startswith("lsts") else 0)
    assert settings(Path("s")).patience is None


def test_explain_prints_the_table() -> None:
    done = CliRunner().invoke(app, ["train", "salclstm", "--explain"])
    assert done.exit_code == 0
    assert "options.peepholes" in done.stdout
    assert "C_(t-1)" in done.stdout
    assert CliRunner().invoke(app, ["train", "--help"]).stdout.count("gfsalnet_spatial") == 1


def test_layers_54_and_56_give_the_same_maps() -> None:
    # Between them lie an upsampling and a convolution, which commute with an average over time.
    torch.manual_seed(0)
    one = saliency.build("salema", weights="random", placement=54, **SMALL).eval()
    other = saliency.build("salema", weights="random", placement=56, **SMALL).eval()
    other.load_state_dict(one.state_dict())
    clip = 60 * torch.randn(1, 5, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(one({"frame": clip})[0], other({"frame": clip})[0])
