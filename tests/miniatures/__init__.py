"""Small synthetic datasets in every published form, format quirks included.

Each writer takes an empty folder and gives a `Miniature`: the recipe's dataset section, and what a
source must find. Frame n of a video (n as the dataset counts) is a flat grey picture of level
`grey(n)`, and so is the upper left pixel of its density map: whatever is aligned wrongly shows.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from foveal.registry import plugins
from miniatures.base import Expected, Miniature, grey

WRITERS: dict[str, Callable[[Path], Miniature]] = {
    f"{kind}-{form}": write
    for kind, plugin in plugins("sources").items()
    if plugin.target.startswith("foveal.")
    for form, write in import_module(f"miniatures.{kind}").WRITERS.items()
}
"""By dataset and form: every registered dataset of foveal has a miniature."""

__all__ = ["WRITERS", "Expected", "Miniature", "grey"]
