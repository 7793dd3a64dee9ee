"""Input normalisers: closed forms at the ends of their ranges."""

from __future__ import annotations

import pytest
import torch

from foveal.errors import RecipeError
from foveal.models.normalise import NORMALISERS, normaliser


def picture(red: int, green: int, blue: int) -> torch.Tensor:
    return torch.tensor([red, green, blue], dtype=torch.uint8).view(3, 1, 1).expand(3, 2, 4)


def test_i3d_maps_bytes_to_plus_minus_one() -> None:
    values = normaliser("i3d")(picture(0, 255, 51))
    assert values[:, 0, 0].tolist() == pytest.approx([-1, 1, -0.6])


def test_imagenet_equals_torchvision() -> None:
    transforms = pytest.importorskip("torchvision.transforms.functional")
    pixels = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    expected = transforms.normalize(
        pixels.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(normaliser("imagenet")(pixels), expected)


def test_bgr_mean_swaps_channels_and_subtracts() -> None:
    values = normaliser("bgr_mean")(picture(10, 20, 30))
    assert values[:, 1, 3].tolist() == pytest.approx([30 - 103.939, 20 - 116.779, 10 - 123.68])


def test_lsts_flow_clips_at_twenty_pixels() -> None:
    flow = torch.tensor([-50.0, -20, -5, 0.05, 10, 20, 1e9]).view(1, 1, 7)
    assert normaliser("lsts_flow")(flow).flatten().tolist() == pytest.approx(
        [-1, -1, -0.25, 0.0025, 0.5, 1, 1]
    )


def test_tpcmr_flow_drops_small_motion_and_stays_in_pixels() -> None:
    flow = torch.tensor([-50.0, -0.09, 0.0, 0.099, 0.1, 7, 21]).view(1, 1, 7)
    assert normaliser("tpcmr_flow")(flow).flatten().tolist() == pytest.approx(
        [-20, 0, 0, 0, 0.1, 7, 20]
    )


@pytest.mark.parametrize("name", NORMALISERS)
def test_float32_out_same_shape_input_untouched(name: str) -> None:
    pixels = torch.randint(0, 256, (2, 4, 3, 6, 5), dtype=torch.uint8)
    before = pixels.clone()
    values = normaliser(name)(pixels)
    assert values.dtype == torch.float32
    assert values.shape == pixels.shape
    assert torch.equal(pixels, before)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(RecipeError, match=r"'caffe'.*bgr_mean"):
        normaliser("caffe")
