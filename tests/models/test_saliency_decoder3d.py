"""decoder3d: scales in any order, time of the clip or of the window, sound that may be missing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from foveal.errors import RecipeError
from foveal.models import saliency

PICTURES: dict[str, Any] = {
    "features": ("fine", "coarse"),
    "feature_shapes": ((4, 6, 8), (6, 3, 4)),
    "output_size": (24, 32),
    "channels": 8,
}
WINDOWS = PICTURES | {"feature_shapes": ((4, 4, 6, 8), (6, 2, 3, 4))}


def built(**options: Any) -> saliency.SaliencyNetwork:
    torch.manual_seed(0)
    return saliency.build("decoder3d", weights="random", **options).eval()


def inputs(network: saliency.SaliencyNetwork, time: int = 4) -> dict[str, Tensor]:
    return {each.kind: torch.randn(2, time, *each.shape) for each in network.spec.inputs}


@torch.no_grad()
def test_the_order_of_the_scales_does_not_matter() -> None:
    network = built(**PICTURES)
    turned = {key: tuple(reversed(PICTURES[key])) for key in ("features", "feature_shapes")}
    other = built(**PICTURES | turned)
    other.load_state_dict(network.state_dict())
    given = inputs(network)
    torch.testing.assert_close(network(given)[0], other(given)[0])


@torch.no_grad()
def test_features_of_pictures_see_the_frames_around_and_those_of_windows_do_not() -> None:
    for options, sees in ((PICTURES, True), (WINDOWS, False)):
        network = built(**options)
        given = inputs(network)
        before, _ = network(given)
        given["coarse"][:, 2] += 1 + torch.rand_like(given["coarse"][:, 2])
        after, _ = network(given)
        changed = (after - before).abs().amax(dim=(0, 2, 3)) > 1e-7
        assert changed.tolist() == ([True] * 4 if sees else [False, False, True, False])


@torch.no_grad()
def test_without_features_it_says_where_people_look_anyway() -> None:
    network = built(**PICTURES)
    network.get_parameter("prior")[..., 4, 8] = 5.0
    given = {key: torch.zeros_like(value) for key, value in inputs(network).items()}
    maps, _ = network(given)
    row, column = divmod(int(maps[0, 0].argmax()), 32)
    assert (row, column) in {(11, 16), (12, 16), (11, 17), (12, 17)}


def test_sound_changes_the_map_and_no_sound_is_as_no_branch() -> None:
    for options in (PICTURES, WINDOWS):
        network = built(**options, sound="log_mel", sound_shape=(12, 5))
        assert network.spec.inputs[-1].per_frame == 12
        torch.nn.init.normal_(network.get_parameter("sound.film.weight"))
        torch.nn.init.normal_(network.get_parameter("sound.film.bias"))
        silent = built(**options)
        silent.load_state_dict(network.state_dict(), strict=False)
        given = inputs(network)
        with torch.no_grad():
            heard, _ = network(given)
            expected, _ = silent(given)
            assert not torch.allclose(heard, expected)
            given["log_mel"][:, 2:] = 0
            heard, _ = network({**given, "log_mel": torch.zeros_like(given["log_mel"])})
        torch.testing.assert_close(heard, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ("a",)}, "its shape in feature_shapes"),
        ({"features": ("a", "a")}, "each array once"),
        ({"feature_shapes": ((4,), (6, 3, 4))}, "not vectors or tokens"),
        ({"channels": 12}, "a multiple of 8"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        built(**PICTURES | options)
