"""Frames and flow become what the towers were trained on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from foveal.models.i3d.preprocess import preprocess


def test_rgb_runs_from_minus_one_to_one():
    frames = torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 4, 4, 3)
    got = preprocess(frames, "rgb", "lsts", (4, 4))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got[:, 0, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))


@pytest.mark.parametrize("size", [(224, 224), (90, 61)])
def test_lsts_resizes_the_whole_frame_as_opencv_does(size):
    rng = np.random.default_rng(0)
    frame = rng.uniform(0, 255, (45, 80, 3)).astype(np.float32)
    got = preprocess(torch.from_numpy(frame[None]), "rgb", "lsts", size)
    expected = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR) / 127.5 - 1
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(360, 640), (640, 360), (256, 256), (112, 300)])
def test_deepmind_resizes_the_shorter_side_to_256_and_crops_the_centre(shape):
    rng = np.random.default_rng(0)
    frame = rng.uniform(0, 255, (*shape, 3)).astype(np.float32)
    got = preprocess(torch.from_numpy(frame[None]), "rgb", "deepmind", (224, 224))
    height, width = (round(n * 256 / min(shape)) for n in shape)
    resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    top, left = (height - 224) // 2, (width - 224) // 2
    expected = resized[top : top + 224, left : left + 224] / 127.5 - 1
    np.testing.assert_allclose(got[0].numpy(), expected, atol=2e-4)


def test_flow_vectors_grow_with_their_grid_before_they_are_clipped():
    flow = torch.tensor([3.0, -15.0]).expand(1, 112, 112, 2)
    scaled = preprocess(flow, "flow", "lsts", (224, 448))
    torch.testing.assert_close(scaled[0, 5, 7], torch.tensor([12.0 / 20, -1.0]))
    kept = preprocess(flow, "flow", "lsts", (224, 448), scale_flow_on_resize=False)
    torch.testing.assert_close(kept[0, 5, 7], torch.tensor([3.0 / 20, -15.0 / 20]))


def test_prepared_values_pass_untouched_and_must_fit():
    x = torch.rand(2, 6, 8, 2)
    assert torch.equal(preprocess(x, "flow", "none", (6, 8)), x)
    with pytest.raises(ValueError, match=r"\(8, 6\)"):
        preprocess(x, "flow", "none", (8, 6))
