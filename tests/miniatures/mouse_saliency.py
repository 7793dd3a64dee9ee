"""AViMoS and NTIRE 2026: videos with and without sound, 10-bit grey maps, points by frame."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from foveal.pipeline.video.encode import encode_video
from foveal.pipeline.video.ffmpeg import ffmpeg_executable
from miniatures.base import Expected, Miniature, frame, grey, write_image, write_text

LANDSCAPE, VERTICAL = (48, 64), (64, 36)
FRAMES, FPS = 8, 30

TRAIN = ("video_youtube_downloads_1_344", "video_youtube_downloads_1_619")
PUBLIC, PRIVATE = "video_youtube_downloads_3_381", "video_youtube_downloads_3_2788"


def points(size: tuple[int, int]) -> list[list[list[Any]]]:
    """Points [row, column] of each frame: repeated, none, off the picture, with more numbers."""
    height, width = size
    rows: list[list[list[Any]]] = [[[number % 5 + 3, number + 2]] * 3 for number in range(FRAMES)]
    rows[0] = [[0, 0], [height - 1, width - 1], [height - 1, width - 1], [20, 30]]
    rows[2] = []
    rows[3] = [[7, 9, 1500.5], [height, 4], [-1, 4], [5, 5]]
    return rows


def maps(size: tuple[int, int], frames: int = FRAMES) -> np.ndarray:
    """10-bit maps with a smooth bump where most points lie, stretched as published."""
    y, x = np.mgrid[: size[0], : size[1]]
    found = np.empty((frames, *size), np.uint16)
    for number in range(frames):
        distance = (y - 24 - number) ** 2 + (x - 18 + number) ** 2
        found[number] = np.rint(1023 * np.exp(-distance / 200))
        found[number, 0, :2] = grey(number), 0
        found[number, 24 + number, 18 - number] = 1023
    return found


def write_grey_video(path: Path, values: np.ndarray, fps: float = FPS, **options: Any) -> None:
    """Maps uint16 [frames, height, width] of 10 bits as a grey x264 video, without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    form = "gray10le" if values.dtype == np.uint16 else "gray"
    height, width = values.shape[1:]
    more = [
        word for key, value in (options or {"qp": 0}).items() for word in (f"-{key}", str(value))
    ]
    command = [
        ffmpeg_executable(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", form,
        "-s", f"{width}x{height}", "-r", str(fps), "-i", "-", "-c:v", "libx264", "-preset",
        "ultrafast", "-pix_fmt", form, *more, str(path),
    ]  # fmt: skip
    subprocess.run(command, input=values.tobytes(), check=True)


def write_clip(
    root: Path,
    name: str,
    part: str | None,
    size: tuple[int, int],
    *,
    pictures: str = "fixations_maps",
    folder: str = "Videos",
    frames: tuple[int, int, int] = (FRAMES, FRAMES, FRAMES),
    sound: bool = False,
) -> None:
    """One video; its points and maps where `part` (Train, Test) is given.

    `frames` counts those of the video, the points and the maps.
    """
    video = root / folder / f"{name}.mp4"
    video.parent.mkdir(parents=True, exist_ok=True)
    shown = (frame(number, size) for number in range(frames[0]))
    encode_video(shown, video, FPS, "libx264", audio_seconds=frames[0] / FPS if sound else None)
    if part is None:
        return
    listed = (points(size) * 2)[: frames[1]]
    annotation = root / f"Fixations{part}" / part / name
    write_text(annotation / "fixations.json", json.dumps(listed))
    picture = np.zeros(size, np.uint8)
    cv2.circle(picture, (9, 7), 0, 255)
    write_image(annotation / pictures / "001.png", picture)
    write_grey_video(root / f"Saliency{part}" / part / f"{name}.mp4", maps(size, frames[2]))


def write_split(root: Path, lists: dict[str, list[str]]) -> None:
    write_text(root / "TrainTestSplit.json", json.dumps(lists))


def _expected(split: str, size: tuple[int, int]) -> Expected:
    inside = [
        (number, float(one[1]), float(one[0]), "all")
        for number, listed in enumerate(points(size))
        for one in listed
        if 0 <= one[0] < size[0]
    ]
    return Expected(split, range(FRAMES), size, inside, {"off_screen": 2}, maps=True)


def write_ntire2026(root: Path) -> Miniature:
    write_clip(root, TRAIN[0], "Train", LANDSCAPE, sound=True)
    write_clip(root, TRAIN[1], "Train", VERTICAL, folder="Videos/more")
    write_clip(root, PUBLIC, "Test", LANDSCAPE)
    write_clip(root, PRIVATE, None, VERTICAL, sound=True)
    lists = {"train": list(TRAIN[::-1]), "public_test": [PUBLIC], "private_test": [PRIVATE]}
    write_split(root, {key: [f"{name}.mp4" for name in names] for key, names in lists.items()})
    write_text(root / "VideoInfo.json", "{}")
    return Miniature(
        {"kind": "mouse_saliency", "splits": ["train", "public_test", "private_test"]},
        {
            TRAIN[0]: _expected("train", LANDSCAPE),
            TRAIN[1]: _expected("train", VERTICAL),
            PUBLIC: _expected("public_test", LANDSCAPE),
            PRIVATE: Expected("private_test", range(FRAMES), VERTICAL, None),
        },
    )


def write_avimos(root: Path) -> Miniature:
    write_clip(root, "clip2", "Train", LANDSCAPE, pictures="fixations", sound=True)
    write_clip(root, "clip10", "Test", VERTICAL, pictures="fixations")
    write_split(root, {"train": ["clip2"], "test": ["clip10"]})
    return Miniature(
        {"kind": "mouse_saliency", "edition": "avimos"},
        {"clip2": _expected("train", LANDSCAPE), "clip10": _expected("test", VERTICAL)},
    )


WRITERS = {"ntire2026": write_ntire2026, "avimos": write_avimos}
