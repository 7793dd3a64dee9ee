"""Everything that has a name in a recipe or on the command line, found by that name.

Datasets, stages, flow methods, networks and metrics are entry points: foveal's own stand in its
``pyproject.toml``, those of another package in that package's, in the same words::

    [project.entry-points."foveal.networks"]
    mynet = "mypackage.mynet:MyNet"

Nothing is imported before it is asked for. docs/extending.md says what each group expects.
"""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from foveal.errors import MissingPackage, RecipeError
from foveal.extras import needing

GROUPS = {
    "sources": "dataset",
    "stages": "recipe section",
    "flow": "flow method",
    "networks": "network",
    "metrics": "metric",
}
"""Groups of plug-ins (entry points ``foveal.<group>``), and what one of each is called."""

_EXTRAS = {"networks": "train", "metrics": "train"}
"""Extras that bring what a group's own plug-ins import; ``build`` for the others."""


@dataclass(frozen=True)
class Plugin:
    """One registered thing.

    Attributes
    ----------
    group, name : str
    target : str
        ``module:attribute`` that is imported when it is asked for.
    origin : str
        The distribution that registers it, with its version.
    """

    group: str
    name: str
    target: str
    origin: str

    def load(self) -> Any:
        """Import it.

        Raises
        ------
        MissingPackage
            It needs a package that an extra of foveal brings, and that is not installed.
        RecipeError
            It cannot be imported; the message names the distribution.
        """
        try:
            with needing(_EXTRAS.get(self.group, "build")):
                return metadata.EntryPoint(self.name, self.target, f"foveal.{self.group}").load()
        except MissingPackage:
            raise
        except (ImportError, AttributeError) as error:
            raise RecipeError(
                f"{GROUPS[self.group]} {self.name!r} of {self.origin} cannot be imported from "
                f"{self.target}: {error}; mend or uninstall that package"
            ) from error


@functools.cache
def plugins(group: str) -> dict[str, Plugin]:
    """Return all plug-ins of a group by name, sorted; nothing is imported.

    Parameters
    ----------
    group : str
        A key of `GROUPS`: ``sources``, ``stages``, ``flow``, ``networks``, ``metrics``.

    Raises
    ------
    RecipeError
        Two distributions register one name for different things.
    """
    found: dict[str, Plugin] = {}
    for entry in sorted(metadata.entry_points(group=f"foveal.{group}"), key=lambda one: one.name):
        about = entry.dist
        origin = f"{about.name} {about.version}" if about is not None else "an unnamed package"
        plugin = Plugin(group, entry.name, entry.value, origin)
        other = found.setdefault(entry.name, plugin)
        if other.target != plugin.target:
            raise RecipeError(
                f"{GROUPS[group]} {entry.name!r} is registered by {other.origin} ({other.target}) "
                f"and by {origin} ({entry.value}); uninstall one of them"
            )
    return found


def find(group: str, name: str) -> Any:
    """Import and return what is registered under `name` in a `group`.

    Raises
    ------
    RecipeError
        Nothing is: the message lists what there is. Or it cannot be imported.
    """
    known = plugins(group)
    if name in known:
        return known[name].load()
    what = GROUPS[group]
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]!r}? " if near else ""
    there = ", ".join(known) or "none: install foveal with pip, so that its entry points are known"
    raise RecipeError(f"unknown {what} {name!r}; {guess}there are: {there}")
