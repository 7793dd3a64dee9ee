"""SalBCE, SalEMA, SalCLSTM: layer indices, recurrences by hand, streaming, released files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from foveal.errors import FovealError, RecipeError
from foveal.models import saliency
from foveal.models.normalise import normaliser
from foveal.models.saliency.linardos import SalBCE, SalCLSTM, SalEMA
from foveal.models.saliency.salgan import salgan_layers

SIZE = (32, 48)
WIDTH = 1 / 16


def clip(batch: int = 2, time: int = 4) -> Tensor:
    return 60 * torch.randn(batch, time, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def layer_output(layers: nn.Sequential, x: Tensor, start: int, stop: int) -> Tensor:
    for index in range(start, stop):
        x = layers[index](x)
    return x


@pytest.mark.parametrize(
    ("index", "kind", "shape"),
    [
        (7, nn.Conv2d, (128, 96, 128)),
        (30, nn.Conv2d, (512, 12, 16)),
        (54, nn.ReLU, (128, 96, 128)),
        (56, nn.Conv2d, (64, 192, 256)),
        (60, nn.Conv2d, (1, 192, 256)),
        (61, nn.Sigmoid, (1, 192, 256)),
    ],
)
def test_layers_lie_where_the_release_has_them(
    index: int, kind: type[nn.Module], shape: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        layers = salgan_layers()
        output = layer_output(layers, torch.empty(1, 3, 192, 256), 0, index + 1)
    assert len(layers) == 62
    assert isinstance(layers[index], kind)
    assert output.shape[1:] == shape


@pytest.mark.parametrize(
    ("placement", "residual"),
    [
        *((placement, False) for placement in (7, 30, 54, 56, 61)),
        *((placement, True) for placement in (7, 30, 54)),
    ],
)
def test_ema_by_hand(placement: int, residual: bool) -> None:
    network = SalEMA(
        placement=placement, alpha=0.3, residual=residual, input_size=SIZE, width=WIDTH
    ).eval()
    frames = clip()
    average, expected = None, []
    with torch.no_grad():
        for frame in frames.unbind(dim=1):
            x = layer_output(network.salgan, frame, 0, placement)
            s = network.salgan[placement](x)
            average = s if average is None else 0.3 * s + 0.7 * average
            passed = average + x if residual else average
            expected.append(layer_output(network.salgan, passed, placement + 1, 62)[:, 0])
        maps, state = network({"frame": frames})
    torch.testing.assert_close(maps, torch.stack(expected, dim=1))
    assert state is not None
    torch.testing.assert_close(state[0], average)


def test_double_ema_by_hand() -> None:
    network = SalEMA(placement=(7, 54), input_size=SIZE, width=WIDTH).eval()
    frames, expected = clip(), []
    first = second = None
    with torch.no_grad():
        for frame in frames.unbind(dim=1):
            s = layer_output(network.salgan, frame, 0, 8)
            first = s if first is None else 0.3 * s + 0.7 * first
            s = layer_output(network.salgan, first, 8, 55)
            second = s if second is None else 0.3 * s + 0.7 * second
            expected.append(layer_output(network.salgan, second, 55, 62)[:, 0])
        maps, _ = network({"frame": frames})
    torch.testing.assert_close(maps, torch.stack(expected, dim=1))


def test_alpha_of_one_is_salbce() -> None:
    ema = SalEMA(alpha=1.0, input_size=SIZE, width=WIDTH).eval()
    static = SalBCE(input_size=SIZE, width=WIDTH).eval()
    static.load_state_dict(ema.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ema({"frame": clip()})[0], static({"frame": clip()})[0])


def test_alpha_modes() -> None:
    fixed, released, learned = (
        SalEMA(alpha_mode=mode, input_size=SIZE, width=WIDTH)
        for mode in ("fixed", "released", "learned")
    )
    assert fixed.alpha == 0.1
    assert released.alpha == pytest.approx(0.525, abs=1e-3)
    assert isinstance(learned.alpha, nn.Parameter)
    groups = learned.parameter_groups()
    assert [group.get("lr") for group in groups] == [None, 0.1]
    assert sum(p.numel() for group in groups for p in group["params"]) == sum(
        p.numel() for p in learned.parameters()
    )
    learned.eval()
    assert float(learned.alpha.detach().sigmoid()) == 0.5, "as the paper starts"
    acting = SalEMA(alpha=0.5, input_size=SIZE, width=WIDTH).eval()
    acting.salgan.load_state_dict(learned.salgan.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(learned({"frame": clip()})[0], acting({"frame": clip()})[0])


def test_the_released_inplace_relu_by_hand() -> None:
    # VGG's ReLU behind layer 7 works in place on the average that is kept for the next frame.
    network = SalEMA(
        placement=7, alpha=0.3, released_inplace_relu=True, input_size=SIZE, width=WIDTH
    ).eval()
    plain = SalEMA(placement=7, alpha=0.3, input_size=SIZE, width=WIDTH).eval()
    plain.load_state_dict(network.state_dict())
    inplace = nn.ReLU(inplace=True)
    average, expected = None, []
    with torch.no_grad():
        for frame in clip().unbind(dim=1):
            s = layer_output(network.salgan, frame, 0, 8)
            average = s if average is None else 0.3 * s + 0.7 * average
            expected.append(layer_output(network.salgan, inplace(average), 9, 62)[:, 0])
        maps, _ = network({"frame": clip()})
        other, _ = plain({"frame": clip()})
    torch.testing.assert_close(maps, torch.stack(expected, dim=1))
    assert torch.equal(maps[:, 0], other[:, 0])
    assert not torch.allclose(maps[:, 1:], other[:, 1:], rtol=1e-4)
    for wrong in ({"placement": 30}, {"placement": 7, "residual": True}):
        with pytest.raises(RecipeError, match="only at placement 7 without residual"):
            SalEMA(released_inplace_relu=True, input_size=SIZE, width=WIDTH, **wrong)


@pytest.mark.parametrize("peepholes", ["paper", "shi"])
def test_peepholes_by_hand(peepholes: str) -> None:
    torch.manual_seed(0)
    network = SalCLSTM(peepholes=peepholes, input_size=SIZE, width=WIDTH).eval()
    assert network.peepholes is not None
    nn.init.normal_(network.peepholes)
    w_i, w_f, w_o = network.peepholes.detach()
    hidden = cell = torch.zeros(2, 32, 2, 3)
    expected = []
    with torch.no_grad():
        for frame in clip().unbind(dim=1):
            x = layer_output(network.salgan, frame, 0, 30)
            gates = functional.conv2d(
                torch.cat([x, hidden], 1), network.Gates.weight, network.Gates.bias, padding=1
            )
            i, f, o, g = gates.chunk(4, dim=1)
            new = (f + w_f * cell).sigmoid() * cell + (i + w_i * cell).sigmoid() * g.tanh()
            seen = cell if peepholes == "paper" else new  # equation 3: the output gate sees C_{t-1}
            hidden, cell = (o + w_o * seen).sigmoid() * new.tanh(), new
            expected.append(layer_output(network.salgan, cell, 30, 62)[:, 0])
        maps, _ = network({"frame": clip()})
    torch.testing.assert_close(maps, torch.stack(expected, dim=1))


def test_clstm_by_hand() -> None:
    network = SalCLSTM(peepholes="none", input_size=SIZE, width=WIDTH).eval()
    hidden = cell = torch.zeros(2, 32, 2, 3)
    expected = []
    with torch.no_grad():
        for frame in clip().unbind(dim=1):
            x = layer_output(network.salgan, frame, 0, 30)
            gates = functional.conv2d(
                torch.cat([x, hidden], 1), network.Gates.weight, network.Gates.bias, padding=1
            )
            i, f, o, g = gates[:, :32], gates[:, 32:64], gates[:, 64:96], gates[:, 96:]
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
            expected.append(layer_output(network.salgan, cell, 30, 62)[:, 0])
        maps, state = network({"frame": clip()})
    torch.testing.assert_close(maps, torch.stack(expected, dim=1))
    assert state is not None
    torch.testing.assert_close(state, (hidden, cell))


def test_peepholes_start_without_effect_and_then_act() -> None:
    torch.manual_seed(0)
    plain = SalCLSTM(peepholes=False, input_size=SIZE, width=WIDTH).eval()
    assert plain.spec.options["peepholes"] == "none"
    peeping = SalCLSTM(input_size=SIZE, width=WIDTH).eval()
    assert peeping.peepholes is not None
    peeping.load_state_dict({**plain.state_dict(), "peepholes": torch.zeros(3, 32, 1, 1)})
    with torch.no_grad():
        before = plain({"frame": clip()})[1]
        torch.testing.assert_close(peeping({"frame": clip()})[1], before)
        peeping.peepholes[1] = 3.0  # forget gate
        after = peeping({"frame": clip()})[1]
    assert before is not None
    assert after is not None
    assert not torch.allclose(before[1], after[1])


STREAMING: dict[str, dict[str, object]] = {
    "salema": {},
    "salema at 7 and 54": {"placement": (7, 54)},
    "salema residual": {"residual": True, "placement": 54},
    "salclstm": {},
    "salclstm without peepholes": {"peepholes": "none", "residual": True},
}


@pytest.mark.parametrize("case", STREAMING)
@pytest.mark.parametrize("clip_frames", [1, 2, 3])
def test_any_clip_length_streams_to_the_same_maps(case: str, clip_frames: int) -> None:
    torch.manual_seed(0)
    network = saliency.build(
        case.split()[0], weights="random", input_size=SIZE, width=WIDTH, **STREAMING[case]
    ).eval()
    frames = clip(batch=1, time=7)
    state, parts = None, []
    with torch.no_grad():
        whole, _ = network({"frame": frames})
        for part in frames.split(clip_frames, dim=1):
            maps, state = network({"frame": part}, state)
            parts.append(maps)
        fresh, _ = network({"frame": frames[:, 4:]})
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(fresh, whole[:, 4:], rtol=1e-3)  # memory matters


def test_detached_state_keeps_gradients_within_the_clip() -> None:
    network = SalEMA(dropout=0.0, input_size=SIZE, width=WIDTH)
    first, second = clip().split(2, dim=1)
    first.requires_grad_()
    _, state = network({"frame": first})
    network({"frame": second}, saliency.detach(state))[0].sum().backward()
    assert first.grad is None
    _, state = network({"frame": first})
    network({"frame": second}, state)[0].sum().backward()
    assert first.grad is not None


def test_dropout_acts_in_training_only() -> None:
    network = SalEMA(input_size=SIZE, width=WIDTH)
    assert network.dropout == 0.5
    network.train()
    assert not torch.equal(network({"frame": clip()})[0], network({"frame": clip()})[0])
    network.eval()
    assert torch.equal(network({"frame": clip()})[0], network({"frame": clip()})[0])


def test_refused_options() -> None:
    with pytest.raises(RecipeError, match=r"placement=\(8,\) is not offered; choose among \(7,\)"):
        SalEMA(placement=8)
    with pytest.raises(RecipeError, match="logits to a probability"):
        SalEMA(placement=61, residual=True)
    with pytest.raises(RecipeError, match=r"alpha=1\.5"):
        SalEMA(alpha=1.5)
    with pytest.raises(RecipeError, match="multiples of 16"):
        SalBCE(input_size=(180, 256))


# -- the authors' files, and torchvision's ----------------------------------------------------


def released(state: dict[str, Tensor]) -> dict[str, object]:
    """A checkpoint as the released training script writes it, through DataParallel."""
    return {
        "epoch": 8,
        "state_dict": {f"module.{key}": value for key, value in state.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-7}]},
    }


def official_keys() -> set[str]:
    """Names in the release: layers of the sequence that are convolutions."""
    encoder = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    decoder = [30, 32, 34, 37, 39, 41, 44, 46, 48, 51, 53, 56, 58, 60]
    return {f"salgan.{i}.{kind}" for i in encoder + decoder for kind in ("weight", "bias")}


def test_names_of_weights_are_the_release_s() -> None:
    with torch.device("meta"):
        assert set(SalBCE().state_dict()) == official_keys()
        assert set(SalEMA(alpha_mode="learned").state_dict()) == official_keys() | {"alpha"}
        clstm = SalCLSTM(peepholes="none").state_dict()
    assert set(clstm) == official_keys() | {"Gates.weight", "Gates.bias"}
    assert clstm["Gates.weight"].shape == (2048, 1024, 3, 3)


@pytest.mark.parametrize("name", ["salbce", "salema", "salclstm"])
def test_released_checkpoints_load(name: str, tmp_path: Path) -> None:
    source = saliency.build(name, weights="random", input_size=SIZE, width=WIDTH)
    torch.save(released(source.state_dict()), tmp_path / "release.pt")
    loaded = saliency.build(name, weights=tmp_path / "release.pt", input_size=SIZE, width=WIDTH)
    for key, value in source.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def test_bare_salgan_file_starts_the_temporal_networks(tmp_path: Path) -> None:
    source = salgan_layers(WIDTH)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "salgan_salicon.pt")
    for name in ("salema", "salclstm"):
        network = saliency.build(
            name,
            weights="random",
            backbone=tmp_path / "salgan_salicon.pt",
            input_size=SIZE,
            width=WIDTH,
        )
        assert isinstance(network, SalBCE)
        assert torch.equal(network.salgan[60].weight, source[60].weight)  # type: ignore[arg-type]


def test_misfits_name_the_keys(tmp_path: Path) -> None:
    learned = SalEMA(alpha_mode="learned", input_size=SIZE, width=WIDTH).state_dict()
    torch.save(learned, tmp_path / "learned.pt")
    with pytest.raises(RecipeError, match=r"unexpected: alpha.*trained with"):
        saliency.build("salema", weights=tmp_path / "learned.pt", input_size=SIZE, width=WIDTH)
    save = SalCLSTM(peepholes="none", input_size=SIZE, width=WIDTH).state_dict()
    torch.save(save, tmp_path / "released.pt")
    with pytest.raises(RecipeError, match=r"no peepholes.*build the network.*peepholes=none"):
        saliency.build("salclstm", weights=tmp_path / "released.pt", input_size=SIZE, width=WIDTH)
    with pytest.raises(
        RecipeError, match=r"missing: .*Gates\.weight, Gates\.bias; unexpected: alpha"
    ):
        saliency.build("salclstm", weights=tmp_path / "learned.pt", input_size=SIZE, width=WIDTH)
    with pytest.raises(RecipeError, match=r"salgan\.0\.weight \(4, 3, 3, 3\) instead of \(8, 3"):
        saliency.build("salbce", weights=tmp_path / "learned.pt", input_size=SIZE, width=WIDTH * 2)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("not weights")
    torch.save({"state_dict": {"a": 1}}, tmp_path / "numbers.pt")
    torch.save(Path("code"), tmp_path / "pickled.pt")
    for file, message in (
        ("text.pt", "cannot be loaded"),
        ("numbers.pt", "has no state dict"),
        ("pickled.pt", "pickled code are refused"),
    ):
        with pytest.raises(FovealError, match=message):
            saliency.build("salbce", weights=tmp_path / file, input_size=SIZE, width=WIDTH)


def test_torchvision_vgg16_sees_what_it_saw(tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    vgg = models.vgg16(weights=None).eval()
    with torch.no_grad():
        for parameter in vgg.features.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(-0.1, 0.1)
    weights = {k: v for k, v in vgg.state_dict().items() if not k.startswith("classifier.0")}
    torch.save(weights, tmp_path / "vgg16.pth")
    network = saliency.build(
        "salbce", weights="random", backbone=tmp_path / "vgg16.pth", input_size=SIZE
    )
    assert isinstance(network, SalBCE)
    pixels = torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8)
    with torch.no_grad():
        expected = vgg.features[:30](normaliser("imagenet")(pixels))
        got = layer_output(network.salgan, normaliser("bgr_mean")(pixels), 0, 30)
    # the two published means differ by half a grey level of 58
    assert (got - expected).abs().max() < 0.02 * expected.abs().max()
