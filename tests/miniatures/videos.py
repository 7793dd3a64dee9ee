"""Any videos: a table for all, a Parquet file for each, folders of images with maps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from miniatures.base import (
    Expected,
    Miniature,
    density,
    fixated,
    frame,
    write_image,
    write_text,
    write_video,
)

SIZE = (48, 64)


def write_csv(root: Path) -> Miniature:
    """Frames and pixels counted from 1, an event column, empty cells, a name with blanks."""
    for name in ("clip 10", "clip 9"):
        write_video(root / "clips" / f"{name}.mp4", 5, SIZE, 25)
    rows = [
        "clip 9,ann,1,1,1,fixation",
        "clip 9,ann,3,40.5,20,fixation",
        "clip 9,ann,3,40,20,saccade",
        "clip 9,bob,5,64,48,fixation",
        "clip 9,bob,5,65,48,fixation",
        "clip 9,bob,6,10,10,fixation",
        "clip 9,bob,4,,10,fixation",
        "clip 10,ann,2,5,6,fixation",
    ]
    write_text(root / "gaze.csv", "\n".join(["name,who,number,gx,gy,what", *rows]) + "\n")
    columns = {"video": "name", "subject": "who", "frame": "number", "x": "gx", "y": "gy"}
    gaze = {"path": "gaze.csv", "first_frame": 1, "first_pixel": 1,
            "columns": {**columns, "event": "what"}}  # fmt: skip
    excluded = {"not_fixation": 1, "off_screen": 1, "missing_value": 1, "out_of_time": 1}
    points = [(0, 0, 0, "ann"), (2, 39.5, 19, "ann"), (4, 63, 47, "bob")]
    return Miniature(
        {"kind": "videos", "videos": "clips", "gaze": gaze},
        {
            "clip 9": Expected(None, range(5), SIZE, points, excluded),
            "clip 10": Expected(None, range(5), SIZE, [(1, 4, 5, "ann")]),
        },
        subject="ann",
    )


def write_parquet(root: Path) -> Miniature:
    """One file a video, milliseconds, fractions of the picture, no observers, folders of images."""
    for number in (1, 2, 3, 10):
        write_image(root / "frames" / "köln" / f"{number}.png", frame(number, SIZE))
    table = pd.DataFrame({
        "ms": [0.0, 39.9, 40.0, 159.0, 200.0],
        "x": [0.0, 0.5, 1.0, 0.25, 0.5],
        "y": [0.0, 0.5, 0.5, 0.75, 0.5],
    })  # fmt: skip
    table.to_parquet(root / "köln.parquet")
    columns = {"video": None, "subject": None, "frame": None, "seconds": "ms"}
    gaze = {"path": "{video}.parquet", "units": "fraction", "fps": 25.0, "seconds_per_unit": 0.001}
    points = [(0, -0.5, -0.5, "all"), (0, 31.5, 23.5, "all"), (3, 15.5, 35.5, "all")]
    excluded = {"off_screen": 1, "out_of_time": 1}
    return Miniature(
        {
            "kind": "videos",
            "videos": "frames",
            "form": "frames",
            "split": "mine",
            "gaze": {**gaze, "columns": columns},
        },
        {"köln": Expected("mine", (1, 2, 3, 10), SIZE, points, excluded)},
        subject="all",
    )


def write_frames(root: Path) -> Miniature:
    for number in range(1, 5):
        write_image(root / "in" / "a" / f"f{number:03d}.png", frame(number, SIZE))
        write_image(root / "out" / "a" / "maps" / f"{number}.png", density(number, SIZE))
        write_image(root / "out" / "a" / "points" / f"{number}.png", fixated([(60, 9)], SIZE))
    return Miniature(
        {"kind": "videos", "videos": "in", "form": "frames", "ground_truth": "import",
         "maps": "out/{video}/maps", "points": "out/{video}/points"},
        {"a": Expected(None, range(1, 5), SIZE, [(k, 60, 9, "all") for k in range(4)], maps=True)},
    )  # fmt: skip


WRITERS = {"csv": write_csv, "parquet": write_parquet, "frames": write_frames}
