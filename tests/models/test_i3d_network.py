"""The plain I3D tower: counts, shapes, SAME padding, seeded weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foveal.models.i3d.layers import LAYERS, POOLS
from foveal.models.i3d.network import (
    I3D,
    Unit,
    max_pool_same,
    random_i3d,
    same_padding,
)

SHAPES_79_224 = {
    "Conv3d_1a_7x7": (64, 40, 112, 112),
    "MaxPool3d_2a_3x3": (64, 40, 56, 56),
    "Conv3d_2b_1x1": (64, 40, 56, 56),
    "Conv3d_2c_3x3": (192, 40, 56, 56),
    "MaxPool3d_3a_3x3": (192, 40, 28, 28),
    "Mixed_3b": (256, 40, 28, 28),
    "Mixed_3c": (480, 40, 28, 28),
    "MaxPool3d_4a_3x3": (480, 20, 14, 14),
    "Mixed_4b": (512, 20, 14, 14),
    "Mixed_4c": (512, 20, 14, 14),
    "Mixed_4d": (512, 20, 14, 14),
    "Mixed_4e": (528, 20, 14, 14),
    "Mixed_4f": (832, 20, 14, 14),
    "MaxPool3d_5a_2x2": (832, 10, 7, 7),
    "Mixed_5b": (832, 10, 7, 7),
    "Mixed_5c": (1024, 10, 7, 7),
}


@pytest.mark.parametrize(("tower", "count"), [("rgb", 12_287_264), ("flow", 12_265_312)])
def test_parameter_count_without_the_classifier(tower, count):
    network = I3D(tower)
    assert sum(p.numel() for p in network.parameters()) == count
    assert sum(isinstance(m, Unit) for m in network.modules()) == 57


@pytest.mark.parametrize(("tower", "channels"), [("rgb", 3), ("flow", 2)])
def test_every_layer_has_its_published_shape_for_79_frames_of_224(tower, channels):
    network = I3D(tower).to("meta")
    x = torch.empty(1, channels, 79, 224, 224, device="meta")
    shapes = {}
    for name in LAYERS:
        x = max_pool_same(x, *POOLS[name]) if name in POOLS else network.get_submodule(name)(x)
        shapes[name] = tuple(x.shape[1:])
    assert shapes == SHAPES_79_224


def test_endpoints():
    network = I3D("rgb", 0.125)
    x = torch.rand(2, 3, 17, 40, 33) * 2 - 1
    maps = network(x)
    assert network(x, "mixed_4f").shape == (2, 104, 5, 3, 3)
    assert maps.shape == (2, 128, 3, 2, 2)
    torch.testing.assert_close(network(x, "global"), maps.flatten(2).mean(2))
    with pytest.raises(ValueError, match="mixed_4f, mixed_5c, global"):
        network(x, "logits")  # type: ignore[arg-type]


@given(st.integers(1, 300), st.integers(1, 7), st.integers(1, 4))
def test_same_padding_gives_ceil_of_size_over_stride(size, kernel, stride):
    front, back = same_padding(size, kernel, stride)
    steps = -(-size // stride)
    assert 0 <= back - front <= 1
    assert (size + front + back - kernel) // stride + 1 >= steps
    if front or back:
        assert (steps - 1) * stride + kernel == size + front + back


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (79, 7, 2, (3, 3)),
        (80, 7, 2, (2, 3)),
        (224, 7, 2, (2, 3)),
        (112, 3, 2, (0, 1)),
        (40, 3, 2, (0, 1)),
        (7, 3, 2, (1, 1)),
        (20, 2, 2, (0, 0)),
        (5, 2, 2, (0, 1)),
    ],
)
def test_same_padding_as_tensorflow_documents_it(size, kernel, stride, expected):
    assert same_padding(size, kernel, stride) == expected


@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_a_kernel_of_ones_counts_the_taps_inside_the_input(size):
    unit = Unit(1, 1, 7, 2).eval()
    with torch.no_grad():
        unit.conv3d.weight.fill_(1.0)
        got = unit(torch.ones(1, 1, size, size, size)) * (1 + 1e-3) ** 0.5
    front = max((-(-size // 2) - 1) * 2 + 7 - size, 0) // 2
    taps = [sum(0 <= 2 * i - front + k < size for k in range(7)) for i in range(-(-size // 2))]
    axis = torch.tensor(taps, dtype=torch.float32)
    torch.testing.assert_close(
        got[0, 0], axis[:, None, None] * axis[None, :, None] * axis[None, None]
    )


@pytest.mark.parametrize("size", [1, 2, 4, 5])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (2, 2)])
def test_padding_never_wins_a_maximum(size, kernel, stride):
    x = -torch.arange(1.0, size + 1)[None, None, :, None, None].expand(1, 1, size, 3, 3)
    pooled = max_pool_same(x, (kernel, 1, 1), (stride, 1, 1))
    front, _ = same_padding(size, kernel, stride)
    expected = [
        max(
            -(t + 1.0)
            for t in range(i * stride - front, i * stride - front + kernel)
            if 0 <= t < size
        )
        for i in range(-(-size // stride))
    ]
    assert pooled[0, 0, :, 0, 0].tolist() == expected


def test_random_weights_depend_on_the_seed_alone():
    one, again, other = (random_i3d("flow", seed, 0.125) for seed in (1, 1, 2))
    for (name, a), b, c in zip(
        one.state_dict().items(),
        again.state_dict().values(),
        other.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(a, b)
        assert name.endswith("num_batches_tracked") or not torch.equal(a, c)


def test_unknown_tower_is_refused():
    with pytest.raises(ValueError, match="rgb, flow"):
        I3D("depth")  # type: ignore[arg-type]
