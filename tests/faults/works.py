"""What is killed: builds, their ends, training, prediction, each a function of a folder.

Processes are forked from one that has imported everything, so that a kill costs no second. Holds
no tests.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import resource
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
from builds import build, recipe_values
from small_stores import write_small_store

from foveal.cli import main
from foveal.errors import FovealError
from foveal.models import saliency
from foveal.pipeline.learn.predict import Predictor, predict_store
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.learn.train import train
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.report.report import keep_report

for _name in (
    "av",
    "dask.array",
    "foveal.models.flow.dis",
    "foveal.models.flow.quality",
    "foveal.models.saliency.linardos",
    "matplotlib.pyplot",
    "PIL.Image",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "torch._dynamo",
):
    # What works import where they need it costs a child five times what it computes.
    importlib.import_module(_name)

REFUSED = 4
SMALL = {"width": 0.05, "input_size": [16, 16]}


def _recipe(folder: Path) -> Recipe:
    """Flow by DIS: loading TV-L1's compiled kernels takes longer than all else."""
    flow = [{"method": "dis", "size": [24, 32]}]
    return Recipe.parse(recipe_values(folder / "raw", folder / "store.zarr", flow=flow))


def _build(folder: Path) -> None:
    """Beside ``raw``: stages, index, report."""
    store = folder / "store.zarr"
    results, _ = build(_recipe(folder))
    keep_report(str(store))
    assert all(result.ok or result.reason for result in results.values())


def _build_there(folder: Path) -> None:
    """By the recipe and in the environment that ``build.json`` in the folder holds."""
    about = json.loads((folder / "build.json").read_text())
    os.environ.update(about["environment"])
    build(Recipe.parse(about["recipe"]), only=about["only"])


def _finish(folder: Path) -> None:
    """Only the end of a build, over and over: records, index, report."""
    for _ in range(3):
        _build(folder)


def _repair(folder: Path) -> None:
    build(_recipe(folder), repair=True)


def _train(folder: Path) -> None:
    settings = {
        "model": "salema",
        "options": {**SMALL, "placement": 30, "dropout": 0.5},
        "stores": [str(folder / "small.zarr")],
        "run": str(folder / "run"),
        "learning_rate": 1e-3,
        "clip_frames": 4,
        "iterations": 12,
        "checkpoint_every": 3,
        "device": "cpu",
    }
    train(TrainSettings.parse(settings))


def _predict(folder: Path) -> None:
    torch.manual_seed(0)
    network = saliency.build("salbce", weights="random", input_size=(16, 16), width=0.05)
    predictor = Predictor(network.eval(), "x", device="cpu", stored_dtype="float32")
    predict_store(predictor, str(folder / "small.zarr"))


WORKS: dict[str, Callable[[Path], None]] = {
    "build": _build,
    "build there": _build_there,
    "finish": _finish,
    "repair": _repair,
    "training": _train,
    "prediction": _predict,
}


def prepare(work: str, folder: Path, raw: Path) -> None:
    """What a work needs in its folder."""
    folder.mkdir()
    if work in ("training", "prediction"):
        videos: dict[str, dict[str, object]] = {f"{n}": {"frames": 30} for n in range(4)}
        videos |= {"v": {"frames": 9, "split": "val"}}
        write_small_store(folder / "small.zarr", videos)
    else:
        (folder / "raw").symlink_to(raw)


def _in_a_child(work: str, folder: str, ready: object) -> None:
    torch.set_num_threads(1)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    ready.set()  # type: ignore[attr-defined]
    try:
        WORKS[work](Path(folder))
    except FovealError as error:
        sys.exit(REFUSED if "\n" not in str(error) else 1)


_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([__name__])


def started(work: str, folder: Path) -> multiprocessing.process.BaseProcess:
    """A process that has begun a work."""
    _begin_forking()
    ready = _forks.Event()
    process = _forks.Process(target=_in_a_child, args=(work, str(folder), ready))
    process.start()
    assert ready.wait(120)
    return process


def limited(limit_bytes: int, command: list[str], errors: Path) -> tuple[int | None, str]:
    """Run a command in a process whose files may not grow longer.

    Returns
    -------
    status, said
        Its exit status, and what it wrote to standard error.
    """
    _begin_forking()
    process = _forks.Process(target=_with_a_limit, args=(limit_bytes, command, str(errors)))
    process.start()
    process.join()
    return process.exitcode, errors.read_text()


def _with_a_limit(limit_bytes: int, command: list[str], errors: str) -> None:
    torch.set_num_threads(1)
    for stream, path in ((1, os.devnull), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
    sys.argv = ["foveal", *command]
    main()


def _begin_forking() -> None:
    with pytest.MonkeyPatch.context() as patch:
        # The server that forks looks for what it imports beforehand there alone.
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        forkserver.ensure_running()


def send(process: multiprocessing.process.BaseProcess, number: int) -> None:
    """Signal a process that is still there; the number of one that ended may be another's."""
    if process.is_alive() and process.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
