"""``foveal demo``: write a raw dataset with known truth, and build it as a real one."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.build import run_build, show_results
from foveal.cli.console import INCOMPLETE, out


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for dataset, store and pictures.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(help="Each seed gives another dataset.")] = 0,
) -> None:
    """Write the demo dataset, build its store, draw a preview and a report."""
    from foveal.pipeline.demo import write_demo
    from foveal.pipeline.preview.preview import write_preview
    from foveal.pipeline.recipe.recipe import Recipe

    raw, store = folder / "raw", folder / "store.zarr"
    write_demo(raw, seed)
    recipe_path = resources.files("foveal") / "recipes" / "demo.yaml"
    with resources.as_file(recipe_path) as path:
        recipe = Recipe.load(path, [f"dataset.root='{raw.absolute()}'", f"store='{store}'"])
    results = run_build(recipe)
    show_results(recipe, results, as_json=False)
    preview = write_preview(str(store), "001", folder / "preview.png")
    out.print(f"\nstore    {store}\npreview  {preview.path}\n", markup=False)
    lines = ("import foveal", f"store = foveal.open_store({str(store)!r})", "print(store['001'])")
    out.print("open it:\n\n    " + "\n    ".join(lines) + "\n", markup=False)
    if not all(result.ok for result in results):
        raise typer.Exit(INCOMPLETE)
