"""Training: exact resume after a kill, carried state, several stores and processes, schedules."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_stores import write_small_store

from foveal.errors import FovealError, MissingDependency, RecipeError
from foveal.models import saliency
from foveal.models.losses import saliency_loss
from foveal.models.tensor_files import read
from foveal.pipeline.learn import train as training
from foveal.pipeline.learn.checkpoint import load_network
from foveal.pipeline.learn.inputs import to_network
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.several_stores import open_clips
from foveal.pipeline.learn.step import Step
from foveal.pipeline.learn.train import TrainResult, train
from foveal.storage.reader import open_store
from foveal.torch.batch import collate

SMALL = {"width": 0.05, "input_size": [16, 16]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learn") / "small.zarr"
    videos = {f"{n:02d}": {"frames": 12} for n in range(4)} | {"v": {"split": "val", "frames": 9}}
    write_small_store(folder, videos)
    return folder


def values(store: Path, run: Path, model: str = "salbce", **changes: Any) -> dict[str, Any]:
    common = {
        "model": model,
        "options": SMALL,
        "stores": [str(store)],
        "run": str(run),
        "learning_rate": 1e-3,
        "clip_frames": 4,
        "iterations": 10,
        "device": "cpu",
    }
    return common | changes


def learn(store: Path, run: Path, model: str = "salbce", **changes: Any) -> TrainResult:
    return train(TrainSettings.parse(values(store, run, model, **changes)))


def curve(run: Path) -> list[list[str]]:
    with (run / "curve.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def losses(run: Path) -> list[float]:
    return [float(row[2]) for row in curve(run)]


PROGRAM = """
import json, os, signal, sys
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.train import train
for settings, killed_after in json.loads(sys.argv[1]):
    def listen(step):
        if step.iteration == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)
    train(TrainSettings.parse(settings), listen)
"""


def in_a_process(*runs: tuple[dict[str, Any], int | None]) -> int:
    """Train runs one after the other, each killed after a step or not; gives the exit status."""
    arguments = [sys.executable, "-c", PROGRAM, json.dumps(runs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, env=environment).returncode


def test_a_killed_run_goes_on_at_the_exact_step(store: Path, tmp_path: Path) -> None:
    # Dropout, momentum, a schedule and a state carried from clip to clip: all must survive, in the
    # middle of an epoch (12 steps) and of a video (3 steps).
    settings = {
        "options": {**SMALL, "placement": 30, "dropout": 0.5},
        "schedule": {"factor": 0.5, "every": 7, "unit": "iteration"},
        "iterations": 17,
        "checkpoint_every": 5,
        "validate_every": 8,
        "patience": None,
    }
    whole = values(store, tmp_path / "whole", "salema", **settings)
    broken = values(store, tmp_path / "broken", "salema", **settings)
    assert in_a_process((whole, None), (broken, 7)) == -signal.SIGKILL
    assert read(tmp_path / "broken" / "last.pt")["iteration"] == 5
    assert in_a_process((broken, None)) == 0
    assert [int(row[0]) for row in curve(tmp_path / "whole")] == list(range(1, 18))
    for name in ("curve.csv", "validation.csv"):
        assert (tmp_path / "broken" / name).read_text() == (tmp_path / "whole" / name).read_text()
    one, other = (read(tmp_path / run / "last.pt")["network"] for run in ("whole", "broken"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_run_keeps_its_last_step_and_goes_on_from_it(
    store: Path, tmp_path: Path, sent: signal.Signals, workers: int
) -> None:
    learn(store, tmp_path / "whole")
    settings = TrainSettings.parse(values(store, tmp_path / "run", workers=workers))

    def stop(step: Step) -> None:
        if step.iteration == 3:
            os.kill(os.getpid(), sent)

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stopped = train(settings, stop)
    assert (stopped.ended, stopped.iterations) == ("stopped", 3)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert read(tmp_path / "run" / "last.pt")["iteration"] == 3
    assert train(settings).ended == "iterations"
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")


def test_a_second_ctrl_c_ends_at_once(store: Path, tmp_path: Path) -> None:
    def insist(step: Step) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(TrainSettings.parse(values(store, tmp_path / "run")), insist)
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.slow
def test_ctrl_c_names_the_checkpoint_that_is_there(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = tmp_path / "settings.yaml"
    settings.write_text(json.dumps(values(store, run, iterations=10**6)))
    command = [sys.executable, "-m", "foveal", "train", "salbce", "--config", str(settings)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (run / "curve.csv").exists() or len(curve(run)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    steps = read(run / "last.pt")["iteration"]
    assert steps == len(curve(run))
    assert f"stopped after step {steps}; the same command goes on from {run}/last.pt" in said


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes({"flipped": content, "empty": b"", "cut off": content[:-1000]}[how])


@pytest.mark.parametrize("how", ["flipped", "empty", "cut off", "missing"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    learn(store, tmp_path / "whole")
    run = tmp_path / "run"
    learn(store, run, iterations=8, checkpoint_every=3)  # at 3, 6 and, as it ends, 8
    if how == "missing":
        (run / "last.pt").unlink()
    else:
        damage(run / "last.pt", how)
    learn(store, run, checkpoint_every=3)
    assert "last.pt" in caplog.text
    assert "going on from" in caplog.text
    assert "previous.pt, step 6" in caplog.text
    assert (run / "last.damaged.pt").exists() == (how != "missing")
    assert curve(run) == curve(tmp_path / "whole")


def test_two_damaged_checkpoints_are_named_and_nothing_begins_anew(
    store: Path, tmp_path: Path
) -> None:
    learn(store, tmp_path / "run", iterations=4, checkpoint_every=2)
    for name in ("last.pt", "previous.pt"):
        damage(tmp_path / "run" / name, "flipped")
    with pytest.raises(FovealError, match=r"last\.pt is damaged.*previous\.pt is damaged.*run=…"):
        learn(store, tmp_path / "run")
    damage(tmp_path / "run" / "best.pt", "flipped")
    with pytest.raises(FovealError, match=r"best\.pt is damaged"):
        load_network(tmp_path / "run")


def test_the_same_seed_gives_the_same_curve_and_another_another(
    store: Path, tmp_path: Path
) -> None:
    for run, seed in (("a", 1), ("b", 1), ("c", 2)):
        learn(store, tmp_path / run, seed=seed)
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


def test_reading_by_processes_gives_the_same_curve(store: Path, tmp_path: Path) -> None:
    learn(store, tmp_path / "thread")
    learn(store, tmp_path / "processes", workers=2)
    assert curve(tmp_path / "thread") == curve(tmp_path / "processes")


def test_a_finished_run_is_left_alone_and_can_be_extended(store: Path, tmp_path: Path) -> None:
    learn(store, tmp_path / "whole", iterations=9)
    learn(store, tmp_path / "run", iterations=4)
    before = (tmp_path / "run" / "last.pt").read_bytes()
    assert learn(store, tmp_path / "run", iterations=4).loss is None
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
    learn(store, tmp_path / "run", iterations=9)
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")


def test_other_settings_are_refused_by_name(store: Path, tmp_path: Path) -> None:
    learn(store, tmp_path / "run", iterations=2)
    with pytest.raises(RecipeError, match=r"learning_rate was 0\.001, is 0\.002"):
        learn(store, tmp_path / "run", iterations=4, learning_rate=2e-3)


def test_state_is_carried_through_a_video_and_begun_anew_with_each(
    store: Path, tmp_path: Path
) -> None:
    # At a vanishing learning rate the network stays what it was, so that the loss of each clip can
    # be computed from a whole video at once.
    options = {**SMALL, "alpha": 0.2, "dropout": 0.0}
    learn(store, tmp_path / "run", "salema", options=options, learning_rate=1e-30, iterations=12)
    network, _ = load_network(tmp_path / "run")
    clips = open_clips([open_store(store)], "train", network.spec, None, frames=4, by_video=True)
    measure = saliency_loss("bce", "sum")
    expected = []
    for video in range(4):
        read = collate(clips.__getitems__([(3 * video + part, 0, 0) for part in range(3)]))
        inputs, truth = to_network(read, network.spec, "cpu")
        with torch.inference_mode():
            maps, _ = network({"frame": inputs["frame"].flatten(0, 1)[None]})
        for part in range(3):
            here = slice(4 * part, 4 * part + 4)
            expected.append(
                float(measure(maps[:, here], truth["density"][part][None], None)),
            )
    assert losses(tmp_path / "run") == pytest.approx(expected, rel=1e-5)


def test_epochs_learning_rates_and_validations_follow_the_settings(
    store: Path, tmp_path: Path
) -> None:
    schedule = {"factor": 0.1, "every": 2, "unit": "epoch"}
    result = learn(store, tmp_path / "run", iterations=None, epochs=3, schedule=schedule)
    rows = curve(tmp_path / "run")
    assert [int(row[1]) for row in rows] == [0] * 12 + [1] * 12 + [2] * 12
    assert [float(row[3]) for row in rows] == pytest.approx([1e-3] * 24 + [1e-4] * 12)
    with (tmp_path / "run" / "validation.csv").open(newline="") as file:
        validated = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in validated] == [12, 24, 36]
    assert result.best_nss == max(float(row["nss"]) for row in validated)
    assert result.ended == "iterations"
    assert 0 < result.waiting_share < 1


def test_training_stops_when_nss_no_longer_rises(store: Path, tmp_path: Path) -> None:
    result = learn(
        store, tmp_path / "run", learning_rate=1e-30, iterations=100, validate_every=2, patience=3
    )
    assert result.ended == "early"
    assert result.iterations == 8  # the first is best, three more are no better
    assert result.best_iteration == 2
    assert learn(
        store, tmp_path / "run", learning_rate=1e-30, iterations=100, validate_every=2, patience=3
    ).iterations == 8  # fmt: skip


def test_the_best_network_is_kept_with_what_it_takes_to_build_it(
    store: Path, tmp_path: Path
) -> None:
    result = learn(store, tmp_path / "run", "salema", options={**SMALL, "placement": 54})
    network, provenance = load_network(tmp_path / "run")
    assert network.spec.options["placement"] == [54]
    assert not network.training
    assert provenance["validation_nss"] == result.best_nss
    assert provenance["settings"]["stores"] == [str(store)]


def test_pretraining_goes_on_into_another_network(store: Path, tmp_path: Path) -> None:
    learn(store, tmp_path / "pictures", clip_frames=1, iterations=3)
    learn(
        store,
        tmp_path / "videos",
        "salema",
        backbone=str(tmp_path / "pictures" / "best.pt"),
        learning_rate=1e-30,
        iterations=1,
    )
    before, _ = load_network(tmp_path / "pictures")
    after, provenance = load_network(tmp_path / "videos")
    for key, value in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[key], value, rtol=0, atol=1e-25)
    assert provenance["backbone"] == "best.pt"


def test_several_stores_are_trained_on_together(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zarr"
    write_small_store(other, {"x": {"frames": 8}, "y": {"split": "val", "frames": 8}})
    result = learn(
        store,
        tmp_path / "run",
        stores=[str(store), str(other)],
        iterations=None,
        epochs=1,
        batch_size=2,
    )
    assert result.iterations == (4 * 3 + 2) / 2


def test_flow_readers_and_batches_of_single_frames_train(store: Path, tmp_path: Path) -> None:
    options = {"width": 0.1, "input_size": [32, 32]}
    run = tmp_path / "run"
    learn(store, run, "gfsalnet", options=options, clip_frames=1, batch_size=4, iterations=3)
    assert len(losses(run)) == 3


def test_cached_features_train(store: Path, tmp_path: Path) -> None:
    options = {"width": 0.02, "feature_shape": [2, 2, 1], "feature_channels": 4}
    lsts = {"options": options, "clip_frames": 1, "batch_size": 4}
    result = learn(store, tmp_path / "run", "lsts_rgb", **lsts, iterations=None, epochs=1)
    assert result.iterations == 4 * (12 - 4) / 4  # windows of five frames
    assert result.best_nss is not None


@pytest.mark.slow
def test_two_processes_share_the_clips_and_agree_with_one(store: Path, tmp_path: Path) -> None:
    settings = {"batch_size": 2, "iterations": 5, "loss_over_time": "mean", "clip_frames": 3}
    learn(store, tmp_path / "one", **settings)
    two = values(store, tmp_path / "two", **settings | {"batch_size": 1})
    script = tmp_path / "both.py"
    script.write_text(PROGRAM)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*torchrun, str(script), json.dumps([[two, None]])],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_a_diverging_run_says_so_and_keeps_its_checkpoint(store: Path, tmp_path: Path) -> None:
    with pytest.raises(FovealError, match="no longer finite; lower learning_rate"):
        learn(store, tmp_path / "run", learning_rate=1e30, checkpoint_every=1)
    assert read(tmp_path / "run" / "last.pt")["iteration"] >= 1


def test_every_step_is_told(store: Path, tmp_path: Path) -> None:
    steps: list[Step] = []
    train(TrainSettings.parse(values(store, tmp_path / "run", iterations=3)), steps.append)
    assert [step.iteration for step in steps] == [1, 2, 3]
    assert steps[-1].eta_seconds == 0
    assert steps[-1].nss == steps[-1].best_nss


@pytest.mark.parametrize("model", saliency.names())
def test_whatever_is_left_open_is_the_papers(model: str) -> None:
    spec = saliency.spec(model)
    settings = TrainSettings.parse({"model": model, "stores": ["s"], "run": "r"}).with_paper(spec)
    paper = spec.training
    assert settings.learning_rate == paper.learning_rate
    assert settings.loss == paper.loss
    assert settings.batch_size == paper.batch_size
    assert settings.clip_frames == paper.clip_frames
    assert settings.learning_schedule() == paper.schedule
    assert settings.carry_state == (spec.recurrent and paper.batch_size == 1)
    assert settings.with_paper(spec) == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rat": 1.0}, "did you mean 'learning_rate'"),
        ({"loss": "klx"}, "klx"),
        ({"model": "tp_cmrnet", "precision": "float16"}, "overflows in float16"),
        ({"model": "tp_cmrnet", "learning_rate": 1e-3}, "3e-4"),
        ({"carry_state": True, "batch_size": 4}, "batch_size 1"),
        ({"stores": []}, "stores"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        TrainSettings.parse({"model": "salbce", "stores": ["s"], "run": "r"} | changes)


def test_a_state_cannot_be_carried_by_a_network_without_one() -> None:
    settings = TrainSettings.parse(
        {"model": "salbce", "stores": ["s"], "run": "r", "carry_state": True}
    )
    with pytest.raises(RecipeError, match="recurrent=False"):
        settings.with_paper(settings.spec())


def test_a_file_gives_way_to_arguments_and_these_to_overrides(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("model: salema\nseed: 1\noptions: {width: 0.5}\nbatch_size: 3\n")
    settings = TrainSettings.load(
        file, ["options.placement=7", "batch_size=1"], model="salclstm", stores=["s"], run=None
    )
    assert (settings.model, settings.seed, settings.batch_size) == ("salclstm", 1, 1)
    assert settings.options == {"width": 0.5, "placement": 7}
    assert settings.run == "runs/salclstm"


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("[1]", (), "not a mapping"),
        ("model: [", (), "not YAML"),
        ("model: salbce", ["seed"], "key=value"),
        ("model: salbce", ["model.x=1"], "which has no keys"),
    ],
)
def test_unreadable_files_and_overrides_are_named(
    tmp_path: Path, text: str, overrides: Sequence[str], message: str
) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        TrainSettings.load(tmp_path / "x.yaml", overrides, stores=["s"])


def test_scores_go_to_tensorboard_too_and_on_from_where_they_were(
    store: Path, tmp_path: Path
) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = tmp_path / "run"
    learn(store, run, iterations=3, logger="tensorboard")
    learn(store, run, iterations=5, logger="tensorboard")
    shown = events.EventAccumulator(str(run / "tensorboard")).Reload()
    noted = {event.step: event.value for event in shown.Scalars("loss")}
    assert list(noted) == [1, 2, 3, 4, 5]
    assert list(noted.values()) == pytest.approx(losses(run))
    assert {event.step for event in shown.Scalars("nss")} <= set(noted)


def test_a_logger_that_is_not_installed_is_named_before_anything_is_read(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingDependency, match="pip install wandb, or leave logger out"):
        learn(store, tmp_path / "run", logger="wandb")
    assert not (tmp_path / "run").exists()


def test_a_cpu_says_how_long_it_will_take_and_trains_the_same(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    learn(store, tmp_path / "quiet", iterations=3)
    assert "training on the CPU" not in caplog.text
    monkeypatch.setattr(training, "WORTH_SAYING_SECONDS", 0.0)
    learn(store, tmp_path / "told", iterations=3)
    assert re.search(r"training on the CPU: about 1 min for 3 steps at \S+ s each", caplog.text)
    monkeypatch.setattr(training, "_say_how_long", lambda run: None)
    learn(store, tmp_path / "untold", iterations=3)
    assert losses(tmp_path / "told") == losses(tmp_path / "untold")
