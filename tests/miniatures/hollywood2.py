"""Hollywood-2: shots with unpadded numbers and the film's frame numbers; raw samples."""

from __future__ import annotations

from pathlib import Path

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

SIZE = (64, 128)  # a tenth of the screen's width; 1024 / 10 - 64 leaves a border of 192 px
OTHER_SIZE = (50, 120)


def write_shot(
    root: Path, split: str, film: int, shot: int, numbers: range, size: tuple[int, int]
) -> Expected:
    clip = f"actionclip{split}{film:05d}"
    folder = root / f"{split}ing" / f"{clip}_{shot}"
    for number in numbers:
        name = f"{clip}_{number:05d}.png"
        write_image(folder / "images" / name, frame(number, size))
        write_image(folder / "maps" / name, density(number, size))
        write_image(folder / "fixation" / name, fixated([(100, number % 50)], size))
    points = [(k, 100, number % 50, "all") for k, number in enumerate(numbers)]
    return Expected(split, numbers, size, points, maps=True)


def write_frames(root: Path) -> Miniature:
    shots = {
        "actionclipTRAIN_2": None,
        "actioncliptrain00001_1": write_shot(root, "train", 1, 1, range(3, 7), SIZE),
        "actioncliptrain00001_2": write_shot(root, "train", 1, 2, range(10, 11), SIZE),
        "actioncliptrain00001_10": write_shot(root, "train", 1, 10, range(98, 103), SIZE),
        "actioncliptest00884_1": write_shot(root, "test", 884, 1, range(3, 5), OTHER_SIZE),
    }
    write_text(root / "training" / "actionclipTRAIN_2" / "readme", "no shot")
    write_text(root / "training" / "actioncliptrain00001_1" / "images" / "Thumbs.db", "stray")
    videos = {name: shot for name, shot in shots.items() if shot is not None}
    return Miniature({"kind": "hollywood2", "ground_truth": "import"}, videos)


def sample(ms: int, x: float, y: float, event: str = "F") -> str:
    """A sample at a 0-based pixel of a 128x64 video on a 1280x1024 screen."""
    return (
        f"{5_000_000 + 1000 * ms} 13.50 13.70 {10 * (x + 1):.2f} {10 * (y + 1) + 192:.2f} {event}\n"
    )


def write_gaze(folder: Path, video: str, gaze: dict[str, list[str]]) -> None:
    write_text(folder / "geometry.txt", "0.38 0.30 0.60 1280 1024\n")
    write_text(folder / "resolution.txt", f"{video} 128 64 1.0\n")
    for subject, samples in gaze.items():
        write_text(folder / "samples" / f"{subject}_{video}.avi.txt", "".join(samples))


GAZE = {
    "001": [sample(0, 20, 40), sample(10, 20, 40, "S"), sample(50, 90, 7)],
    "002": [sample(0, 9, 9, "B"), sample(41, 9, 300), sample(81, 127 - 1, 62)],
    "003": [sample(0, 1, 1)],  # with a task
}
POINTS = [(0, 20, 40, "001"), (1, 90, 7, "001"), (2, 126, 62, "002")]  # at 25 frames a second
EXCLUDED = {"saccade": 1, "blink": 1, "off_screen": 1}


def write_raw(root: Path) -> Miniature:
    for split in ("train", "test"):
        write_video(root / "AVIClips" / f"actionclip{split}00001.avi", 4, SIZE, 25)
        write_gaze(root / "gaze_hollywood2", f"actionclip{split}00001", GAZE)
    (root / "gaze_hollywood2" / "samples" / "002_actionclipTrain.avi.txt").touch()
    return Miniature(
        {"kind": "hollywood2", "form": "raw", "free_viewing_subjects": ["001", "002"]},
        {
            "actioncliptest00001": Expected("test", range(4), SIZE, POINTS, EXCLUDED),
            "actioncliptrain00001": Expected("train", range(4), SIZE, POINTS, EXCLUDED),
        },
        subject="002",
    )


WRITERS = {"frames": write_frames, "raw": write_raw}
