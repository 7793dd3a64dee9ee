"""Folders of pictures and a mapped file of features, as most training code reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from _read_data import FEATURE_WINDOWS, Arrays, write_folder
from _turns import Turns, speeds
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from foveal.torch import ClipLoader, Clips, Windows, collate

WINDOW, BATCH, FEATURE_BATCH = 79, 4, 128
WORKERS = (0, 2)
GOALS = {"jpeg": 2.0, "png": 6.0, "mmap": 0.7}


class Folder(Dataset[dict[str, torch.Tensor]]):
    """Windows from a folder of pictures, as most training code reads them."""

    def __init__(self, folder: Path, suffix: str, starts: list[int], everything: bool) -> None:
        self.folder, self.suffix, self.starts = folder, suffix, starts
        self.everything = everything

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        window = range(self.starts[index], self.starts[index] + WINDOW)
        sample = {"frames": self._pictures("{:05d}." + self.suffix, window)}
        if self.everything:
            maps = [np.load(self.folder / f"flow{k:05d}.npy") for k in window]
            sample["flow_dis"] = torch.from_numpy(np.stack(maps))
            sample["density"] = self._pictures("map{:05d}.png", window)
        return sample

    def _pictures(self, name: str, window: range) -> torch.Tensor:
        pictures = [np.asarray(Image.open(self.folder / name.format(k))) for k in window]
        return torch.from_numpy(np.stack(pictures))


class Mapped(Dataset[dict[str, torch.Tensor]]):
    """Feature windows from a memory-mapped .npy file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: Any = None

    def __len__(self) -> int:
        return FEATURE_WINDOWS

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if self.values is None:
            self.values = np.load(self.path, mmap_mode="r")
        return {"i3d_rgb": torch.from_numpy(np.array(self.values[index]))}


def check_equal(clips: Clips, png: Folder) -> None:
    """Samples of the store and of the lossless folder hold the same values."""
    for number in range(0, len(clips), 8):
        ours, theirs = clips[number], png[number]
        for key, value in theirs.items():
            found = channels_last(ours[key])
            if key == "flow_dis":
                found, value = found[ours["flow_dis_valid"][:, 0]], value[: len(found)]
            if not torch.equal(found, value):
                raise SystemExit(f"{key} of window {number} differs from the PNG folder")


def channels_last(values: torch.Tensor) -> torch.Tensor:
    return values.movedim(1, -1) if values.ndim > 3 else values


def compare_folders(work: Path, arrays: Arrays, windows: int, turns: Turns) -> list[dict[str, Any]]:
    for suffix in ("jpeg", "png"):
        write_folder(work / suffix, arrays, suffix)
    stride = max(1, (len(arrays["frames"]) - WINDOW) // windows)
    results = []
    for everything in (False, True):
        names = ["frames", "flow_dis", "density"] if everything else ["frames"]
        clips = Clips(
            work / "store", videos=["clip0"], frames=WINDOW, stride=stride, variables=names
        )
        starts = [clips.where(number)[1] for number in range(len(clips))]
        check_equal(clips, Folder(work / "png", "png", starts, everything))
        sets = {
            suffix: Folder(work / suffix, suffix, starts, everything) for suffix in ("jpeg", "png")
        }
        for workers in WORKERS:
            readers = {
                name: DataLoader(
                    data,
                    BATCH,
                    shuffle=True,
                    num_workers=workers,
                    persistent_workers=workers > 0,
                    collate_fn=collate,
                ).__iter__
                for name, data in sets.items()
            }
            loader = ClipLoader(clips, BATCH, num_workers=workers)
            seconds = turns.seconds({"foveal": loader.__iter__, **readers})
            results += [
                one | {"goal": None if everything else GOALS[one["peer"]]}
                for one in speeds("+".join(names), workers, seconds, len(clips) * WINDOW)
            ]
    return results


def compare_features(work: Path, turns: Turns) -> list[dict[str, Any]]:
    clips = Clips(work / "store", "features", frames=1, variables=[Windows("i3d_rgb")])
    mapped = Mapped(work / "features.npy")
    for number in (0, FEATURE_WINDOWS - 1):
        if not torch.equal(clips[number]["i3d_rgb"][0], mapped[number]["i3d_rgb"]):
            raise SystemExit(f"features of window {number} differ")
    results = []
    for workers in WORKERS:
        ours = ClipLoader(clips, FEATURE_BATCH, num_workers=workers)
        theirs = DataLoader(
            mapped,
            FEATURE_BATCH,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        seconds = turns.seconds({"foveal": ours.__iter__, "mmap": theirs.__iter__})
        results += [
            one | {"goal": GOALS["mmap"]}
            for one in speeds("i3d_rgb", workers, seconds, FEATURE_WINDOWS)
        ]
    return results
