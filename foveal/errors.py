"""Everything foveal raises on purpose.

::

    FovealError
    ├── RecipeError         the recipe is wrong: a key, a value, or a combination of them
    ├── MissingDependency   the machine lacks something (ffmpeg, opencv-contrib, weights)
    │   └── MissingPackage  a Python package that an extra brings: also a ModuleNotFoundError
    ├── Unreachable         disk full, mount lost, connection closed: also an OSError
    ├── StoreError          the store cannot be opened, read or written as asked
    │   ├── StoreLocked     another build is writing this store
    │   ├── StoreUnreachable  the same of a store: an Unreachable too
    │   └── ChecksumError   a stored chunk is missing or differs from what was written
    └── InputError          one video (or its annotation) is unusable: quarantined, never fatal
        ├── DecodeError     the video itself
        └── GazeError       its gaze, fixations or published maps

A message gives the value, what is allowed, and the next step. Where something damaged is left out
and the rest is whole, a `DamageWarning` names it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

_AGAIN = "then run the same command again: what is complete stays"
_ADVICE = {
    errno.ENOSPC: f"the disk is full: make room, {_AGAIN}",
    errno.EDQUOT: f"the quota is used up: make room, {_AGAIN}",
    errno.EFBIG: f"files may not grow so long here: raise the limit (ulimit -f), {_AGAIN}",
    errno.EROFS: "it is mounted read-only: choose another place, or mount it for writing",
    errno.EACCES: "give this account access to it",
    errno.EPERM: "give this account access to it",
    errno.EIO: "the disk reports a fault: copy what is there to another one, then check it",
    errno.ENOTCONN: f"mount it again, {_AGAIN}",
    errno.ESTALE: f"mount it again, {_AGAIN}",
    errno.ENODEV: f"mount it again, {_AGAIN}",
    errno.EMFILE: "raise the number of files a process may open (ulimit -n)",
}


class FovealError(Exception):
    """Base of every error foveal raises on purpose."""


class RecipeError(FovealError):
    """The recipe is wrong: a key, a value, or a combination of them."""


class MissingDependency(FovealError):
    """The machine lacks something foveal needs (ffmpeg, opencv-contrib, weights)."""


class MissingPackage(MissingDependency, ModuleNotFoundError):
    """A Python package is missing that an extra of foveal brings (``pip install 'foveal[train]'``).

    It is a `ModuleNotFoundError` as well, so that ``try: import foveal.torch`` works as with any
    module.
    """


class Unreachable(FovealError, OSError):
    """The disk, the network or the account refuses: trying again later may help."""


class StoreError(FovealError):
    """The store cannot be opened, read or written as asked."""


class StoreLocked(StoreError):
    """Another build is writing this store."""


class StoreUnreachable(StoreError, Unreachable):
    """The disk, the network or the account of a store refuses."""


class ChecksumError(StoreError):
    """A stored chunk is missing or differs from what was written."""


class DamageWarning(UserWarning):
    """Something of a store is damaged or lost, and left out of what is read."""


class InputError(FovealError):
    """One video or its annotation is unusable; the video is quarantined, the build goes on."""


class DecodeError(InputError):
    """The video cannot be decoded completely and exactly."""


class GazeError(InputError):
    """Gaze, fixations or published maps of a video are missing, garbled or do not fit it."""


def advice_on(error: Exception) -> str | None:
    """Say what to do about an `error` of the system; None where that depends on the place."""
    return _ADVICE.get(error.errno or 0) if isinstance(error, OSError) else None


@contextmanager
def writing(place: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the system refuses inside the block into an `Unreachable` of one line.

    Parameters
    ----------
    place : path
        File or folder that is written to.
    """
    try:
        yield
    except FovealError:
        raise
    except OSError as error:
        raise unreachable(error, place, "written") from error


def unreachable(
    error: OSError, place: str | os.PathLike[str] = "a file", doing: str = "reached"
) -> Unreachable:
    """Turn an error of the system into one line: what, where, what to do.

    Parameters
    ----------
    error : OSError
        The error as the system raised it.
    place : path
        File or folder, where the error itself names none.
    doing : str
        What could not be done: "read", "written", "reached".
    """
    where = error.filename or os.fspath(place)
    why = " ".join(str(error.strerror or error or type(error).__name__).split())
    advice = advice_on(error) or "check it, or choose another place"
    return Unreachable(f"{where} cannot be {doing}: {why}; {advice}")
