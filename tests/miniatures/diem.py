"""DIEM: nine columns with CRLF, sentinels, both eyes; STAViS' repackaging with MATLAB maps."""

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

SIZE = (48, 80)
LEFT, TOP = (1280 - 80) / 2, (960 - 48) / 2
TEST = "advert_bbc4_bees_1024x576"
TRAIN = "50_people_london_80x48"
LOST = ("-3276.8", "-3276.8", "0.0", "-1")


def eye(x: float, y: float, event: int = 1) -> tuple[str, ...]:
    """One eye at the middle of a 0-based pixel of the video."""
    return f"{LEFT + x + 0.5:.1f}", f"{TOP + y + 0.5:.1f}", "1021.0", str(event)


def row(number: int, left: tuple[str, ...], right: tuple[str, ...]) -> str:
    return "\t".join((str(number), *left, *right)) + "\n"


def write_raw(root: Path) -> Miniature:
    missing = ("0", "0", "0.0", "0")
    events = [
        row(1, eye(10, 20), eye(14, 20)),  # both: their mean
        row(2, eye(10, 20, 2), eye(30, 40)),  # right alone
        row(3, missing, missing),
        row(4, ("0", "0", "0", "-1"), ("0", "0", "0", "-1")),
        row(5, eye(10, 20, 0), eye(10, 20, 2)),
        row(6, eye(79, 47), (*LOST[:3], "1")),  # a sentinel that claims to fixate
        row(7, eye(80, 20), eye(80, 20)),  # one pixel off to the right
        row(8, eye(0, 0), eye(0, 0)),
        row(9, eye(5, 5), eye(5, 5)),  # after the last frame
    ]
    for name, frames in ((TRAIN, 8), (TEST, 8)):
        write_video(root / name / "video" / f"{name}.mp4", frames, SIZE, 30)
        write_text(root / name / "audio" / f"{name}.wav", "")
        for subject in ("diem1s01", "diem2s14b"):
            rows = events if subject == "diem1s01" else events[:1]
            path = root / name / "event_data" / f"{subject}.asc_3_{name}.txt"
            write_text(path, "".join(rows), crlf=True)
    write_text(root / "readme.txt", "stray")
    points = [(0, 12, 20, "diem1s01"), (0, 12, 20, "diem2s14b"), (1, 30, 40, "diem1s01"),
              (5, 79, 47, "diem1s01"), (7, 0, 0, "diem1s01")]  # fmt: skip
    excluded = {"blink": 1, "dropped": 1, "saccade": 1, "off_screen": 1, "out_of_time": 1}
    return Miniature(
        {"kind": "diem", "test_frames": 5},
        {
            TRAIN: Expected("train", range(8), SIZE, points, excluded),
            TEST: Expected("test", range(5), SIZE, points[:3], {**excluded, "out_of_time": 3}),
        },
        subject="diem2s14b",
    )


def write_frames(root: Path) -> Miniature:
    for number in range(1, 8):
        black = number == 3
        annotation = root / "annotations" / "DIEM" / TEST
        write_image(
            root / "video_frames" / "DIEM" / TEST / f"img_{number:05d}.png", frame(number, SIZE)
        )
        pixels = np.zeros(SIZE, np.uint8) if black else density(number, SIZE)
        write_image(annotation / "maps" / f"eyeMap_{number:05d}.png", pixels)
        points = [] if black else [(70, number)]
        eye_map = (fixated(points, SIZE) > 0).astype(np.uint8)
        write_v5(annotation / f"fixMap_{number:05d}.mat", eyeMap=eye_map)
    points = [(number - 1, 70, number, "all") for number in (1, 2, 4, 5)]
    return Miniature(
        {"kind": "diem", "form": "frames", "ground_truth": "import", "test_frames": 5},
        {TEST: Expected("test", range(1, 6), SIZE, points, {"out_of_time": 2}, maps=True)},
    )


WRITERS = {"raw": write_raw, "frames": write_frames}
