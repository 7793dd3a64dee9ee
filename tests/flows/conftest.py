"""A server and raw datasets that the tests of the flows share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from builds import write_raw

from foveal.flows.server import prefect_server
from foveal.pipeline.video.ffmpeg import ffmpeg_executable


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "dhf1k")


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded server of its own, so that no run is mixed with the user's."""
    from prefect.settings import PREFECT_HOME, temporary_settings

    home = tmp_path_factory.mktemp("prefect")
    former = os.environ.get("PREFECT_HOME")
    os.environ["PREFECT_HOME"] = str(home)
    try:
        with temporary_settings({PREFECT_HOME: home}), prefect_server() as url:
            yield url
    finally:
        if former is None:
            del os.environ["PREFECT_HOME"]
        else:
            os.environ["PREFECT_HOME"] = former


@pytest.fixture(scope="session")
def long_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos that take a while: 240 frames of 96x128 each."""
    folder = tmp_path_factory.mktemp("long")
    for hue in range(3):
        pattern = f"testsrc2=size=128x96:rate=30:duration=8,hue=h={40 * hue}"
        options = ["-f", "lavfi", "-i", pattern, "-c:v", "libx264", "-g", "12"]
        command = [ffmpeg_executable(), "-loglevel", "error", *options, f"{folder}/clip{hue}.mp4"]
        subprocess.run(command, check=True)
    return folder
