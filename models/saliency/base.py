"""This module defines what all saliency networks share: calls, state, and loading of weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from foveal.errors import RecipeError
from foveal.models.saliency.spec import Spec
from foveal.models.strict_loading import load_strictly
from foveal.models.weights import find, load_state_dict

State = tuple[Tensor, ...]
"""Memory of a recurrent network after a frame; None before the first frame of a video."""


@dataclass(frozen=True)
class Inner:
    """An intermediate result that a network computes for each frame.

    Attributes
    ----------
    name : str
        ``gate``, ``attention_1``, ``ema_30``, …
    about : str
        What it is, in words.
    kind : {'map', 'features'}
        What one item is, see `foveal.storage.kinds`.
    module : Module or None
        The module with this output; None if the state after a frame has it.
    view : callable
        Returns items [n, …] of the module's output for n frames, or, of the state after one frame,
        one item per video of the batch.
    """

    name: str
    about: str
    kind: str
    module: nn.Module | None
    view: Callable[[Any], Tensor]


class SaliencyNetwork(nn.Module, ABC):
    """A network that turns clips of inputs into clips of saliency maps.

    Every network is called in the same way: ``saliency, state = network(inputs, state)``. The state
    of each clip is passed to the next one, so the clip length does not change the result of a
    recurrent network. A new video starts with None; training on clips detaches the state between
    them (`detach`). Networks without memory return None.

    Attributes
    ----------
    spec : Spec
        What the network reads and how it is trained.
    provenance : mapping of str to str
        Where the weights come from: ``random``, or names and sha256 of the loaded files.
    """

    spec: Spec
    provenance: Mapping[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.provenance = {"weights": "random"}

    def forward(
        self, inputs: Mapping[str, Tensor], state: State | None = None
    ) -> tuple[Tensor, State | None]:
        """Compute the saliency of consecutive frames.

        Parameters
        ----------
        inputs : mapping of str to Tensor, floating [batch, time, *shape]
            One entry for each of ``spec.inputs``, normalised as it says.
        state : tuple of Tensor, optional
            What the call on the frames before returned.

        Returns
        -------
        saliency : Tensor, float32 [batch, time, height, width]
            Not negative; in 0 … 1 if the network ends with a sigmoid.
        state : tuple of Tensor or None
            For the next call.

        Raises
        ------
        ValueError
            An input is missing, or the network was built for another shape.
        """
        tensors = []
        for wanted in self.spec.inputs:
            if wanted.kind not in inputs:
                raise ValueError(
                    f"{self.spec.name} needs the input {wanted.kind!r}, got {sorted(inputs)}"
                )
            tensor = inputs[wanted.kind]
            if tuple(tensor.shape[2:]) != wanted.shape or not tensor.is_floating_point():
                raise ValueError(
                    f"{self.spec.name}: {wanted.kind} must be floating "
                    f"[batch, time, {', '.join(map(str, wanted.shape))}], got {tensor.dtype} "
                    f"{tuple(tensor.shape)}; normalise with {wanted.normaliser!r}, resize, or "
                    "build the network for this size"
                )
            tensors.append(tensor)
        if len({tensor.shape[:2] for tensor in tensors}) != 1:
            raise ValueError(
                f"{self.spec.name}: batch and time of the inputs differ: "
                f"{[tuple(tensor.shape[:2]) for tensor in tensors]}"
            )
        saliency, state = self._saliency(tensors, state)
        return saliency.float(), state

    @abstractmethod
    def _saliency(self, tensors: list[Tensor], state: State | None) -> tuple[Tensor, State | None]:
        """Compute ``forward`` on checked inputs in the order of ``spec.inputs``."""

    def inner(self) -> tuple[Inner, ...]:
        """Return the intermediate results that the network can show; by default none."""
        return ()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the trainable parameters as ``torch.optim`` takes them.

        A group without ``lr`` or ``weight_decay`` uses that of ``spec.training``.
        """
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def load_weights(self, weights: str | Path) -> None:
        """Load all weights: this project's, or the authors' if their format is known.

        Parameters
        ----------
        weights : str or path
            A file, or a name registered in `foveal.models.weights`.

        Raises
        ------
        MissingDependency
            The file does not exist.
        RecipeError
            Its names or shapes do not fit the network, or no such name is registered.
        FovealError
            It is not a file of named tensors.
        """
        file = find(weights)
        state = self._canonical(load_state_dict(file.path))
        load_strictly(self, state, file.path, self.spec.options)
        self.provenance = {"weights": file.name, "weights_sha256": file.sha256}

    def load_backbone(self, weights: str | Path) -> None:
        """Load pretrained weights into the part that the paper does not train from scratch.

        Parameters
        ----------
        weights : str or path
            See `load_weights`, also for errors.

        Raises
        ------
        RecipeError
            The network has no such part.
        """
        file = find(weights)
        self._load_backbone(load_state_dict(file.path), file.path)
        self.provenance = {
            "weights": "random",
            "backbone": file.name,
            "backbone_sha256": file.sha256,
        }

    def _load_backbone(self, state: dict[str, Tensor], path: Path) -> None:
        raise RecipeError(
            f"{self.spec.name} has no backbone that {path} could be loaded into; leave it out"
        )

    def _canonical(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename the entries of another project's file to the names of this network."""
        return state


DARK_LOGIT = -3.0
"""First bias of a sigmoid output in training from scratch: saliency maps are mostly dark."""


@contextmanager
def watching(inner: Sequence[Inner]) -> Iterator[dict[str, Tensor]]:
    """Yield a dict that every call fills with the results `inner` by name.

    Results that the state has are left out.
    """
    seen: dict[str, Tensor] = {}

    def hook(each: Inner) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            seen[each.name] = each.view(output)

        return keep

    handles = [
        each.module.register_forward_hook(hook(each)) for each in inner if each.module is not None
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def detach(state: State | None) -> State | None:
    """Detach a `state`, so that back-propagation ends at the clip's first frame."""
    return None if state is None else tuple(tensor.detach() for tensor in state)


def scaled(channels: int, width: float) -> int:
    """Return the `channels` of a layer in a network `width` times as wide, at least four.

    A layer with fewer than four in the paper keeps them all: with so few units, ReLU easily makes
    all of them zero.
    """
    return max(min(channels, 4), round(channels * width))


def check_size(name: str, size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Check an input `size` (height, width) of the network `name`; return it as two integers.

    Raises
    ------
    RecipeError
        A side is not a positive multiple of `multiple`.
    """
    height, width = (int(side) for side in size)
    if min(height, width) < multiple or height % multiple or width % multiple:
        raise RecipeError(
            f"{name}: input_size {height}x{width} must be positive multiples of {multiple} "
            f"(height, width); try {max(1, height // multiple) * multiple}x"
            f"{max(1, width // multiple) * multiple}"
        )
    return height, width


def check_choice(name: str, option: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise a RecipeError unless the value of an option is one of the allowed ones.

    Parameters
    ----------
    name, option : str
        Names of the network and of the option, for the message.
    value : object
        The value.
    allowed : tuple
        The allowed values.
    """
    if value not in allowed:
        raise RecipeError(
            f"{name}: {option}={value!r} is not offered; choose among "
            f"{', '.join(map(repr, allowed))}"
        )
