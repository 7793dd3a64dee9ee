"""The wheel holds files, where the clone holds links."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
ROOMS = ("flows", "models", "pipeline", "storage")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    unwanted = shutil.ignore_patterns("__pycache__")
    for folder in ("foveal", "recipes", "experiments", *ROOMS):
        shutil.copytree(REPOSITORY / folder, source / folder, symlinks=True, ignore=unwanted)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(out), str(source)]
    subprocess.run(command, check=True)
    (built,) = out.glob("foveal-*-py3-none-any.whl")
    return zipfile.ZipFile(built)


def test_it_holds_every_file_of_every_room_and_no_link(wheel: zipfile.ZipFile) -> None:
    held = {info.filename for info in wheel.infolist()}
    assert not [each for each in wheel.infolist() if stat.S_ISLNK(each.external_attr >> 16)]
    for room in ROOMS:
        files = (path for path in (REPOSITORY / room).rglob("*") if path.is_file())
        wanted = {f"foveal/{path.relative_to(REPOSITORY).as_posix()}" for path in files}
        assert {name for name in wanted if "__pycache__" not in name} <= held
    for folder in ("recipes", "experiments"):
        wanted = {f"foveal/{folder}/{path.name}" for path in (REPOSITORY / folder).glob("*.yaml")}
        assert wanted <= held
    assert "foveal/py.typed" in held


def test_it_installs_nothing_beside_foveal(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"foveal"}


def test_its_version_is_the_one_place(wheel: zipfile.ZipFile) -> None:
    import foveal

    (about,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert f"\nVersion: {foveal.__version__}\n" in wheel.read(about).decode()
