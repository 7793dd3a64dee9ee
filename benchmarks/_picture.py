"""What networks make of held-out clips, beside the truth: docs/pictures/learns.png.

Run after ``python benchmarks/learn.py --folder F``:
``python benchmarks/_picture.py F docs/pictures/learns.png``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from learn import VALIDATION_CLIPS
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from foveal.pipeline.learn.baselines import mean_density
from foveal.pipeline.preview.panels import Picture, backdrop, heat, resized
from foveal.pipeline.preview.text import INK, PAPER, font
from foveal.storage.reader import open_store

NETWORKS = ("gfsalnet_spatial", "salema", "lsts_rgb_flow", "tp_cmrnet", "gfsalnet")
CLIPS, FRAME = 4, 30
SIZE = (108, 144)
GAP, HEAD = 6, 24


def panels(folder: Path) -> dict[str, list[Picture]]:
    """Columns by title, a picture for each clip."""
    store = open_store(folder / "store.zarr")
    mean = mean_density(store, store.select("train")).numpy()
    columns: dict[str, list[Picture]] = {}
    for video in store.select("val")[VALIDATION_CLIPS:][:CLIPS]:
        picture = np.asarray(store.array(video, "frames")[FRAME])
        ground = backdrop(picture, SIZE)
        maps: dict[str, NDArray[np.float32]] = {
            "people": np.asarray(store.array(video, "density")[FRAME], np.float32),
            "centre bias": mean,
        }
        for name in NETWORKS:
            maps[name] = np.asarray(store.array(video, f"saliency_{name}")[FRAME], np.float32)
        columns.setdefault("frame", []).append(resized(picture, SIZE))
        for name, values in maps.items():
            shown = heat(ground, resized(values / values.max(), SIZE))
            columns.setdefault(name, []).append(shown)
    return columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    columns = panels(arguments.folder)
    height, width = SIZE
    across, down = len(columns) * (width + GAP) + GAP, CLIPS * (height + GAP) + HEAD
    sheet = Image.new("RGB", (across, down), PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, (title, pictures) in enumerate(columns.items()):
        left = GAP + column * (width + GAP)
        pen.text((left, 5), title, INK, font(13, bold=True))
        for row, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (left, HEAD + row * (height + GAP)))
    sheet.quantize(256).save(arguments.picture, optimize=True)


if __name__ == "__main__":
    main()
