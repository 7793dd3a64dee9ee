"""Clips whose every frame carries its own number."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

BITS_A_ROW, ROWS = 4, 3


def numbered_frame(number: int, height: int = 72, width: int = 96) -> NDArray[np.uint8]:
    """A picture of 3 x 4 blocks, black or white: the bits of `number`, lowest first."""
    image = np.empty((height, width, 3), np.uint8)
    for bit in range(ROWS * BITS_A_ROW):
        row, column = divmod(bit, BITS_A_ROW)
        top, bottom = row * height // ROWS, (row + 1) * height // ROWS
        left, right = column * width // BITS_A_ROW, (column + 1) * width // BITS_A_ROW
        image[top:bottom, left:right] = 230 if number >> bit & 1 else 20
    return image


def read_number(image: NDArray[np.uint8]) -> int:
    """The number that a picture carries, by the middle of each block."""
    height, width = image.shape[:2]
    return sum(
        int(image[(2 * row + 1) * height // 6, (2 * column + 1) * width // 8].mean() > 128)
        << (row * BITS_A_ROW + column)
        for row in range(ROWS)
        for column in range(BITS_A_ROW)
    )


class Clips:
    """Writes clips into a folder; keyword arguments are ffmpeg's output options."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, stream: Any, stdin: bytes = b"") -> None:
        """Run an ffmpeg-python stream; its complaint is the failure's text."""
        # The wheel's, whatever decodes: a system's may be too old to encode what is asked for.
        encoder = imageio_ffmpeg.get_ffmpeg_exe()
        command = stream.overwrite_output().global_args("-nostats").compile(encoder)
        done = subprocess.run(command, input=stdin, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()

    def encode(
        self,
        name: str,
        frames: int,
        size: tuple[int, int] = (72, 96),
        filters: tuple[tuple[str, Any], ...] = (),
        first: int = 0,
        **options: Any,
    ) -> Path:
        """Frames numbered from `first`, 30 a second."""
        height, width = size
        pixels = b"".join(numbered_frame(first + k, height, width).tobytes() for k in range(frames))
        stream = ffmpeg.input(
            "pipe:0", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=30
        )
        for filter_name, value in filters:
            stream = stream.filter(filter_name, value)
        path = self.folder / name
        self.run(stream.output(f"file:{path}", **options), pixels)
        return path

    def remux(self, source: Path, name: str, inputs: dict[str, Any], **options: Any) -> Path:
        """The same packets in another file; `inputs` are options of the input."""
        path = self.folder / name
        stream = ffmpeg.input(f"file:{source}", **inputs)
        self.run(stream.output(f"file:{path}", **{"c": "copy", **options}))
        return path

    number = staticmethod(read_number)
    picture = staticmethod(numbered_frame)


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    """A writer of clips into the test's own folder."""
    return Clips(tmp_path)


@pytest.fixture(scope="module")
def shared_clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """A writer of clips that all tests of a module read."""
    return Clips(tmp_path_factory.mktemp("clips"))
