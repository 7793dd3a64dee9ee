"""Reading a store without any extra, on Linux, and as Python sees macOS and Windows.

These tests need nothing but foveal and pytest: they run in a clean environment with a wheel too
(``make light``).
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import foveal
from foveal.storage.kinds import said_by_name
from foveal.storage.location import Location
from foveal.storage.root import create_store
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter

HERE = Path(__file__).parent
ARCHIVE = HERE.parent / "data" / "first_edition.tar.xz"
RECIPES = sorted((Path(foveal.__file__).parent / "recipes").glob("*.yaml"))

FRAMES = 20


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A store of the first edition, and one as it is written now."""
    folder = tmp_path_factory.mktemp("stores")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    write_store(folder / "now.zarr")
    return [folder / "store.zarr", folder / "now.zarr"]


def write_store(path: Path) -> None:
    """One video with plain and compressed chunks, larger and smaller than what is aligned."""
    location = Location(path)
    create_store(location, "test", {})
    rng = np.random.default_rng(0)
    pictures = ("time", "y", "x", "rgb"), (48, 64, 3), "uint8"
    maps = ("time", "map_y", "map_x"), (6, 8), "uint8"
    about = {"fps": 25.0, "split": "train", "source_size": [48, 64]}
    writer = VideoWriter(location, "a", about)
    for name, (dims, shape, dtype) in {
        "time": (("time",), (), "float64"),
        "frames": pictures,
        "density": maps,
    }.items():
        dims_of: tuple[str, ...] = tuple(dims)
        layout = (4, 8) if shape else ()
        spec = ArraySpec(
            name, dims_of, tuple(shape), np.dtype(dtype), {}, *layout, **said_by_name(name)
        )
        values = rng.integers(0, 100, (FRAMES, *shape)).astype(dtype)
        stage = writer.stage(name, {}, [spec])
        stage.append({name: np.arange(FRAMES) / 25.0 if name == "time" else values})
        told = {"video": about, "last_pts_seconds": (FRAMES - 1) / 25.0, "parameters": {}}
        stage.complete(told)


@pytest.mark.parametrize("system", ["linux", "macos", "windows"])
def test_stores_are_read_and_what_needs_an_extra_says_so(
    system: str, stores: list[Path], tmp_path: Path
) -> None:
    command = [sys.executable, HERE / "reads.py", system, *stores, *RECIPES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_line_starts_light(tmp_path: Path) -> None:
    code = (
        "import sys, foveal.cli\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & "
        "{'numpy', 'pandas', 'zarr', 'xarray', 'pydantic', 'yaml', 'torch', 'prefect'})"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
