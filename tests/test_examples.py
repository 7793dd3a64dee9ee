"""The examples run, and do what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import small_stores
import torch
from distributed import Client, LocalCluster
from small_stores import density, frame, write_small_store

from foveal.storage.reader import open_store

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_streams_learn_from_clips_that_a_cluster_reads(tmp_path: Path) -> None:
    stages = ("time", "frames", "flow_tvl1", "density")
    videos = {"a": {"frames": 9, "stages": stages}, "b": {"frames": 7, "stages": stages}}
    store = open_store(write_small_store(tmp_path / "small.zarr", videos).url)
    shown = example("train_with_dask")
    # Threads in this process: a cluster all the same, and seconds cheaper.
    workers = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with LocalCluster(**workers, dashboard_address=None) as cluster, Client(cluster) as client:
        clips = shown.moments(store, "train", "flow_tvl1", seed=1)
        assert sorted(clips) == [("a", k) for k in range(8)] + [("b", k) for k in range(6)]
        read = list(shown.batches(client, store, ["frames", "density"], clips, 4))
        assert [len(frames) for frames, _ in read] == [4, 4, 4, 2]
        frames, maps = (np.concatenate(parts)[:, 0] for parts in zip(*read, strict=True))
        for number, (video, k) in enumerate(clips):
            np.testing.assert_array_equal(frames[number], frame("ab".index(video), k))
            np.testing.assert_array_equal(maps[number], density(k))
        options = {"input_size": (32, 32), "width": 0.05}
        losses = shown.train(client, store, steps=12, batch=7, learning_rate=1e-2, **options)
    assert len(losses) == 12
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def blob(k: int) -> np.ndarray:
    """A round spot that wanders over 24x32."""
    y, x = np.mgrid[:24, :32]
    distance = (x - (3 * k) % 32) ** 2 + (y - (5 * k) % 24) ** 2
    return (255 * np.exp(-distance / 18)).astype(np.uint8)


def test_forty_lines_of_ones_own_learn_from_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # People look at the spot.
    monkeypatch.setattr(small_stores, "HEIGHT", 24)
    monkeypatch.setattr(small_stores, "WIDTH", 32)
    monkeypatch.setattr(small_stores, "frame", lambda _, k: np.stack([blob(k)] * 3, axis=-1))
    monkeypatch.setattr(small_stores, "density", blob)
    stages = ("time", "frames", "flow_tvl1", "density")
    small_stores.write_small_store(tmp_path, {"a": {"frames": 40, "stages": stages}})
    torch.manual_seed(0)
    losses = example("two_stream").train(str(tmp_path), epochs=8)
    assert losses[-1] < 0.7 * losses[0]
