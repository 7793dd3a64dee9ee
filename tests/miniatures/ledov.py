"""LEDOV: Data.mat in both MATLAB formats; the list by name and, as published, by number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from miniatures.base import Expected, Miniature, write_video
from miniatures.base import write_v5 as save_v5
from miniatures.base import write_v73 as save_v73

SIZE = (60, 100)  # centre (50, 30), start rule: farther than 3 px in both axes


def fixations() -> np.ndarray:
    """Subject, start ms, duration ms, x, y from 1; 25 frames a second, 40 ms a frame."""
    return np.array([
        (1, 0, 30, 51, 31),  # at the centre: not started
        (1, 30, 30, 90, 31),  # far in x alone: not started
        (1, 60, 10, 101, 10),  # far in both, but beside the picture: not started
        (1, 81, 79, 90.5, 10),  # started; frames 3 and 4 of 1, 2, 3 …
        (1, 170, 20, 50, 30),  # the centre again, but started: frame 5
        (1, 200, 20, 100, 30),  # x is not below the width
        (2, 0, 40, 11, 51),  # frame 1: a start of 0 becomes 1
        (2, 230, 500, 20, 20),  # frames 6 … 8, clamped at the end
        (2, 321, 40, 20, 20),  # starts after the last frame
    ], float)  # fmt: skip


def _write(root: Path, save: Callable[..., Any], numbered: bool) -> Miniature:
    for name in ("animal_bear04", "ball walk 2", "vidéo"):
        folder = root / "LEDOV" / name
        write_video(folder / f"{name}.mp4", 8, SIZE, 25)
        save(
            folder / "Data.mat",
            Data={
                "VideoFrames": 8.0,
                "VideoFrameRate": 25.0,
                "VideoSize": np.array([SIZE[1], SIZE[0]], float),
                "fixdata": fixations(),
            },
        )
    cells = {
        "trainlist": ["ball walk 2", "ball walk 2"],
        "vaildlist": ["vidéo", "vidéo"],
        "testlist": ["animal_bear04", "gone_01"],
    }
    everything = ["vidéo", "ball walk 2", "gone_01", "animal_bear04"]
    if numbered:
        save(root / "VideoNameList.mat", VideoNameList=everything)
    save_v5(root / "namelist.mat" if numbered else root / "LEDOV" / "namelist.mat", **{
        name: np.array([[everything.index(one) + 1] for one in names], np.uint16)
        if numbered
        else np.array(names, object).reshape(-1, 1)
        for name, names in cells.items()
    })  # fmt: skip
    points = [(0, 10, 50, "2"), (2, 89.5, 9, "1"), (3, 89.5, 9, "1"), (4, 49, 29, "1"),
              (5, 19, 19, "2"), (6, 19, 19, "2"), (7, 19, 19, "2")]  # fmt: skip
    excluded = {"before_leaving_centre": 3, "off_screen": 1, "out_of_time": 1}
    return Miniature(
        {"kind": "ledov"},
        {
            "animal_bear04": Expected("test", range(8), SIZE, points, excluded),
            "ball walk 2": Expected("train", range(8), SIZE, points, excluded),
            "vidéo": Expected("val", range(8), SIZE, points, excluded),
        },
        subject="1",
    )


def write_v5(root: Path) -> Miniature:
    return _write(root, save_v5, numbered=False)


def write_v73(root: Path) -> Miniature:
    return _write(root, save_v73, numbered=True)


WRITERS = {"v5": write_v5, "v7.3": write_v73}
