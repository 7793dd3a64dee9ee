"""foveal: raw eye-tracking video datasets in, one aligned and chunked Zarr store out."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.errors import FovealError, MissingDependency

if TYPE_CHECKING:
    from foveal.pipeline.recipe.recipe import Recipe
    from foveal.storage.reader import open_store

__version__ = "0.2.0"
__all__ = ["FovealError", "MissingDependency", "Recipe", "__version__", "open_store"]

_LAZY = {
    "open_store": "foveal.storage.reader",
    "Recipe": "foveal.pipeline.recipe.recipe",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        if (Path(__file__).parent / "storage").is_file():
            raise MissingDependency(
                "this clone holds text files where links should be, as git writes them where links "
                "are not allowed; run: pip install foveal, or clone with core.symlinks=true"
            )
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'foveal' has no attribute {name!r}")
