"""LSTS: the decoder's table of sizes, poolings, window rules, schedule."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal.errors import RecipeError
from foveal.models import saliency
from foveal.models.saliency.lsts import LSTS

SIZES = [(10, 10), (30, 20), (30, 40), (90, 80), (90, 160), (180, 320), (360, 640)]


def test_every_deconvolution_gives_the_size_it_must() -> None:
    with torch.device("meta"):
        network = LSTS()
        x = torch.empty(1, 512, 5, 5)
        sizes = []
        for layer in network.decoder:
            x = layer(x)
            if isinstance(layer, nn.ConvTranspose2d):
                sizes.append(tuple(x.shape[2:]))
    assert sizes == SIZES
    assert sum(p.numel() for p in network.decoder.parameters()) == 1_626_289
    assert sum(p.numel() for p in network.fuse.parameters()) == 2_621_952


def test_both_streams_double_the_fused_channels() -> None:
    with torch.device("meta"):
        network = LSTS(streams="rgb_flow")
    assert sum(p.numel() for p in network.fuse.parameters()) == 5_243_392
    assert [wanted.kind for wanted in network.spec.inputs] == ["i3d_rgb", "i3d_flow"]


def test_order_is_deconvolution_normalisation_relu_and_the_last_is_bare() -> None:
    with torch.device("meta"):
        kinds = [type(layer).__name__ for layer in LSTS().decoder]
    assert kinds == ["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 6 + ["ConvTranspose2d"]


@pytest.mark.parametrize(
    ("feature_shape", "size"), [((8, 5, 5), (360, 640)), ((10, 7, 7), (504, 896))]
)
def test_other_poolings(feature_shape: tuple[int, int, int], size: tuple[int, int]) -> None:
    with torch.device("meta"):
        network = saliency.build("lsts_flow", weights="random", feature_shape=feature_shape)
        maps, _ = network({"i3d_flow": torch.empty(1, 1, 1024, *feature_shape)})
    assert maps.shape == (1, 1, *size)
    assert network.spec.output_size == size


def test_epochs() -> None:
    names = ("lsts_rgb", "lsts_flow", "lsts_rgb_flow")
    specs = [saliency.spec(name) for name in names]
    assert [spec.training.epochs for spec in specs] == [10, 2, 1]


def test_the_printed_schedule_unless_it_is_switched_off() -> None:
    schedule = saliency.spec("lsts_rgb").training.schedule
    assert schedule == saliency.Schedule(0.5, 50, "iteration")
    assert saliency.spec("lsts_rgb", literal_schedule=False).training.schedule is None


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(RecipeError, match="needs 7 entries"):
        saliency.spec("lsts_rgb", channels=(512, 256))
