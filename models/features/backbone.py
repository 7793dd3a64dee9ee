"""What a backbone is to foveal, and where each library's are opened."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from foveal.errors import MissingDependency, RecipeError
from foveal.models.normalise import IMAGENET_MEAN, IMAGENET_STD

Takes = Literal["picture", "clip"]
Layout = Literal["channels_first", "channels_last"]
LIBRARIES = ("torchvision", "timm", "huggingface", "module")

_RANDOM = re.compile(r"random(?::(\d+))?")


@dataclass(frozen=True)
class Backbone:
    """A network whose activations are kept, and what it says of itself.

    Attributes
    ----------
    name : str
        ``library:network``, as the recipe has it.
    weights : str
        What tells its weights from others: ``random:SEED`` or ``sha256:…``.
    takes : {'picture', 'clip'}
        Single pictures, or clips of consecutive frames.
    make : callable
        Gives the network in evaluation mode, on the CPU; called when it is first needed.
    mean, std : tuple of float
        Of RGB in 0 … 1, by which pictures are normalised: ``(x - mean) / std``.
    size : (int, int) or None
        (height, width) that it was trained on; None where any will do.
    frames : int or None
        Frames of a clip it was trained on.
    clip_order : {'channel', 'time'}
        Which axis comes first in a clip that it takes: [n, channel, time, height, width] or
        [n, time, channel, height, width].
    layout : {'channels_first', 'channels_last'} or None
        Of its maps; None where the network says it. Rows of tokens are told by their two axes.
    prefix_tokens : int or None
        Tokens before those of the grid (class, registers); None where the network says it.
    last_layers : tuple of str
        Where no layers are named, the first of these that it has is taken in place of its output.
    about : mapping
        Versions of libraries and the like, for the provenance.
    running : Lock
        Held while the network runs: videos are built by several threads, which share it, and what
        one of them listens to must not be another's.
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
        """Whether nobody trained it."""
        return self.weights.startswith("random")


def open_backbone(
    name: str,
    weights: str | None = None,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
) -> Backbone:
    """Find a backbone on this machine; its weights are read when they are first needed.

    Parameters
    ----------
    name : str
        ``torchvision:swin3d_b``, ``timm:vit_base_patch14_dinov2``, ``huggingface:ORG/NAME`` (or the
        path of a folder that ``save_pretrained`` wrote), ``module:package.factory``.
    weights : str, optional
        ``random`` or ``random:SEED``; a file of tensors; for torchvision the name of a published
        set (``KINETICS400_V1``). None takes the library's own published weights, which
        ``foveal weights get NAME`` has fetched before.
    size : (int, int), optional
        (height, width) it will be used at, for networks that are built for one size.
    frames : int, optional
        Frames of the clips it will be used on; None where it gets single pictures.

    Raises
    ------
    RecipeError
        No such library or network, or it takes pictures where clips are wanted, or the reverse.
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
        raise MissingDependency(f"{error}\nTo try things out untrained: weights: random") from None
    if frames is not None and backbone.takes == "picture":
        raise RecipeError(
            f"backbone {name} takes single pictures: leave frames, stride and step out (every says "
            "which pictures), or take a network of clips such as torchvision:r3d_18"
        )
    if frames is None and backbone.takes == "clip":
        raise RecipeError(
            f"backbone {name} takes clips: say how long they are, e.g. frames: "
            f"{backbone.frames or 16}"
        )
    return backbone


def random_seed(weights: str | None) -> int | None:
    """The seed in ``random`` (0) or ``random:SEED``; None for anything else."""
    match = _RANDOM.fullmatch(weights or "")
    return None if match is None else int(match[1] or 0)


def seeded(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """Make a network whose weights depend on the seed alone; torch's own state is left alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def triple(values: Any, default: tuple[float, ...]) -> tuple[float, ...]:
    """Three numbers of a configuration, or the default where it has none."""
    if not isinstance(values, list | tuple) or len(values) != 3:
        return default
    return tuple(float(value) for value in values)
