"""GFSalNet: ResNet-50 against torchvision, feature sizes, gate, ablations, pretrained starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from foveal.errors import RecipeError
from foveal.models import saliency
from foveal.models.saliency.gfsalnet import ChannelAttention, GFSalNet, SpatialAttention, Stream
from foveal.models.saliency.resnet import ResNet50

SIZE = (64, 96)
WIDTH = 1 / 16


def pictures(seed: int = 0, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(2, 2, 3, *size, generator=torch.Generator().manual_seed(seed))


def test_resnet_equals_torchvision() -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    theirs = models.resnet50(weights=None).eval()
    weights = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    ours = ResNet50().eval()
    ours.load_state_dict(weights)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        stages = ours(x)
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for stage, layer in zip(
            stages, (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4), strict=True
        ):
            y = layer(y)
            torch.testing.assert_close(stage, y)


def test_feature_sizes_of_the_figure() -> None:
    with torch.device("meta"):
        stages = ResNet50()(torch.empty(1, 3, 480, 640))
        stream = Stream(True, True, True, 1.0)
        main = stream.main(stages[-1])
        joined = torch.cat([main, stream.detail(torch.empty(1, 64, 120, 160))], dim=1)
    assert [tuple(stage.shape[1:]) for stage in stages] == [
        (256, 120, 160),
        (512, 60, 80),
        (1024, 30, 40),
        (2048, 15, 20),
    ]
    assert joined.shape[1:] == (96, 120, 160)


def test_gate_mixes_both_streams_pixel_by_pixel() -> None:
    torch.manual_seed(0)
    network = GFSalNet(input_size=SIZE, width=WIDTH).eval()
    assert network.mix is not None
    inputs = {"frame": pictures(0), "flow_image": pictures(1)}
    with torch.no_grad():
        spatial = network.streams["spatial"](inputs["frame"].flatten(0, 1))
        temporal = network.streams["temporal"](inputs["flow_image"].flatten(0, 1))
        w, b = network.mix.weight.flatten(), network.mix.bias
        gate = (w[0] * spatial + w[1] * temporal + b).sigmoid()
        expected = spatial * gate + temporal * (1 - gate)
        torch.testing.assert_close(network(inputs)[0].view(4, 1, *SIZE), expected)
        network.mix.weight.zero_()
        assert network.mix.bias is not None
        for bias, alone in ((50.0, spatial), (-50.0, temporal)):
            network.mix.bias.fill_(bias)
            torch.testing.assert_close(network(inputs)[0].view(4, 1, *SIZE), alone)


def test_attentions_by_hand() -> None:
    x = torch.randn(2, 8, 3, 4)
    spatial, channel = SpatialAttention(8), ChannelAttention(8)
    with torch.no_grad():
        score = torch.einsum("nchw,c->nhw", x, spatial.score.weight.flatten())
        score = (score + spatial.score.bias).sigmoid()
        torch.testing.assert_close(spatial(x), x * score[:, None])
        excited = channel.excite(channel.squeeze(x.mean((2, 3))).clamp_min(0)).clamp_min(0)
        torch.testing.assert_close(channel(x), torch.einsum("nchw,nc->nchw", x, excited))


ABLATIONS: dict[str, tuple[dict[str, bool | str], int]] = {
    "no spatial attention": ({"spatial_attention": False}, -2 * 2049),
    "no channel attention": ({"channel_attention": False}, -2 * (2328 + 2400)),
    "1x1 instead of gate": ({"fusion": "conv1x1"}, 0),
    # the fuses and details of both streams; 64 instead of 96 channels from there on
    "no multi-level": (
        {"multi_level": False},
        -2 * (786_688 + 98_432 + 24_640 + 36_928 + 18_464 + 9_248)
        - 2 * (2328 + 2400 - 1040 - 1088)
        - 2 * 32 * 64,
    ),
}


@pytest.mark.parametrize("case", ABLATIONS)
def test_ablations(case: str) -> None:
    options, difference = ABLATIONS[case]
    with torch.device("meta"):
        full = saliency.build("gfsalnet", weights="random")
        ablated = saliency.build("gfsalnet", weights="random", **options)
    count = [sum(p.numel() for p in network.parameters()) for network in (full, ablated)]
    assert count[1] - count[0] == difference
    torch.manual_seed(0)
    network = GFSalNet(input_size=SIZE, width=WIDTH, **options).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        maps, _ = network({"frame": pictures(0), "flow_image": pictures(1)})
    assert maps.shape == (2, 2, *SIZE)
    assert maps.min() >= 0
    assert maps.max() > 0


def test_imagenet_resnet_starts_both_streams(tmp_path: Path) -> None:
    torch.manual_seed(0)
    imagenet = ResNet50().state_dict() | {
        "fc.weight": torch.zeros(1000, 2048),
        "fc.bias": torch.zeros(1000),
    }
    for key in [key for key in imagenet if key.endswith("num_batches_tracked")]:
        del imagenet[key]  # torchvision's oldest files lack them
    torch.save(imagenet, tmp_path / "resnet50.pth")
    network = saliency.build(
        "gfsalnet", weights="random", backbone=tmp_path / "resnet50.pth", input_size=SIZE
    )
    for stream in ("spatial", "temporal"):
        got = network.state_dict()[f"streams.{stream}.backbone.layer3.5.conv2.weight"]
        assert torch.equal(got, imagenet["layer3.5.conv2.weight"])


def test_trained_single_stream_starts_both_streams(tmp_path: Path) -> None:
    small = {"input_size": SIZE, "width": WIDTH}
    appearance = saliency.build("gfsalnet_spatial", weights="random", **small)
    torch.save({"state_dict": appearance.state_dict()}, tmp_path / "salicon.pt")
    for name in ("gfsalnet", "gfsalnet_temporal"):
        network = saliency.build(
            name, weights="random", backbone=tmp_path / "salicon.pt", **small
        ).state_dict()
        for stream in {key.split(".")[1] for key in network if key.startswith("streams")}:
            for key, value in appearance.state_dict().items():
                assert torch.equal(network[key.replace("spatial.", f"{stream}.", 1)], value)


def test_foreign_backbone_names_the_keys(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "half.pt")
    with pytest.raises(RecipeError, match=r"missing: .*bn1\.weight.* more; other shapes: conv1"):
        saliency.build(
            "gfsalnet",
            weights="random",
            backbone=tmp_path / "half.pt",
            input_size=SIZE,
            width=WIDTH,
        )
