"""UCF-Sports: hyphen in folders, underscore in files, one clip with a map too many."""

from __future__ import annotations

from pathlib import Path

from miniatures.base import Expected, Miniature, density, fixated, frame, write_image, write_video
from miniatures.hollywood2 import EXCLUDED, GAZE, POINTS, SIZE, write_gaze


def write_clip(root: Path, folder: str, images: range, maps: range) -> list:
    action, number = folder.rsplit("-", 1)
    for kind, numbers in (("images", images), ("maps", maps), ("fixation", images)):
        for one in numbers:
            pixels = {
                "images": frame(one, SIZE),
                "maps": density(one, SIZE),
                "fixation": fixated([(one, 60), (one, 61)], SIZE),
            }[kind]
            split = "testing" if folder == "Diving-Side-001" else "training"
            name = f"{action}_{number}_{one:03d}.png"
            write_image(root / split / folder / kind / name, pixels)
    common = [one for one in images if one in maps]
    return [(k, one, y, "all") for k, one in enumerate(common) for y in (60, 61)]


def write_frames(root: Path) -> Miniature:
    test = write_clip(root, "Diving-Side-001", range(1, 5), range(1, 5))
    # The map too many stands at the front: whoever pairs by position shifts all others.
    train = write_clip(root, "Walk-Front-008", range(2, 7), range(1, 7))
    return Miniature(
        {"kind": "ucf_sports", "ground_truth": "import", "reconcile": "intersect_by_name"},
        {
            "Walk-Front-008": Expected("train", range(2, 7), SIZE, train, maps=True, notes=1),
            "Diving-Side-001": Expected("test", range(1, 5), SIZE, test, maps=True),
        },
    )


def write_raw(root: Path) -> Miniature:
    for video in ("Diving-Side_004", "Diving-Side_005"):
        write_video(root / "videos" / f"{video}.avi", 4, SIZE, 25)
        write_gaze(root / "gaze_ucf_sports", video, GAZE)
    return Miniature(
        {"kind": "ucf_sports", "form": "raw", "free_viewing_subjects": ["001", "002"]},
        {
            "Diving-Side_004": Expected("test", range(4), SIZE, POINTS, EXCLUDED),
            "Diving-Side_005": Expected("train", range(4), SIZE, POINTS, EXCLUDED),
        },
        subject="001",
    )


WRITERS = {"frames": write_frames, "raw": write_raw}
