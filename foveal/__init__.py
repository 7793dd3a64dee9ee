"""foveal: raw eye-tracking video datasets in, one aligned and chunked Zarr store out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from foveal.errors import FovealError

if TYPE_CHECKING:
    from foveal.pipeline.recipe.recipe import Recipe
    from foveal.storage.reader import open_store

__version__ = "0.2.0"
__all__ = ["FovealError", "Recipe", "__version__", "open_store"]

_LAZY = {
    "open_store": "foveal.storage.reader",
    "Recipe": "foveal.pipeline.recipe.recipe",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'foveal' has no attribute {name!r}")
