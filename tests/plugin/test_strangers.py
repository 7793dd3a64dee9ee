"""A stranger's package, installed beside foveal: foveal works with it and knows none of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml

from foveal.storage.kinds import select_arrays

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
NAMES = (
    "walkers",
    "squeezenet",
    "loudness",
    "phase_correlation",
    "linear_readout",
    "peak_distance",
)
FRAMES, RATE_HZ = 24, 8000

Foveal = Callable[..., str]


@pytest.fixture(scope="module")
def foveal(tmp_path_factory: pytest.TempPathFactory) -> Foveal:
    """The command line in an environment that has the package too."""
    site = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")
    subprocess.run(["cp", "-r", f"{HERE}/pyproject.toml", f"{HERE}/src", source], check=True)
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", *install, str(source)], check=True)
    path = os.pathsep.join([str(REPOSITORY), str(site)])

    def run(*arguments: str | Path, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "foveal", *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips in which a texture moves 2 px to the right per frame; loud from half of it on."""
    folder = tmp_path_factory.mktemp("raw")
    (folder / "walkers").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        write_clip(folder / "walkers" / f"{name}.mp4", rng.integers(0, 256, (48, 128), np.uint8))
        points = [f"{k},{20 + k},{24},{who}" for k in range(FRAMES) for who in ("x", "y")]
        (folder / "walkers" / f"{name}.csv").write_text("\n".join(points) + "\n")
    return folder


def write_clip(path: Path, texture: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for k in range(FRAMES):
            left = 60 - 2 * k
            picture = np.repeat(texture[:, left : left + 64, None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            container.mux(video.encode(frame))
        seconds = np.arange(RATE_HZ) / RATE_HZ
        tone = (np.sin(2 * np.pi * 440 * seconds) * (seconds >= 0.5)).astype(np.float32)
        heard = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
        heard.sample_rate, heard.pts, heard.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        container.mux(sound.encode(heard))
        container.mux(video.encode())
        container.mux(sound.encode())


@pytest.fixture(scope="module")
def store(foveal: Foveal, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    recipe = {
        "dataset": {"kind": "walkers", "root": str(root)},
        "store": str(folder / "walkers.zarr"),
        "frames": {"size": [32, 32]},
        "flow": [{"method": "phase_correlation", "size": [48, 64]}],
        "squeezenet": {"size": [32, 32]},
        "loudness": {},
        "fixations": {},
        "density": {"preset": "walkers", "size": [32, 32]},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    foveal("build", folder / "recipe.yaml")
    return folder / "walkers.zarr"


def test_no_file_of_foveal_knows_their_names() -> None:
    names = "|".join(NAMES)
    rooms = ("pipeline", "storage", "models", "flows", "foveal")
    found = subprocess.run(
        ["git", "grep", "-nwE", names, "--", *rooms],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert found.stdout == ""


def test_they_are_listed_with_where_they_come_from(foveal: Foveal) -> None:
    rows = json.loads(foveal("plugins", "--json"))
    origins = {row["name"]: row["origin"] for row in rows}
    assert {origins[name] for name in NAMES} == {"strangers 1.0"}
    assert origins["dhf1k"].startswith("foveal ")
    assert not any(row["problem"] for row in rows)


def test_their_dataset_is_recognised(foveal: Foveal, root: Path, tmp_path: Path) -> None:
    foveal("init", root, "-o", tmp_path / "recipe.yaml")
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["dataset"]["kind"] == "walkers"


def test_a_mistake_in_their_section_is_told_as_in_any(
    foveal: Foveal, store: Path, tmp_path: Path
) -> None:
    recipe = yaml.safe_load((store.parent / "recipe.yaml").read_text()) | {
        "squeezenet": {"sise": 3}
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    done = subprocess.run(
        [sys.executable, "-m", "foveal", "build", str(tmp_path / "r.yaml")], capture_output=True
    )
    assert done.returncode == 1
    foveal("build", tmp_path / "r.yaml", status=1)


def test_a_build_holds_their_arrays(store: Path) -> None:
    from foveal.storage.reader import open_store

    opened = open_store(store)
    assert list(opened.videos["status"]) == ["complete", "complete"]
    infos = opened.infos("a")
    assert select_arrays(infos.values(), "features") == ["squeezenet"]
    assert infos["squeezenet"].axis == infos["loudness"].axis == "frame"
    video = opened["a"]
    flow = video["flow_phase_correlation"].values.astype(np.float32)
    np.testing.assert_allclose(flow.mean(axis=(1, 2)), [[2.0, 0.0]] * (FRAMES - 1), atol=0.2)
    loudness = video["loudness"].values
    # A sine of amplitude 1 has a root mean square of 0.707; it begins in frame 12 of 24.
    np.testing.assert_allclose(loudness[14:23], 0.5**0.5, atol=0.05)
    assert loudness[:11].max() < 0.05


def test_a_second_build_has_nothing_to_do(foveal: Foveal, store: Path) -> None:
    told: dict[str, Any] = json.loads(foveal("build", store.parent / "recipe.yaml", "--json"))
    assert told["counts"]["unchanged"] == 2


def test_their_network_learns_from_their_features_and_their_metric_scores_it(
    foveal: Foveal, store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings = ["validation_split=null", "epochs=1", "train_split=train", "device=cpu"]
    sets = [part for each in settings for part in ("--set", each)]
    foveal("train", "linear_readout", "--store", store, "--run", run, *sets)
    foveal("predict", run, "--store", store, "--name", "readout")
    scores = json.loads(
        foveal("evaluate", store, "--metric", "peak_distance", "--metric", "nss", "--json")
    )
    assert "peak_distance" in json.dumps(scores)


def test_their_arrays_are_seen_verified_and_exported(
    foveal: Foveal, store: Path, tmp_path: Path
) -> None:
    assert "squeezenet" in foveal("inspect", store, "a")
    foveal("verify", store)
    foveal("preview", store, "a", "-o", tmp_path / "a.png")
    foveal("report", store, "-o", tmp_path / "report.html")
    assert "loudness" in (tmp_path / "report.html").read_text()
    foveal("export", store, tmp_path / "out", "--array", "squeezenet", "--array", "loudness")
    assert (tmp_path / "out/walk_a/loudness.npy").is_file()
