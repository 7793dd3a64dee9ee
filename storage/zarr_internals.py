"""Every name of zarr that is not public, in one place.

zarr-python promises nothing about ``zarr.core``. What foveal needs of it is imported here and
nowhere else, so that a new minor version means reading this one file; ``pyproject.toml`` therefore
caps zarr at the minor version that it was read against.
"""

from __future__ import annotations

from zarr.core.array import AsyncArray
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.metadata import ArrayV3Metadata
from zarr.core.sync import sync

__all__ = [
    "ArrayV3Metadata",
    "AsyncArray",
    "Buffer",
    "BufferPrototype",
    "default_buffer_prototype",
    "sync",
]
