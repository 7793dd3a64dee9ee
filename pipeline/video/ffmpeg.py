"""This module finds ffmpeg: the user's choice, the system's, or the one inside a wheel."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess

from foveal.errors import MissingDependency

EXECUTABLE_VARIABLE = "FOVEAL_FFMPEG"
"""Environment variable that names the ffmpeg to use, as a path or a command in PATH."""

OLDEST = (4, 3)
"""First version whose ``metadata`` filter writes without delay (``direct``); decoding needs it."""


def ffmpeg_executable() -> str:
    """Return the path of the ffmpeg that decodes and encodes.

    ``$FOVEAL_FFMPEG`` comes first, then ``ffmpeg`` in PATH, then the binary inside the
    `imageio-ffmpeg` wheel, so that a machine without a system ffmpeg works too.

    Raises
    ------
    MissingDependency
        ``$FOVEAL_FFMPEG`` names no executable, no ffmpeg is found, or it is older than 4.3.
    """
    executable = _find()
    version = ffmpeg_version(executable)
    if version is not None and version < OLDEST:
        raise MissingDependency(
            f"{executable} is ffmpeg {version[0]}.{version[1]}, too old: install ffmpeg "
            f"{OLDEST[0]}.{OLDEST[1]} or newer, or set ${EXECUTABLE_VARIABLE} to the path of one"
        )
    return executable


@functools.cache
def ffmpeg_version(executable: str) -> tuple[int, int] | None:
    """Return major and minor version of `executable`; None for a build without (a nightly one)."""
    banner = subprocess.run([executable, "-version"], capture_output=True, text=True)
    found = re.search(r"version n?(\d+)\.(\d+)", banner.stdout)
    return None if found is None else (int(found[1]), int(found[2]))


def _find() -> str:
    chosen = os.environ.get(EXECUTABLE_VARIABLE)
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise MissingDependency(
                f"${EXECUTABLE_VARIABLE} is {chosen!r}, not an executable: set it to the path "
                "of an ffmpeg, or unset it to use the system's or the imageio-ffmpeg wheel's"
            )
        return found
    system = shutil.which("ffmpeg")
    if system is not None:
        return system
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise MissingDependency(
            f"no ffmpeg in PATH and none from imageio-ffmpeg ({error}): install ffmpeg, or "
            f"`pip install imageio-ffmpeg`, or set ${EXECUTABLE_VARIABLE} to the path of one"
        ) from error
