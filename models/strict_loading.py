"""This module loads weights into a network if names and shapes fit exactly."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor, nn

from foveal.errors import RecipeError


def load_strictly(
    module: nn.Module,
    state: Mapping[str, Tensor],
    path: Path,
    options: Mapping[str, object] | None = None,
    ignored: Collection[str] = (),
) -> None:
    """Load weights if their names and shapes are exactly those of the module.

    Parameters
    ----------
    module : Module
        The network.
    state : mapping of str to Tensor
        The weights.
    path : path
        Their file, for the message.
    options : mapping, optional
        How the module was built, for the message.
    ignored : collection of str
        Names in the file that the module does not need (an ImageNet classifier).

    Raises
    ------
    RecipeError
        Names are missing or unexpected, or shapes differ. The module is unchanged.
    """
    wanted = module.state_dict()
    given = {key: value for key, value in state.items() if key not in ignored}
    # Files older than PyTorch 0.4.1 have no counters of BatchNorm; only BatchNorm without momentum
    # needs them.
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    problems = []
    if missing := [key for key in wanted if key not in given and key not in counters]:
        problems.append(f"missing: {_some(missing)}")
    if unexpected := [key for key in given if key not in wanted]:
        problems.append(f"unexpected: {_some(unexpected)}")
    differing = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]
    if differing:
        problems.append(f"other shapes: {_some(differing)}")
    if problems:
        built = f" built with {dict(options)}" if options else ""
        raise RecipeError(
            f"{path} does not fit {type(module).__name__}{built}: {'; '.join(problems)}. "
            "Build the network the file was trained with, or name another file"
        )
    module.load_state_dict(given, strict=False)


def _some(names: list[str], shown: int = 4) -> str:
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
