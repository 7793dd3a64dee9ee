"""The ffmpeg that runs: the user's, then the system's, then the wheel's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from foveal.errors import MissingDependency
from foveal.pipeline.video.ffmpeg import EXECUTABLE_VARIABLE, ffmpeg_executable, ffmpeg_version


def _executable(path: Path, version: str = "of the test") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'ffmpeg version {version} Copyright'\n")
    path.chmod(0o755)
    return path


def test_the_one_found_is_an_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(EXECUTABLE_VARIABLE, raising=False)
    shown = subprocess.run([ffmpeg_executable(), "-version"], capture_output=True, check=True)
    assert shown.stdout.startswith(b"ffmpeg version")


def test_the_variable_wins_over_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = _executable(tmp_path / "bin" / "ffmpeg")
    own = _executable(tmp_path / "own" / "my-ffmpeg")
    monkeypatch.setenv("PATH", str(system.parent))
    monkeypatch.delenv(EXECUTABLE_VARIABLE, raising=False)
    assert ffmpeg_executable() == str(system)
    monkeypatch.setenv(EXECUTABLE_VARIABLE, str(own))
    assert ffmpeg_executable() == str(own)


def test_without_a_system_ffmpeg_the_wheel_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(EXECUTABLE_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ffmpeg_executable() == imageio_ffmpeg.get_ffmpeg_exe()


def test_a_variable_that_names_nothing_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(EXECUTABLE_VARIABLE, "/nowhere/ffmpeg")
    with pytest.raises(MissingDependency, match=r"FOVEAL_FFMPEG is '/nowhere/ffmpeg'.*unset it"):
        ffmpeg_executable()


def test_one_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = _executable(tmp_path / "ffmpeg", "4.2.2-static")
    monkeypatch.setenv(EXECUTABLE_VARIABLE, str(old))
    with pytest.raises(
        MissingDependency, match=r"ffmpeg is ffmpeg 4\.2, too old: .* 4\.3 or newer"
    ):
        ffmpeg_executable()


@pytest.mark.parametrize(
    ("banner", "version"),
    [("n7.1", (7, 1)), ("5.1.9-0+deb12u1", (5, 1)), ("10.0", (10, 0)), ("N-1234-gabc", None)],
)
def test_versions_are_read_from_the_banner(
    tmp_path: Path, banner: str, version: tuple[int, int] | None
) -> None:
    assert ffmpeg_version(str(_executable(tmp_path / "ffmpeg", banner))) == version
