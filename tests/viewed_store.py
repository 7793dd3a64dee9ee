"""Writes the store that tests of the viewer look at; holds no tests.

Arrays of `small_stores`, and on top of them predictions, a mask, a map of an unknown kind, sound
and windows.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
from builds import write_array, write_prediction
from small_stores import HEIGHT, WIDTH, write_small_index, write_small_store

from foveal.pipeline.view.server import Viewer
from foveal.storage.location import Location
from foveal.storage.marks import write_quarantine
from foveal.storage.reader import Store, open_store
from foveal.storage.records import Quarantine
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter

FRAMES = 20
RATE_HZ = 8000
EVIL = "<img src=x onerror=alert(1)>"
REASON = "</script><script>alert(2)</script> frame 3 is <b>cut</b>"
STAGES = ("time", "frames", "flow_tvl1", "density", "fixations")


def prediction(k: int) -> np.ndarray:
    values = np.zeros((HEIGHT, WIDTH), np.float16)
    values[k % HEIGHT, k % WIDTH] = 1
    return values


def samples() -> np.ndarray:
    """Two seconds of a tone whose loudness rises."""
    t = np.arange(FRAMES * RATE_HZ // 10) / RATE_HZ
    return np.rint(32767 * t / 2 * np.sin(2 * np.pi * 50 * t)).astype(np.int16)


def write_sound(location: Location, video: str) -> None:
    attributes = location.read_json(f"videos/{video}/zarr.json")["attributes"]
    writer = VideoWriter(location, video, attributes)
    about = {"rate_hz": RATE_HZ, "scale_factor": 1 / 32767}
    specs = [
        ArraySpec(
            "audio",
            ("audio_sample",),
            (),
            np.dtype(np.int16),
            about,
            chunk_items=4096,
            shard_items=8192,
            axis="sample",
            kind="waveform",
        ),
        ArraySpec(
            "audio_offset",
            ("time_plus_1",),
            (),
            np.dtype(np.int64),
            axis="frame_plus_1",
            kind="scalar",
        ),
    ]
    stage = writer.stage("audio", {"stage": "audio"}, specs)
    offset = np.arange(FRAMES + 1) * RATE_HZ // 10
    stage.append({"audio": samples(), "audio_offset": offset})
    stage.complete({})


def write_windows(location: Location, video: str) -> None:
    attributes = location.read_json(f"videos/{video}/zarr.json")["attributes"]
    writer = VideoWriter(location, video, attributes)
    dims = ("feat_window", "feat_feature")
    float16, int64 = np.dtype(np.float16), np.dtype(np.int64)
    specs = [
        ArraySpec("feat", dims, (3,), float16, axis="window", kind="features", starts="feat_start"),
        ArraySpec("feat_start", dims[:1], (), int64, axis="window", kind="scalar"),
    ]
    stage = writer.stage("feat", {"stage": "feat"}, specs)
    starts = np.arange(0, 16, 4)
    stage.append({"feat": np.zeros((4, 3), np.float16), "feat_start": starts})
    stage.complete({"parameters": {"window": 5}})


def write_viewed(folder: Path) -> Store:
    """Video 001 with everything, 002 with a timeline only, one quarantined, one with a bad name."""
    location = write_small_store(
        folder,
        {
            "001": {"stages": STAGES, "frames": FRAMES},
            "002": {"stages": ("time",), "frames": 5, "split": "val"},
            EVIL: {"stages": ("time", "frames"), "frames": 9},
        },
    )
    store = open_store(folder)
    write_prediction(store, "001", "a", np.stack([prediction(k) for k in range(FRAMES)]))
    write_prediction(store, "001", "b", np.stack([prediction(k + 1) for k in range(FRAMES)]))
    counts = np.arange(FRAMES) != 3
    write_array(
        store, "001", "mask_meta", counts, ("time",), axis="frame", kind="scalar", role="mask"
    )
    odd = np.arange(FRAMES * 12, dtype=np.float32).reshape(FRAMES, 3, 4)
    write_array(store, "001", "odd", odd, ("time", "odd_y", "odd_x"), axis="frame", kind="odd")
    write_sound(location, "001")
    write_windows(location, "001")
    write_quarantine(location, Quarantine("009", "decode", REASON, {}))
    write_small_index(location)
    return open_store(folder)


def client_of(viewer: Viewer) -> httpx.Client:
    """Whoever has the token."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{viewer.port}",
        headers={"Authorization": f"token {viewer.keys.token}"},
        timeout=30,
    )
