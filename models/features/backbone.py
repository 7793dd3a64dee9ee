"""This module defines a backbone, and opens those of every library."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from foveal.errors import MissingDependency, RecipeError
from foveal.models.normalise import IMAGENET_MEAN, IMAGENET_STD

Takes = Literal["picture", "clip"]
"""What a network takes."""

Layout = Literal["channels_first", "channels_last"]
"""Order of the axes of a map."""

LIBRARIES = ("torchvision", "timm", "huggingface", "module")
"""Libraries that a name may begin with."""


@dataclass(frozen=True)
class Backbone:
    """A network whose activations are stored, and how to use it.

    Attributes
    ----------
    name : str
        ``library:network``, as in the recipe.
    weights : str
        Identifies the weights: ``random:SEED`` or ``sha256:…``.
    takes : {'picture', 'clip'}
        Single pictures, or clips of consecutive frames.
    make : callable
        Returns the network on the CPU; called when it is first needed.
    mean, std : tuple of float
        Mean and deviation of RGB in 0 … 1; pictures become ``(x - mean) / std``.
    size : (int, int) or None
        (height, width) of its training; None if it takes any size.
    frames : int or None
        Frames of a clip in its training.
    clip_order : {'channel', 'time'}
        Which axis comes first in a clip: [n, channel, time, height, width] or [n, time, channel,
        height, width].
    layout : {'channels_first', 'channels_last'} or None
        Layout of its maps; None if the network says it. Tokens are recognised by their two axes.
    prefix_tokens : int or None
        Tokens before those of the grid (class, registers); None if the network says it.
    last_layers : tuple of str
        If no layers are named, the first of these that the network has is used, else its output.
    about : mapping
        Versions of libraries, for the provenance.
    running : Lock
        Held while the network runs, because the threads of several videos share it and listen to
        its layers.
    """

    name: str
    weights: str
    takes: Takes
    make: Callable[[], nn.Module]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    size: tuple[int, int] | None = None
    frames: int | None = None
    clip_order: Literal["channel", "time"] = "channel"
    layout: Layout | None = None
    prefix_tokens: int | None = None
    last_layers: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    running: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    @functools.cached_property
    def network(self) -> nn.Module:
        """The network itself."""
        return self.make().eval()

    @property
    def is_random(self) -> bool:
        """Whether the weights are random."""
        return self.weights.startswith("random")


def open_backbone(
    name: str,
    weights: str | None = None,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
) -> Backbone:
    """Find a backbone on this machine; its weights are read at their first use.

    Parameters
    ----------
    name : str
        ``torchvision:swin3d_b``, ``timm:vit_base_patch14_dinov2``, ``huggingface:ORG/NAME`` (or the
        path of a folder of ``save_pretrained``), ``module:package.factory``.
    weights : str, optional
        ``random`` or ``random:SEED``; a file of tensors; for torchvision the name of a published
        set (``KINETICS400_V1``). None takes the library's published weights, which ``foveal weights
        get NAME`` has fetched.
    size : (int, int), optional
        (height, width) of the frames, for networks that are built for one size.
    frames : int, optional
        Frames of the clips; None for single pictures.

    Raises
    ------
    RecipeError
        There is no such library or network, or it takes pictures instead of clips, or the reverse.
    MissingDependency
        The library or the weights are not on this machine; the message says how to get them.
    """
    library, _, what = name.partition(":")
    if library not in LIBRARIES or not what:
        raise RecipeError(
            f"backbone {name!r}: write one of {', '.join(f'{each}:NAME' for each in LIBRARIES)}, "
            "e.g. torchvision:swin3d_b or timm:vit_base_patch14_dinov2"
        )
    if library == "torchvision":
        from foveal.models.features.torchvision_nets import open_torchvision as opener
    elif library == "timm":
        from foveal.models.features.timm_nets import open_timm as opener
    elif library == "huggingface":
        from foveal.models.features.huggingface_nets import open_huggingface as opener
    else:
        from foveal.models.features.module_nets import open_module as opener
    try:
        backbone = opener(what, weights, size, frames)
    except MissingDependency as error:
        if weights is not None:
            raise
        raise MissingDependency(f"{error}\nFor a try without training: weights: random") from None
    if frames is not None and backbone.takes == "picture":
        raise RecipeError(
            f"backbone {name} takes single pictures: leave frames, stride and step out (every says "
            "which pictures), or choose a network of clips such as torchvision:r3d_18"
        )
    if frames is None and backbone.takes == "clip":
        raise RecipeError(
            f"backbone {name} takes clips: give their length, e.g. frames: {backbone.frames or 16}"
        )
    return backbone


def seeded(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """Run `make` so that its weights depend only on `seed`; torch's own random state stays."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def triple(values: Any, default: tuple[float, ...]) -> tuple[float, ...]:
    """Return `values` of a configuration if they are three numbers, else `default`."""
    if not isinstance(values, list | tuple) or len(values) != 3:
        return default
    return tuple(float(value) for value in values)
