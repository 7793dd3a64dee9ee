"""Tiny datasets, each in its published form: a few small videos that are written in a second.

A bright spot wanders over coloured noise, and all observers look at it. They serve to run
everything once; nothing can be learned from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from foveal.errors import FovealError, RecipeError
from foveal.pipeline.demo.layout import GAZE_HEADER, whole_folder, write_file, write_mat, write_png
from foveal.pipeline.demo.observers import screen_from_video
from foveal.pipeline.sources.diem import SCREEN_HEIGHT_PX, SCREEN_WIDTH_PX, TEST_VIDEOS
from foveal.pipeline.video.encode import encode_video

VERSION = 1
"""Increased whenever the same kind gives another dataset."""

MARK = "tiny.json"
"""File that is written last; it marks a folder as a tiny dataset."""

SIZE = (72, 128)
"""Height and width of the videos in pixels."""

FRAMES = 12
"""Length of the videos."""

OBSERVERS = 3
"""Number of observers."""

MASKED_FROM = 6
"""First frame that counts in the frame lists of the tiny DIEM and LEDOV."""


@dataclass(frozen=True)
class TinyDataset:
    """A dataset that was written.

    Attributes
    ----------
    section : dict
        The recipe's section ``dataset``.
    frame_list : Path or None
        List of frames as that of DIEM-Meta, where the dataset has one.
    """

    section: dict[str, Any]
    frame_list: Path | None = None


def write_tiny(kind: str, root: Path) -> TinyDataset:
    """Write a tiny dataset, or keep the one that is there.

    Parameters
    ----------
    kind : str
        ``dhf1k``, ``salicon``, ``hollywood2``, ``ucf_sports``, ``diem``, ``ledov`` or
        ``mouse_saliency``.
    root : Path
        Its folder, which appears at once when everything is written.

    Raises
    ------
    RecipeError
        This dataset has no tiny form.
    FovealError
        `root` exists and is no tiny dataset.
    """
    if kind not in WRITERS:
        raise RecipeError(
            f"there is no tiny form of the dataset {kind!r}; there is one of {', '.join(WRITERS)}"
        )
    write, options = WRITERS[kind]
    wanted = json.dumps({"kind": kind, "version": VERSION})
    listed = root / "meta.csv"
    section = {"kind": kind, "root": str(root), **options}
    mark = root / MARK
    if not (mark.is_file() and mark.read_text() == wanted):
        if root.exists() and not mark.is_file():
            raise FovealError(f"{root} exists and is no tiny dataset: remove it, or name another")
        with whole_folder(root) as building:
            write(building)
            (building / MARK).write_text(wanted)
    return TinyDataset(section, listed if listed.is_file() else None)


def _clip(name: str, frames: int = FRAMES) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Frames, RGB, and the fixated pixels: (x, y) from 0, [frames, observers, 2]."""
    height, width = SIZE
    random = np.random.default_rng(list(name.encode()))
    ground = cv2.GaussianBlur(random.integers(0, 160, (height, width, 3), np.uint8), (0, 0), 1.5)
    start = random.uniform((30, 20), (width - 30, height - 20))
    step = random.uniform(-2, 2, 2)
    rows, columns = np.mgrid[:height, :width]
    pictures, points = [], np.empty((frames, OBSERVERS, 2), np.int64)
    for k in range(frames):
        x, y = start + k * step
        spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 50)[..., None]
        pictures.append((ground + spot * (250.0 - ground)).astype(np.uint8))
        near = random.normal((x, y), 2, (OBSERVERS, 2)).round().astype(np.int64)
        points[k] = near.clip((2, 2), (width - 3, height - 3))
    return pictures, points


def _dhf1k(root: Path) -> None:
    for number in (1, 2, 3, 601, 602, 701):
        pictures, points = _clip(f"dhf1k {number}")
        path = root / "video" / f"{number:03d}.AVI"
        path.parent.mkdir(parents=True, exist_ok=True)
        encode_video(pictures, path, 30)
        if number > 700:
            continue
        for observer in range(OBSERVERS):
            screen = screen_from_video(points[:, observer].astype(float), *SIZE)
            rows = [(1000, (0.0, 0.0), "-")]
            rows += [
                (1000 + int((k + 0.5) * 1e6 / 30), xy, "Fixation") for k, xy in enumerate(screen)
            ]
            text = "".join(
                f"{time}\tSMP\t1\t16.00\t16.00\t{x:.2f}\t{y:.2f}\t{event}\n"
                for time, (x, y), event in rows
            )
            name = f"P{observer + 1:02d}"
            path = root / "exportdata_train" / name / f"{name}_Trail{number:03d}.txt"
            write_file(path, (GAZE_HEADER + text).encode())


def _salicon(root: Path) -> None:
    for split, numbers in (("train", range(9, 15)), ("val", range(42, 45))):
        for number in numbers:
            name = f"COCO_{split}2014_{number:012d}"
            (picture,), points = _clip(name, 1)
            write_png(root / "images" / split / f"{name}.png", picture)
            gaze = np.zeros(OBSERVERS, [("location", object), ("timestamp", object),
                                        ("fixations", object)])  # fmt: skip
            for observer in range(OBSERVERS):
                pairs = (points[:, observer] + 1).astype(np.uint16)
                gaze[observer] = (pairs.astype(float), np.zeros(1), pairs)
            write_mat(
                root / "fixations" / split / f"{name}.mat",
                image=name,
                resolution=np.array(SIZE, float),
                gaze=gaze.reshape(-1, 1),
            )


def _shots(root: Path, clips: Sequence[tuple[str, str, str, int, int]]) -> None:
    """Write clips as pictures: (split, folder, name of a frame's file, first number, frames)."""
    for split, folder, name, first, frames in clips:
        pictures, points = _clip(folder, frames)
        for k, picture in enumerate(pictures):
            file = name.format(first + k)
            fixated = np.zeros(SIZE, np.uint8)
            fixated[points[k, :, 1], points[k, :, 0]] = 255
            where = root / split / folder
            write_png(where / "images" / file, picture)
            write_png(where / "fixation" / file, fixated)


def _hollywood2(root: Path) -> None:
    # The second shot of each film has a single frame, as 205 of the 6,257 shots.
    films = [("training", "train", 1), ("training", "train", 2), ("testing", "test", 1)]
    _shots(root, [
        (split, f"actionclip{short}{film:05d}_{shot}", f"actionclip{short}{film:05d}_{{:05d}}.png",
         3, frames)
        for split, short, film in films
        for shot, frames in ((1, FRAMES), (2, 1))
    ])  # fmt: skip


def _ucf_sports(root: Path) -> None:
    clips = (("training", "Walk-Front", 8), ("training", "Run-Side", 5),
             ("testing", "Diving-Side", 1), ("testing", "Lifting", 2))  # fmt: skip
    _shots(root, [
        (split, f"{action}-{number:03d}", f"{action}_{number:03d}_{{:03d}}.png", 1, FRAMES)
        for split, action, number in clips
    ])  # fmt: skip


def _diem(root: Path) -> None:
    test = sorted(TEST_VIDEOS)[:2]
    left, top = (SCREEN_WIDTH_PX - SIZE[1]) / 2, (SCREEN_HEIGHT_PX - SIZE[0]) / 2
    for name in ("50_people_london_128x72", "DIY_tiny_128x72", *test):
        pictures, points = _clip(name)
        path = root / name / "video" / f"{name}.mp4"
        path.parent.mkdir(parents=True)
        encode_video(pictures, path, 30, "libx264")
        for observer in range(OBSERVERS):
            eyes = [
                "\t".join(2 * (f"{left + x + 0.5:.1f}", f"{top + y + 0.5:.1f}", "1021.0", "1"))
                for x, y in points[:, observer]
            ]
            rows = "".join(f"{k}\t{eye}\r\n" for k, eye in enumerate(eyes, start=1))
            file = f"diem1s{observer + 1:02d}.asc_1_{name}.txt"
            write_file(root / name / "event_data" / file, rows.encode())
    _write_frame_list(root, test)


def _ledov(root: Path) -> None:
    names = {"trainlist": ["animal_a01", "human_b01"], "vaildlist": ["scene_c01"],
             "testlist": ["animal_d01", "human_e01"]}  # fmt: skip
    frame_ms = 1000 / 25
    for name in (name for listed in names.values() for name in listed):
        pictures, points = _clip(name)
        path = root / "LEDOV" / name / f"{name}.mp4"
        path.parent.mkdir(parents=True)
        encode_video(pictures, path, 25, "libx264")
        rows = [
            (observer + 1, round((k + 0.2) * frame_ms), round(0.5 * frame_ms), x + 1, y + 1)
            for observer in range(OBSERVERS)
            for k, (x, y) in enumerate(points[:, observer])
        ]
        write_mat(
            path.with_name("Data.mat"),
            Data={
                "VideoFrames": float(FRAMES),
                "VideoFrameRate": 25.0,
                "VideoSize": np.array([SIZE[1], SIZE[0]], float),
                "fixdata": np.array(rows, float),
            },
        )
    write_mat(
        root / "LEDOV" / "namelist.mat",
        **{key: np.array(listed, object).reshape(-1, 1) for key, listed in names.items()},
    )
    _write_frame_list(root, names["testlist"])


def _mouse_saliency(root: Path) -> None:
    lists = {"train": ["clip_1", "clip_2", "clip_3"], "public_test": ["clip_4"],
             "private_test": ["clip_5"]}  # fmt: skip
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for name in (name for listed in lists.values() for name in listed):
        pictures, points = _clip(name)
        video = root / "Videos" / f"{name}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        sound = None if name == "clip_2" else FRAMES / 30
        encode_video(pictures, video, 30, "libx264", audio_seconds=sound)
        if name in lists["private_test"]:
            continue
        part = "Train" if name in lists["train"] else "Test"
        listed = [[[int(y), int(x)] for x, y in frame] for frame in points]
        where = root / f"Fixations{part}" / part / name / "fixations.json"
        write_file(where, json.dumps(listed).encode())
        maps = []
        for x, y in points.mean(axis=1):
            bump = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 100)
            maps.append(np.rint(255 * (bump - bump.min()) / np.ptp(bump)).astype(np.uint8))
        path = root / f"Saliency{part}" / part / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        encode_video(maps, path, 30, "x264_grey")
    split = {key: [f"{name}.mp4" for name in listed] for key, listed in lists.items()}
    write_file(root / "TrainTestSplit.json", json.dumps(split).encode())


def _write_frame_list(root: Path, videos: Sequence[str]) -> None:
    rows = [f"{name},{k},{k >= MASKED_FROM}\n" for name in videos for k in range(FRAMES)]
    write_file(root / "meta.csv", ("video,frame,mask\n" + "".join(rows)).encode())


WRITERS: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "dhf1k": (_dhf1k, {"splits": ["train", "val", "test"]}),
    "salicon": (_salicon, {"splits": ["train", "val"]}),
    "hollywood2": (_hollywood2, {"splits": ["train", "test"]}),
    "ucf_sports": (_ucf_sports, {"splits": ["train", "test"]}),
    "diem": (_diem, {"splits": ["train", "test"]}),
    "ledov": (_ledov, {"centre_rule": False}),
    "mouse_saliency": (
        _mouse_saliency,
        {"edition": "ntire2026", "splits": ["train", "public_test", "private_test"]},
    ),
}
"""Function that writes a dataset, and keys of its section, by kind."""
