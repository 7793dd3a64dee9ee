"""DHF1K: raw gaze of three observers; published maps; frames extracted beside the maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from miniatures.base import (
    Expected,
    Miniature,
    density,
    fixated,
    frame,
    write_image,
    write_text,
    write_v5,
    write_video,
)

SIZE = (90, 160)  # a ninth of the screen's width, with a border of 45 screen pixels
HEADER = "Time\tType\tTrial\tL Dia X [px]\tL Dia Y [px]\tL POR X [px]\tL POR Y [px]\tL Event Info\n"
START_US = 84_042_779_051


def gaze_line(time_us: int, x: float | str, y: float | str, event: str = "Fixation") -> str:
    x, y = (value if isinstance(value, str) else f"{value:.2f}" for value in (x, y))
    return f"{time_us}\tSMP\t1\t16.38\t16.38\t{x}\t{y}\t{event}\n"


def screen(x: float, y: float) -> tuple[float, float]:
    """Screen position of a 0-based pixel of the video."""
    return 9 * (x + 1), 9 * (y + 1) + 45


def write_gaze(root: Path, observer: str, number: int, lines: list[str]) -> Path:
    path = root / "exportdata_train" / observer / f"{observer}_Trail{number:03d}.txt"
    write_text(path, HEADER + "".join(lines))
    return path


def recording(samples: list[tuple[int, float, float, str]]) -> list[str]:
    """Lines of samples at milliseconds; the first line starts the clock."""
    return [
        gaze_line(START_US, 100, 100, "-"),
        *(gaze_line(START_US + 1000 * ms, x, y, event) for ms, x, y, event in samples),
    ]


def write_raw(root: Path) -> Miniature:
    for number, frames in ((2, 6), (601, 4)):
        write_video(root / "video" / f"{number:03d}.AVI", frames, SIZE, 30)
    write_video(root / "video" / "701.AVI", 3, SIZE, 29.97)
    write_text(root / "video" / "Thumbs.db", "stray")
    write_gaze(root, "P01", 2, recording([
        (10, *screen(30, 10), "Fixation"),  # frame 0
        (14, *screen(30, 10), "Fixation"),  # the same pixel again
        (70, *screen(120, 70), "Fixation"),  # frame 2
        (80, 0, 0, "Fixation"),
        (84, *screen(5, 5), "Blink"),
        (88, *screen(5, 5), "Saccade"),
        (92, 700, 20, "Fixation"),  # above the video
        (401, *screen(5, 5), "Fixation"),  # after the video
    ]))  # fmt: skip
    write_gaze(root, "P10", 2, recording([(100, *screen(3, 4), "Fixation")]))  # between 2 and 3
    write_gaze(root, "P02", 2, recording([(101, *screen(3, 4), "Fixation")]))
    write_gaze(root, "P10", 601, recording([(120, *screen(150, 80), "Fixation")]))
    return Miniature(
        {"kind": "dhf1k", "splits": ["train", "val", "test"]},
        {
            "002": Expected(
                "train",
                range(6),
                SIZE,
                [(0, 30, 10, "P01"), (2, 120, 70, "P01"), (3, 3, 4, "P02")],
                {"zero_position": 1, "blink": 1, "not_fixation": 4, "off_screen": 1,
                 "between_frames": 1, "out_of_time": 1},
            ),
            "601": Expected("val", range(4), SIZE, [(3, 150, 80, "P10")], {"not_fixation": 1}),
            "701": Expected("test", range(3), SIZE, None),
        },
        subject="P02",
    )  # fmt: skip


def write_import(root: Path) -> Miniature:
    frames = 5
    write_video(root / "video" / "002.AVI", frames, SIZE, 30)
    folder = root / "annotation" / "0002"
    for number in range(1, frames + 1):
        points = [(number, 80), (150, 2 * number)] if number != 3 else []
        write_image(folder / "maps" / f"{number:04d}.png", density(number - 1, SIZE))
        write_image(folder / "fixation" / f"{number:04d}.png", fixated(points, SIZE))
        mat = (fixated(points, SIZE) > 0).astype(np.uint8)
        write_v5(folder / "fixation" / "maps" / f"{number:04d}.mat", I=mat)
    write_image(folder / f"{frames:04d}.png", frame(frames, SIZE))
    points = [
        (number - 1, *pixel, "all")
        for number in (1, 2, 4, 5)
        for pixel in ((number, 80), (150, 2 * number))
    ]
    expected = Expected("train", range(frames), SIZE, points, maps=True)
    return Miniature({"kind": "dhf1k", "ground_truth": "import"}, {"002": expected})


def write_frames(root: Path) -> Miniature:
    for number in (1, 2, 3):
        folder = root / "annotation" / "0002"
        write_image(root / "frames" / "0002" / f"{number}.png", frame(number, SIZE))
        write_image(folder / "maps" / f"{number:04d}.png", density(number, SIZE))
        mat = (fixated([(10 * number, 60)], SIZE) > 0).astype(np.uint8)
        write_v5(folder / "fixation" / "maps" / f"{number:04d}.mat", I=mat)
    points = [(number - 1, 10 * number, 60, "all") for number in (1, 2, 3)]
    expected = Expected("train", (1, 2, 3), SIZE, points, maps=True)
    return Miniature(
        {"kind": "dhf1k", "form": "frames", "ground_truth": "import"}, {"002": expected}
    )


WRITERS = {"raw": write_raw, "import": write_import, "frames": write_frames}
