"""TP-CMRNet: the block by hand, sizes, flow maps, ablations, recurrence in and across groups."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from foveal.errors import RecipeError
from foveal.models import saliency
from foveal.models.saliency.tp_cmrnet import Attention, CMRBlock, TPCMRNet

SMALL = {"input_size": (48, 64), "width": 1 / 8}


def group(time: int = 5, maps: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "frame": torch.randn(1, time, 3, 48, 64, generator=generator),
        "flow_stack": torch.randn(1, time, 2 * maps, 48, 64, generator=generator),
    }


@pytest.mark.parametrize("combine", ["x*r", "x+x*r", "x+r"])
def test_block_by_hand(combine: str) -> None:
    block = CMRBlock(4, 6, combine)
    x = torch.randn(2, 4, 7, 9)

    def convolve(name: str, y: Tensor) -> Tensor:
        weight, bias = block.get_parameter(f"{name}.weight"), block.get_parameter(f"{name}.bias")
        return functional.conv2d(y, weight, bias, padding="same")

    with torch.no_grad():
        t, f = convolve("first3", x).clamp_min(0), convolve("first5", x).clamp_min(0)
        t2 = convolve("second3", torch.cat([t, f], 1)).clamp_min(0)
        f2 = convolve("second5", torch.cat([f, t], 1)).clamp_min(0)
        r = convolve("join", torch.cat([t2, f2], 1))
        expected = {"x*r": x * r, "x+x*r": x * (1 + r), "x+r": x + r}[combine]
        torch.testing.assert_close(block(x), expected)


def test_attention_map_sums_to_one() -> None:
    attention = Attention(8).eval()
    with torch.no_grad():
        added = attention(torch.ones(2, 8, 5, 6)) - 1
    torch.testing.assert_close(added.sum(dim=(2, 3)), torch.ones(2, 8))
    assert added.min() > 0


def test_recurrence_sees_28x28_features_of_32_channels() -> None:
    with torch.device("meta"):
        network = TPCMRNet()
        features = network._features([torch.empty(5, 3, 224, 224), torch.empty(5, 18, 224, 224)])
        joined, _ = network._recur(features[None], None)
    assert features.shape == (5, 32, 28, 28)
    assert joined.shape == (1, 5, 32, 28, 28)


@pytest.mark.parametrize("flow_maps", [3, 5, 7, 9, 11])
def test_flow_maps_change_only_the_flow_stem(flow_maps: int) -> None:
    with torch.device("meta"):
        network = saliency.build("tp_cmrnet", weights="random", flow_maps=flow_maps)
    difference = sum(p.numel() for p in network.parameters()) - 4_890_045
    assert difference == (flow_maps - 9) * 2 * 32 * 9
    assert network.spec.inputs[1].shape == (2 * flow_maps, 224, 224)


ABLATIONS: dict[str, tuple[dict[str, object], int]] = {
    "without fusion": ({"fusion": "last_sum"}, 0),
    "without attention": ({"attention": False}, -4 * 4657),
    # one direction of 32 hidden channels instead of two of 16
    "ConvLSTM": ({"recurrence": "forward"}, (64 * 128 * 9 + 128) - 2 * (48 * 64 * 9 + 64)),
    "without flow": ({"flow_maps": 0}, -(2_400_848 + 18 * 32 * 9 + 32)),
    "x + x*r": ({"combine": "x+x*r"}, 0),
}


@pytest.mark.parametrize("case", ABLATIONS)
def test_ablations(case: str) -> None:
    options, difference = ABLATIONS[case]
    with torch.device("meta"):
        ablated = saliency.build("tp_cmrnet", weights="random", **options)
    assert sum(p.numel() for p in ablated.parameters()) - 4_890_045 == difference
    network = saliency.build("tp_cmrnet", weights="random", **{"flow_maps": 3, **SMALL, **options})
    with torch.no_grad():
        maps, _ = network.eval()(group())
    assert maps.shape == (1, 5, 48, 64)
    assert 0 <= maps.min() < maps.max() <= 1


@pytest.mark.parametrize("fusion", ["every_block", "last_sum"])
def test_flow_reaches_the_map(fusion: str) -> None:
    torch.manual_seed(0)
    network = TPCMRNet(flow_maps=3, fusion=fusion, input_size=(48, 64), width=1 / 8).eval()
    inputs = group()
    with torch.no_grad():
        one, _ = network(inputs)
        other, _ = network({**inputs, "flow_stack": inputs["flow_stack"].flip(3)})
    assert not torch.equal(one, other)


def test_bidirectional_frames_see_later_ones_of_their_group_only() -> None:
    torch.manual_seed(0)
    network = TPCMRNet(flow_maps=3, input_size=(48, 64), width=1 / 8).eval()
    inputs = group()
    changed = {kind: tensor.clone() for kind, tensor in inputs.items()}
    changed["frame"][:, 4] = 0
    with torch.no_grad():
        before, state = network(inputs)
        after, _ = network(changed)
    assert state is None
    assert not torch.equal(before[:, 0], after[:, 0])


def test_forward_recurrence_is_causal_and_streams() -> None:
    torch.manual_seed(0)
    network = TPCMRNet(flow_maps=3, recurrence="forward", input_size=(48, 64), width=1 / 8).eval()
    inputs = group(time=6)
    state, parts = None, []
    with torch.no_grad():
        whole, _ = network(inputs)
        for start in (0, 4):
            part = {kind: tensor[:, start : start + 4] for kind, tensor in inputs.items()}
            maps, state = network(part, state)
            parts.append(maps)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-6)


def test_refused_options() -> None:
    for options, message in (
        ({"flow_maps": 12}, "flow_maps=12"),
        ({"combine": "x-r"}, "combine='x-r'"),
        ({"input_size": (225, 224)}, "multiples of 8"),
        ({"inner_channels": (8, 8)}, "needs 4 entries"),
    ):
        with pytest.raises(RecipeError, match=message):
            saliency.spec("tp_cmrnet", **options)
