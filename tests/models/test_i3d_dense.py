"""Dense features: one network over the whole video, streamed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foveal.models.i3d.dense import DenseFeatures
from foveal.models.i3d.network import random_i3d
from foveal.models.i3d.windows import WindowFeatures

SIZE = (32, 40)
NETWORK = random_i3d("rgb", 7, 0.0625)


def video(frames):
    rng = np.random.default_rng(frames)
    return rng.uniform(-1, 1, (frames, *SIZE, 3)).astype(np.float32)


def dense(x, step=16, batch_frames=16, endpoint="mixed_5c"):
    features = DenseFeatures(
        NETWORK,
        endpoint=endpoint,
        preprocessing="none",
        size=SIZE,
        device="cpu",
        batch_frames=batch_frames,
    )
    parts = [features.push(x[i : i + step]) for i in range(0, len(x), step)]
    parts.append(features.finish())
    return np.concatenate(parts), features


@pytest.mark.parametrize("endpoint", ["mixed_5c", "mixed_4f"])
@pytest.mark.parametrize("frames", [79, 87, 159])
def test_a_video_aligned_as_a_window_equals_the_plain_network(frames, endpoint):
    x = video(frames)
    got, _ = dense(x, endpoint=endpoint)
    with torch.no_grad():
        clip = torch.from_numpy(x).permute(3, 0, 1, 2)[None]
        expected = NETWORK(clip, endpoint)[0].permute(1, 0, 2, 3).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9, 40, 100])
def test_the_stream_changes_nothing_and_every_eight_frames_are_a_step(frames):
    x = video(frames)
    whole, _ = dense(x, step=frames, batch_frames=1000)
    assert whole.shape == (-(-frames // 8), 64, 1, 2)
    for step, batch in ((1, 8), (5, 24)):
        parts, _ = dense(x, step, batch)
        np.testing.assert_allclose(parts, whole, atol=1e-5 * np.abs(whole).max())


def test_global_is_the_mean_over_space():
    x = video(40)
    maps, _ = dense(x)
    vectors, features = dense(x, endpoint="global")
    assert features.feature_shape == (64,)
    np.testing.assert_allclose(vectors, maps.mean((2, 3)), rtol=1e-4, atol=1e-6)


def test_dense_features_are_not_those_of_windows():
    x = video(159)
    steps, features = dense(x)
    windows = WindowFeatures(
        NETWORK, stride=8, pooling="none", preprocessing="none", size=SIZE, device="cpu"
    )
    maps = np.concatenate([windows.push(x), windows.finish()]).swapaxes(1, 2)
    same_place = np.stack([steps[n : n + 10] for n in range(len(maps))])
    difference = np.linalg.norm(same_place - maps) / np.linalg.norm(maps)
    assert 0.02 < difference < 1
    assert features.parameters()["mode"] == "dense"
    assert windows.parameters()["mode"] == "windows"


def test_every_activation_is_computed_once():
    _, features = dense(video(159), step=10)
    assert features.provenance()["steps_computed"] == [80] * 4 + [40] * 6 + [20] * 3


def test_memory_does_not_grow_with_the_video():
    features = DenseFeatures(NETWORK, preprocessing="none", size=SIZE, device="cpu")
    kept = []
    for _ in range(8):
        features.push(video(64))
        kept.append(features.kept_bytes)
    assert len(set(kept[2:])) == 1
    features.finish()
    assert features.kept_bytes == 0
