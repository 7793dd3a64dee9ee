"""The examples run, and do what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
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
