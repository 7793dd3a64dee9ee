"""SALICON: still images; fixations as MATLAB structures (x, y) or as JSON (y, x), both from 1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from miniatures.base import Expected, Miniature, density, frame, write_image, write_text, write_v5

SIZE = (48, 64)
FIXATIONS = {"7": [(1, 1), (64, 48)], "8": [(30, 10), (65, 10)], "9": [(20, 40)]}
POINTS = [(0, 0, 0), (0, 63, 47), (0, 29, 9), (0, 19, 39)]


def _write_images(root: Path, numbers: dict[str, int], nested: bool) -> None:
    for name, number in numbers.items():
        split = name.split("_")[1].removesuffix("2014")
        folder = root / "images" / split if nested else root / "images"
        write_image(folder / f"{name}.png", frame(number, SIZE))
        if split != "test":
            write_image(root / "maps" / split / f"{name}.png", density(number, SIZE))


def _expected(split: str, number: int, names: tuple[str, str, str], maps: bool) -> Expected:
    subjects = (names[0], names[0], names[1], names[2])
    points = [(*point, subject) for point, subject in zip(POINTS, subjects, strict=True)]
    return Expected(split, (number,), SIZE, points, {"off_screen": 1}, maps=maps)


def write_mat(root: Path) -> Miniature:
    names = {"COCO_train2014_000000000009": 9, "COCO_val2014_000000000042": 10}
    _write_images(root, {**names, "COCO_test2014_000000000001": 1}, nested=True)
    for name in names:
        split = name.split("_")[1].removesuffix("2014")
        gaze = np.zeros(3, [("location", object), ("timestamp", object), ("fixations", object)])
        for index, points in enumerate(FIXATIONS.values()):
            pairs = np.array(points, np.uint16)
            gaze[index] = (pairs.astype(float), np.arange(len(pairs), dtype=float), pairs)
        write_v5(
            root / "fixations" / split / f"{name}.mat",
            image=name,
            resolution=np.array(SIZE, float),
            gaze=gaze.reshape(-1, 1),
        )
    train, val = names
    subjects = ("1", "2", "3")
    return Miniature(
        {"kind": "salicon", "ground_truth": "import", "splits": ["train", "val", "test"]},
        {
            train: _expected("train", 9, subjects, maps=True),
            val: _expected("val", 10, subjects, maps=True),
            "COCO_test2014_000000000001": Expected("test", (1,), SIZE, None),
        },
        subject="2",
    )


def write_json(root: Path) -> Miniature:
    names = {"COCO_val2014_000000000042": 10, "COCO_val2014_000000000136": 11}
    _write_images(root, names, nested=False)
    annotations = [
        {
            "image_id": int(name[-6:]),
            "worker_id": worker,
            "id": index,
            "fixations": [[y, x] for x, y in points],
        }
        for name in names
        for index, (worker, points) in enumerate(FIXATIONS.items())
    ]
    text = json.dumps({"info": {"note": "annotations"}, "images": [], "annotations": annotations})
    write_text(root / "fixations_val2014.json", text)
    return Miniature(
        {"kind": "salicon", "gaze": "json", "splits": ["val"]},
        {name: _expected("val", number, ("7", "8", "9"), maps=False)
         for name, number in names.items()},
        subject="8",
    )  # fmt: skip


WRITERS = {"mat": write_mat, "json": write_json}
