"""What to install where a package is missing.

``pip install foveal`` brings only what reading a store needs. Extras bring everything else:
``pip install 'foveal[build]'``. ``pyproject.toml`` alone says which extra brings what; this module
asks the installed package for it. docs/install.md explains the extras.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from foveal.errors import MissingPackage

_DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-contrib-python",
    "ffmpeg": "ffmpeg-python",
    "IPython": "ipykernel",
    "anyio": "starlette",
    "llvmlite": "numba",
    "markupsafe": "jinja2",
    "rerun": "rerun-sdk",
    "triton": "torch",
    "yaml": "pyyaml",
}
"""The package that brings a module, where its name is not the module's."""

_SMALLEST_FIRST = (
    "view",
    "train",
    "build",
    "flow",
    "cloud",
    "share",
    "huggingface",
    "notebook",
    "rerun",
)
"""Extras in the order in which they are proposed, where several bring a package."""

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<extras>[^]]*)\])?")
_OF_EXTRA = re.compile(r"extra == [\"'](?P<extra>[\w-]+)[\"']")


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Turn a missing package inside the block into a `MissingPackage` that says what to install.

    Parameters
    ----------
    extra : str
        The extra of foveal that the block belongs to. It is proposed where it brings the package.

    Raises
    ------
    MissingPackage
        A package cannot be found, and an extra of foveal brings it.

    Examples
    --------
    >>> with needing("view"):
    ...     import matplotlib
    """
    try:
        yield
    except MissingPackage:
        raise
    except ModuleNotFoundError as error:
        missing = missing_package(error, extra)
        if missing is None:
            raise
        raise missing from error


def missing_package(error: ModuleNotFoundError, extra: str | None = None) -> MissingPackage | None:
    """Say in one line which extra of foveal brings a module that was not found.

    Parameters
    ----------
    error : ModuleNotFoundError
    extra : str, optional
        The extra that is proposed where it brings the module. By default, or where it does not,
        the smallest extra that does is proposed.

    Returns
    -------
    MissingPackage or None
        None where no extra brings the module: the fault is then not a missing extra.
    """
    module = (error.name or "").partition(".")[0]
    distribution = _canonical(_DISTRIBUTIONS.get(module, module))
    known = [name for name in (extra, *_SMALLEST_FIRST) if name is not None]
    for name in known:
        if distribution in _brought_by(name):
            return MissingPackage(
                f"this needs {module}; run: pip install 'foveal[{name}]'", name=module
            )
    return None


@functools.cache
def _brought_by(extra: str) -> frozenset[str]:
    """Distributions that an extra names, with those of the extras it is made of."""
    found: set[str] = set()
    for text in _requirements():
        condition = _OF_EXTRA.search(text)
        requirement = _REQUIREMENT.match(text)
        if condition is None or requirement is None or condition["extra"] != extra:
            continue
        name = _canonical(requirement["name"])
        if name != "foveal":
            found.add(name)
            continue
        for inner in (requirement["extras"] or "").split(","):
            if inner.strip() != extra:
                found |= _brought_by(inner.strip())
    return frozenset(found)


def _requirements() -> list[str]:
    try:
        return metadata.requires("foveal") or []
    except metadata.PackageNotFoundError:
        return []


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
