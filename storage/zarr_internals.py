"""This module imports every name of zarr that is not public, so that no other module does.

zarr-python promises nothing about ``zarr.core``. A new minor version of zarr means reading this one
file; ``pyproject.toml`` therefore caps zarr at the minor version that was read.
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
