"""This module describes networks for a trainer: inputs, output, and the paper's training."""

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
        What it is, and its key in ``forward``. ``frame``: an RGB picture. ``flow_image``: an RGB
        picture of the motion t → t + 1 in the colours of Middlebury. ``flow_stack``: consecutive
        flow maps, the first t → t + 1, with channels (u, v) of the first, of the second, …; the
        video's last map is repeated. Any other value is the name of an array of the store, read by
        its axis: ``i3d_rgb``, the I3D features of the window that ends at frame t.
    shape : tuple of int
        (channels, height, width), or the shape of an item of the array.
    normaliser : str
        Name in `foveal.models.normalise`.
    resize : str or None
        How the paper resizes frames (``area``, ``bilinear``); None for features.
    flow_method : str or None
        Flow method of the paper; None if the input needs no flow, or any flow.
    per_frame : int or None
        For an array of sound: number of consecutive items around each frame.
    """

    kind: str
    shape: tuple[int, ...]
    normaliser: str
    resize: Literal["area", "bilinear"] | None = None
    flow_method: str | None = None
    per_frame: int | None = None


@dataclass(frozen=True)
class Schedule:
    """Multiply the learning rate by `factor` after every `every` iterations or epochs (`unit`)."""

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
        The optimiser.
    learning_rate, weight_decay : float
        For all parameters without their own in `SaliencyNetwork.parameter_groups`.
    schedule : Schedule or None
        None keeps the learning rate constant.
    batch_size : int
        Clips (or single items, if `clip_frames` is 1) in a batch.
    batch_size_of : mapping of str to int
        Other batch sizes of the paper, by kind of dataset.
    clip_frames : int
        Consecutive frames in a clip.
    epochs : int or None
        None if the paper gives none.
    loss_over_time : {"mean", "sum"}
        Whether the frames of a clip are averaged or summed.
    gradient_clip_norm : float or None
        Largest norm of the gradient of all parameters together.
    short : {"skip", "pad"}
        Whether videos with fewer frames than a clip are left out or padded.
    augment : mapping of str to float
        Settings of `foveal.torch.transforms.Augment`; empty for no augmentation.
    on_pictures : Training or None
        How the paper trains on still pictures; None for the same, with clips of one frame.
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
        """Return the training on pictures: `on_pictures`, or this one with clips of one frame."""
        return self.on_pictures or replace(self, clip_frames=1)


@dataclass(frozen=True)
class Spec:
    """What a network reads and returns, and how it is trained.

    Attributes
    ----------
    name : str
        Name in the registry.
    paper : str
        Source of the network.
    inputs : tuple of Input
        Everything that ``forward`` needs at a time step.
    output_size : tuple of int
        (height, width) of the saliency map.
    training : Training
        The paper's training.
    recurrent : bool
        Whether ``forward`` returns a state for the next clip of the same video.
    options : mapping
        Every option of the network, JSON-serialisable; ``build(name, **options)`` builds the same
        network.
    """

    name: str
    paper: str
    inputs: tuple[Input, ...]
    output_size: tuple[int, int]
    training: Training
    recurrent: bool = False
    options: Mapping[str, object] = field(default_factory=dict)
