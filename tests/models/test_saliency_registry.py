"""Every network by name: sizes, shapes, round trips, errors, float32 maps, gradients."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from foveal.errors import MissingDependency, RecipeError
from foveal.models import saliency
from foveal.models.losses import saliency_loss
from foveal.models.normalise import normaliser

LSTS: dict[str, object] = {
    "feature_shape": (2, 1, 1),
    "feature_channels": 16,
    "width": 1 / 32,
}
GFSALNET: dict[str, object] = {"input_size": (64, 96), "width": 1 / 16}
SMALL: dict[str, dict[str, object]] = {
    "lsts_rgb": LSTS,
    "lsts_flow": LSTS,
    "lsts_rgb_flow": LSTS,
    "gfsalnet": GFSALNET,
    "gfsalnet_spatial": GFSALNET,
    "gfsalnet_temporal": GFSALNET,
    "tp_cmrnet": {"input_size": (48, 64), "width": 1 / 8, "flow_maps": 3},
    "salbce": {"input_size": (32, 48), "width": 1 / 16},
    "salema": {"input_size": (32, 48), "width": 1 / 16},
    "salclstm": {"input_size": (32, 48), "width": 1 / 16},
    "decoder3d": {
        "feature_shapes": ((4, 2, 6, 8), (6, 1, 3, 4)),
        "output_size": (24, 32),
        "channels": 8,
    },
}

PARAMETERS = {
    "lsts_rgb": 4_248_241,  # 2,621,952 in the 3D convolution, 1,626,289 in the decoder
    "lsts_flow": 4_248_241,
    "lsts_rgb_flow": 6_869_681,
    "gfsalnet": 67_865_719,
    "gfsalnet_spatial": 33_932_858,
    "gfsalnet_temporal": 33_932_858,
    "tp_cmrnet": 4_890_045,
    "salbce": 31_787_009,
    "salema": 31_787_009,
    "salclstm": 31_787_009 + 18_876_416 + 3 * 512,  # with peepholes
    "decoder3d": 966_097,
}

OUTPUT_SIZES = {
    "lsts": (360, 640),
    "gfsalnet": (480, 640),
    "tp": (224, 224),
    "sal": (192, 256),
    "decoder3d": (224, 384),
}


def inputs_of(spec: saliency.Spec, batch: int, time: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        wanted.kind: torch.randn(batch, time, *wanted.shape, generator=generator)
        for wanted in spec.inputs
    }


def small(name: str) -> saliency.SaliencyNetwork:
    torch.manual_seed(0)
    return saliency.build(name, weights="random", **SMALL[name])


def test_names_are_covered() -> None:
    assert set(saliency.names()) == set(SMALL) == set(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_and_output_size_of_the_papers(name: str) -> None:
    with torch.device("meta"):
        network = saliency.build(name, weights="random")
        maps, _ = network({i.kind: torch.empty(1, 2, *i.shape) for i in network.spec.inputs})
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]
    size = next(size for prefix, size in OUTPUT_SIZES.items() if name.startswith(prefix))
    assert network.spec.output_size == size
    assert maps.shape == (1, 2, *size)


@pytest.mark.parametrize("name", SMALL)
def test_maps_are_float32_not_negative_and_of_the_said_size(name: str) -> None:
    network = small(name).eval()
    with torch.no_grad():
        maps, state = network(inputs_of(network.spec, batch=2, time=3))
    assert maps.shape == (2, 3, *network.spec.output_size)
    assert maps.dtype == torch.float32
    assert maps.min() >= 0
    assert maps.max() > 0
    assert (state is not None) == network.spec.recurrent


@pytest.mark.parametrize("name", SMALL)
def test_paper_loss_reaches_every_weight(name: str) -> None:
    network = small(name).train()
    maps, _ = network(inputs_of(network.spec, batch=2, time=3))
    training = network.spec.training
    loss = saliency_loss(training.loss, over_time=training.loss_over_time)
    truth = torch.rand(maps.shape)
    loss(maps, truth, (truth > 0.9).float()).backward()
    dead = [
        key
        for key, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all()
    ]
    assert not dead
    assert any(parameter.grad.abs().max() > 0 for parameter in network.parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize("name", SMALL)
def test_paper_loss_falls_on_one_batch(name: str) -> None:
    network = small(name).train()
    inputs = inputs_of(network.spec, batch=2, time=2)
    truth = torch.zeros(2, 2, *network.spec.output_size)
    truth[0, :, 4:12, 6:14] = truth[1, :, 16:24, 20:28] = 1
    loss = saliency_loss(network.spec.training.loss)
    optimiser = torch.optim.Adam(network.parameter_groups(), lr=1e-3)
    losses = []
    for _ in range(30):
        value = loss(network(inputs)[0], truth, truth)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(value.item())
        if losses[-1] < losses[0] - 0.01 * abs(losses[0]):
            return
    raise AssertionError(losses)


@pytest.mark.parametrize("name", SMALL)
def test_batch_items_do_not_mix_in_evaluation(name: str) -> None:
    network = small(name).eval()
    both = inputs_of(network.spec, batch=2, time=2)
    with torch.no_grad():
        together, _ = network(both)
        alone, _ = network({kind: tensor[1:] for kind, tensor in both.items()})
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_autocast_gives_float32_maps_near_the_exact_ones(name: str) -> None:
    network = small(name).eval()
    inputs = inputs_of(network.spec, batch=1, time=2)
    with torch.no_grad():
        exact, _ = network(inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed, _ = network(inputs)
    assert mixed.dtype == torch.float32
    # bfloat16 carries 8 bits, 0.4 % a layer, over up to 50 layers: single pixels may differ more
    assert (mixed - exact).abs().mean() < 0.02 * exact.max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("name", SMALL)
def test_gpu_equals_cpu(name: str) -> None:
    network = small(name).eval()
    inputs = inputs_of(network.spec, batch=1, time=2)
    with torch.no_grad():
        expected, _ = network(inputs)
        got, _ = network.cuda()({kind: tensor.cuda() for kind, tensor in inputs.items()})
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-2, atol=1e-3)  # TF32 may be on


@pytest.mark.parametrize("name", SMALL)
def test_spec_is_complete_and_rebuilds_the_network(name: str) -> None:
    spec = saliency.spec(name, **SMALL[name])
    assert spec.name == name
    assert json.loads(json.dumps(dataclasses.asdict(spec)))["options"] == dict(spec.options)
    assert saliency.spec(spec.name, **spec.options) == spec
    assert all(callable(normaliser(wanted.normaliser)) for wanted in spec.inputs)
    assert saliency_loss(spec.training.loss).weights
    assert set(spec.options) == set(saliency.options(name))


@pytest.mark.parametrize("name", SMALL)
def test_own_weight_file_restores_the_maps(name: str, tmp_path: Path) -> None:
    network = small(name).eval()
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, tmp_path / "network.pt")
    torch.manual_seed(99)
    again = saliency.build(name, weights=tmp_path / "network.pt", **SMALL[name]).eval()
    inputs = inputs_of(network.spec, batch=1, time=2)
    with torch.no_grad():
        torch.testing.assert_close(again(inputs)[0], network(inputs)[0], rtol=0, atol=0)


def test_weights_must_be_named() -> None:
    with pytest.raises(TypeError, match="weights"):
        saliency.build("salbce")  # type: ignore[call-arg]


def test_helpful_errors() -> None:
    with pytest.raises(RecipeError, match="did you mean 'tp_cmrnet'"):
        saliency.build("TP-CMRNet2", weights="random")
    with pytest.raises(RecipeError, match="salema has no option 'alfa'; it has placement, alpha"):
        saliency.spec("salema", alfa=0.1)
    with pytest.raises(RecipeError, match="has no option 'streams'"):
        saliency.spec("lsts_rgb", streams="flow")
    with pytest.raises(RecipeError, match=r"multiples of 32.*try 448x640"):
        saliency.spec("gfsalnet", input_size=(450, 640))
    with pytest.raises(MissingDependency, match=r"no file of weights at nowhere\.pt"):
        saliency.build("salbce", weights="nowhere.pt", **SMALL["salbce"])
    with pytest.raises(RecipeError, match="leave backbone out"):
        saliency.build("salbce", weights="a.pt", backbone="b.pt")
    with pytest.raises(RecipeError, match="no weights are called 'salema31'"):
        saliency.build("salema", weights="salema31", **SMALL["salema"])


def test_provenance_tells_where_weights_come_from(tmp_path: Path) -> None:
    file = tmp_path / "salbce.pt"
    first = small("salbce")
    torch.save(first.state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    whole = saliency.build("salbce", weights=file, **SMALL["salbce"])
    start = saliency.build("salema", weights="random", backbone=file, **SMALL["salema"])
    assert first.provenance == {"weights": "random"}
    assert whole.provenance == {"weights": "salbce.pt", "weights_sha256": digest}
    assert start.provenance == {
        "weights": "random",
        "backbone": "salbce.pt",
        "backbone_sha256": digest,
    }
    with pytest.raises(RecipeError, match="tp_cmrnet has no backbone"):
        saliency.build("tp_cmrnet", weights="random", backbone=file, **SMALL["tp_cmrnet"])


def test_wrong_inputs_are_refused() -> None:
    network = small("gfsalnet")
    inputs = inputs_of(network.spec, batch=1, time=2)
    with pytest.raises(ValueError, match="needs the input 'flow_image', got \\['frame'\\]"):
        network({"frame": inputs["frame"]})
    with pytest.raises(ValueError, match=r"frame must be floating .* 3, 64, 96"):
        network({**inputs, "frame": torch.zeros(1, 2, 3, 64, 64)})
    with pytest.raises(ValueError, match="normalise with 'imagenet'"):
        network({**inputs, "frame": torch.zeros(1, 2, 3, 64, 96, dtype=torch.uint8)})
    with pytest.raises(ValueError, match="batch and time of the inputs differ"):
        network({**inputs, "frame": torch.zeros(1, 3, 3, 64, 96)})
