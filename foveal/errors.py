"""Everything foveal raises on purpose.

::

    FovealError
    ├── RecipeError         the recipe is wrong: a key, a value, or a combination of them
    ├── MissingDependency   the machine lacks something (ffmpeg, opencv-contrib, weights)
    ├── StoreError          the store cannot be opened, read or written as asked
    │   ├── StoreLocked     another build is writing this store
    │   ├── StoreUnreachable  disk full, mount lost, connection closed: also an OSError
    │   └── ChecksumError   a stored chunk is missing or differs from what was written
    └── InputError          one video (or its annotation) is unusable: quarantined, never fatal
        ├── DecodeError     the video itself
        └── GazeError       its gaze, fixations or published maps

A message gives the value, what is allowed, and the next step.
"""

from __future__ import annotations


class FovealError(Exception):
    """Base of every error foveal raises on purpose."""


class RecipeError(FovealError):
    """The recipe is wrong: a key, a value, or a combination of them."""


class MissingDependency(FovealError):
    """The machine lacks something foveal needs (ffmpeg, opencv-contrib, weights)."""


class StoreError(FovealError):
    """The store cannot be opened, read or written as asked."""


class StoreLocked(StoreError):
    """Another build is writing this store."""


class StoreUnreachable(StoreError, OSError):
    """The disk, the network or the account refuses: trying again later may help."""


class ChecksumError(StoreError):
    """A stored chunk is missing or differs from what was written."""


class InputError(FovealError):
    """One video or its annotation is unusable; the video is quarantined, the build goes on."""


class DecodeError(InputError):
    """The video cannot be decoded completely and exactly."""


class GazeError(InputError):
    """Gaze, fixations or published maps of a video are missing, garbled or do not fit it."""
