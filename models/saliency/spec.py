"""What a trainer must know of a network: inputs, output, and the paper's way to train it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True)
class Input:
    """One input of a network at one time step.

    Attributes
    ----------
    kind : str
        What it is made of, and the key under which ``forward`` wants it. ``frame``: an RGB
        picture. ``flow_image``: an RGB picture of the motion t → t + 1 on Middlebury's colour
        wheel. ``flow_stack``: consecutive flow maps, the first t → t + 1, channels (u, v) of the
        first, of the second, …; the video's last map is repeated. Anything else names an array of
        the store, read as its axis asks: ``i3d_rgb``, cached I3D features of the window that ends
        at frame t.
    shape : tuple of int
        (channels, height, width), or that of an item of the array.
    normaliser : str
        Name in `foveal.models.normalise`.
    resize : str or None
        How the paper brings frames to this size (``area``, ``bilinear``); None for features.
    flow_method : str or None
        Flow method that the paper makes it from; None where it is made of no flow, or of any.
    per_frame : int or None
        Of an array of sound: so many items in a row around each frame.
    """

    kind: str
    shape: tuple[int, ...]
    normaliser: str
    resize: Literal["area", "bilinear"] | None = None
    flow_method: str | None = None
    per_frame: int | None = None


@dataclass(frozen=True)
class Schedule:
    """Multiply the learning rate by `factor` after each `every` iterations or epochs."""

    factor: float
    every: int
    unit: Literal["iteration", "epoch"]


@dataclass(frozen=True)
class Training:
    """How the paper trains the network.

    Attributes
    ----------
    loss : str
        Terms for `foveal.models.losses.saliency_loss`.
    optimiser : {"adam", "rmsprop"}
    learning_rate, weight_decay : float
        For all parameters but those `SaliencyNetwork.parameter_groups` treats apart.
    schedule : Schedule or None
        None keeps the learning rate constant.
    batch_size : int
        Clips (or single items, where `clip_frames` is 1) in a batch.
    batch_size_of : mapping of str to int
        By kind of dataset, where the paper has another batch size for it.
    clip_frames : int
        Consecutive frames a network gets at once.
    epochs : int or None
        None where the paper gives none.
    loss_over_time : {"mean", "sum"}
        Whether the frames of a clip are averaged or summed.
    gradient_clip_norm : float or None
        Largest norm of the gradient of all parameters together.
    short : {"skip", "pad"}
        What becomes of videos with fewer frames than a clip.
    augment : mapping of str to float
        Settings of `foveal.torch.transforms.Augment`; none of them changes nothing.
    on_pictures : Training or None
        How the paper trains on still pictures; None: likewise, with clips of one frame.
    """

    loss: str
    optimiser: Literal["adam", "rmsprop"]
    learning_rate: float
    batch_size: int
    batch_size_of: Mapping[str, int] = field(default_factory=dict)
    weight_decay: float = 0.0
    schedule: Schedule | None = None
    clip_frames: int = 1
    epochs: int | None = None
    loss_over_time: Literal["mean", "sum"] = "mean"
    gradient_clip_norm: float | None = None
    short: Literal["skip", "pad"] = "skip"
    augment: Mapping[str, float] = field(default_factory=dict)
    on_pictures: Training | None = None

    def of_pictures(self) -> Training:
        """The training on still pictures: `on_pictures`, or this one with clips of one frame."""
        return self.on_pictures or replace(self, clip_frames=1)


@dataclass(frozen=True)
class Spec:
    """A network as built, in terms of the data around it.

    Attributes
    ----------
    name : str
        Name in the registry.
    paper : str
        Source of the network.
    inputs : tuple of Input
        Everything ``forward`` wants at a time step.
    output_size : tuple of int
        (height, width) of the saliency map.
    training : Training
    recurrent : bool
        Whether ``forward`` gives a state to pass on to the next clip of the same video.
    options : mapping
        Every option the network was built with, JSON-serialisable; ``build(name, **options)``
        gives the same network.
    """

    name: str
    paper: str
    inputs: tuple[Input, ...]
    output_size: tuple[int, int]
    training: Training
    recurrent: bool = False
    options: Mapping[str, object] = field(default_factory=dict)
