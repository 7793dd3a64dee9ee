"""``foveal plugins``: list every dataset, stage, flow method, network and metric with its home."""

from __future__ import annotations

from foveal.cli.console import Json, print_json, print_table
from foveal.errors import MissingPackage, RecipeError


def plugins(as_json: Json = False) -> None:
    """List all plug-ins with the package they come from, and why one cannot be imported."""
    from foveal.registry import GROUPS
    from foveal.registry import plugins as registered

    rows = []
    for group, what in GROUPS.items():
        for plugin in registered(group).values():
            try:
                plugin.load()
                problem = ""
            except (MissingPackage, RecipeError) as error:
                problem = str(error)
            row = {"group": group, "what": what, "name": plugin.name, "target": plugin.target}
            rows.append({**row, "origin": plugin.origin, "problem": problem})
    if as_json:
        print_json(rows)
        return
    keys = ("what", "name", "origin", "target", "problem")
    print_table("plug-ins", keys, [[row[key] for key in keys] for row in rows])
