"""Which ffmpeg runs: the user's choice, the system's, or the one a wheel ships."""

from __future__ import annotations

import os
import shutil

from foveal.errors import MissingDependency

EXECUTABLE_VARIABLE = "FOVEAL_FFMPEG"
"""Environment variable that names the ffmpeg to use, as a path or a command in PATH."""


def ffmpeg_executable() -> str:
    """Path of the ffmpeg that decodes and encodes.

    ``$FOVEAL_FFMPEG`` wins; then ``ffmpeg`` in PATH; then the binary inside the `imageio-ffmpeg`
    wheel, so that a machine without a system ffmpeg works too.

    Raises
    ------
    MissingDependency
        ``$FOVEAL_FFMPEG`` names no executable, or no ffmpeg is found anywhere.
    """
    chosen = os.environ.get(EXECUTABLE_VARIABLE)
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise MissingDependency(
                f"${EXECUTABLE_VARIABLE} is {chosen!r}, which is no executable: set it to the path "
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
