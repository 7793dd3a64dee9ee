"""This module finds, downloads, checks and loads published weights.

Their files are in one folder: ``$FOVEAL_WEIGHTS``, by default ``foveal/weights`` in the user's
cache. Files that a person puts there work without a network connection. Only `fetch` downloads, and
no pickled code ever runs (`load_state_dict`).
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from foveal.errors import FovealError, MissingDependency, RecipeError
from foveal.machine import file_sha256
from foveal.models.weights_registry import REGISTRY, Weights

MAX_BYTES = 4 << 30
"""Larger downloads are stopped."""


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights on this machine.

    Attributes
    ----------
    name : str
        Registered name, or the file's own name if it was given by path.
    path : Path
        Where it is.
    sha256 : str
        Full digest of its content, in hexadecimal.
    """

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class WeightsStatus:
    """State of one registered file on this machine.

    Attributes
    ----------
    weights : Weights
        The registered entry.
    path : Path
        Where the file is or has to be.
    state : str
        ``missing``, ``present`` (not yet compared), ``ok``, ``unverified`` (no digest is published)
        or ``wrong``.
    size_bytes : int or None
        Size on disk.
    sha256 : str or None
        Digest of the content, once computed.
    """

    weights: Weights
    path: Path
    state: str
    size_bytes: int | None = None
    sha256: str | None = None


def weights_folder() -> Path:
    """Return ``$FOVEAL_WEIGHTS``, or ``foveal/weights`` in the user's cache; it may not exist."""
    chosen = os.environ.get("FOVEAL_WEIGHTS")
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("foveal")) / "weights"


def lookup(name: str) -> Weights:
    """Return the entry of published weights.

    Parameters
    ----------
    name : str
        A registered name, or weights of ptlflow (``gma-sintel``), torchvision or timm
        (``torchvision:swin3d_b``, ``timm:vit_base_patch14_dinov2``).

    Raises
    ------
    RecipeError
        There are no such weights; the message lists a similar name and all names.
    """
    if name in REGISTRY:
        return REGISTRY[name]
    if name.startswith(("torchvision:", "timm:")):
        from foveal.models.features.published import published_weights

        return published_weights(name)
    if "-" in name:
        from foveal.models.flow.ptlflow import ptlflow_weights

        if entry := ptlflow_weights(name):
            return entry
    near = difflib.get_close_matches(name, REGISTRY, 1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise RecipeError(f"no weights are called {name!r}; {meant}there are: {', '.join(REGISTRY)}")


def list_weights() -> list[WeightsStatus]:
    """Return every registered file and whether it is on this machine, without reading contents.

    Files of backbones are listed after they were fetched.
    """
    return [_status(entry, verify=False) for entry in _known()]


def check() -> list[WeightsStatus]:
    """Compare every registered file on this machine with its published digest."""
    return [_status(entry, verify=True) for entry in _known()]


def _known() -> list[Weights]:
    if not any((weights_folder() / library).is_dir() for library in ("torchvision", "timm")):
        return list(REGISTRY.values())
    from foveal.models.features.published import fetched

    return [*REGISTRY.values(), *fetched(weights_folder())]


def find(weights: str | Path | Weights) -> WeightsFile:
    """Locate weights on this machine and compare them with their published digest.

    Parameters
    ----------
    weights : str, Path or Weights
        A path, a registered name, or an entry. A string is a path if `is_path` says so.

    Raises
    ------
    MissingDependency
        The file is missing (the message says which, from where, into which folder) or differs from
        the published one.
    RecipeError
        No weights with this name are registered.
    """
    if isinstance(weights, str) and not is_path(weights):
        weights = lookup(weights)
    if not isinstance(weights, Weights):
        path = Path(weights).expanduser()
        if not path.is_file():
            raise MissingDependency(
                f"no file of weights at {path}; give the path of one, or a registered name "
                f"({', '.join(REGISTRY)})"
            )
        return WeightsFile(path.name, path, file_sha256(path))
    status = _status(weights, verify=True)
    if status.state == "missing":
        raise MissingDependency(_how_to_get(weights, f"weights {weights.name} are not here"))
    if status.state == "wrong":
        raise MissingDependency(
            f"{status.path} is not the published {weights.name}: its sha256 is {status.sha256}, "
            f"the published one is {weights.sha256}…; delete it and fetch it again, or, if the "
            "file is your own, move it elsewhere and give its path"
        )
    return WeightsFile(weights.name, status.path, status.sha256 or file_sha256(status.path))


def fetch(weights: str | Weights) -> WeightsFile:
    """Download registered weights into the folder, unless they are there.

    Parameters
    ----------
    weights : str or Weights
        A registered name, or an entry.

    Raises
    ------
    MissingDependency
        The download failed or differs from the published file; no part of it is left, and the
        message says how to get the file by hand.
    RecipeError
        No weights with this name are registered.
    """
    entry = lookup(weights) if isinstance(weights, str) else weights
    if _status(entry, verify=True).state in ("missing", "wrong"):
        for file in filter(None, (entry.companion, entry.file)):
            _download(entry, file)
    return find(entry)


def is_path(weights: str) -> bool:
    """Whether `weights` mean a file rather than a registered name.

    A path has a separator or the ending .ckpt, .pt, .pth, .safetensors or .index.
    """
    suffixes = (".ckpt", ".pt", ".pth", ".safetensors", ".index")
    return "/" in weights or os.sep in weights or weights.endswith(suffixes)


def random_seed(weights: str | None) -> int | None:
    """Return the seed in `weights` of the form ``random`` (0) or ``random:SEED``; else None."""
    match = re.fullmatch(r"random(?::(\d+))?", weights or "")
    return None if match is None else int(match[1] or 0)


def load_state_dict(path: Path) -> dict[str, Any]:
    """Load tensors by name from a checkpoint onto the CPU, without running pickled code.

    Parameters
    ----------
    path : Path
        A file of ``torch.save``: the state dict itself or a dict with it under ``state_dict``
        (Lightning and others). The prefix ``module.`` of DataParallel is removed from names.

    Raises
    ------
    FovealError
        The file is damaged or has other content, see `foveal.models.tensor_files.read`.
    """
    import torch

    from foveal.models import tensor_files

    loaded = tensor_files.read(path)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    tensors = isinstance(state, dict) and all(isinstance(v, torch.Tensor) for v in state.values())
    if not state or not tensors:
        raise FovealError(f"{path} has no state dict (tensors by name)")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _status(entry: Weights, *, verify: bool) -> WeightsStatus:
    folder = weights_folder()
    path = folder / entry.file
    if not path.is_file() or not (folder / entry.companion).exists():
        return WeightsStatus(entry, path, "missing")
    size = path.stat().st_size
    if not verify:
        return WeightsStatus(entry, path, "present", size)
    digest = file_sha256(path)
    state = "ok" if digest.startswith(entry.sha256) else "wrong"
    return WeightsStatus(entry, path, state if entry.sha256 else "unverified", size, digest)


def _how_to_get(entry: Weights, problem: str) -> str:
    files = [entry.file, *filter(None, [entry.companion])]
    urls = [_url(entry, file) for file in files]
    by_hand = " and ".join(
        f"{url} as {weights_folder() / file}" for url, file in zip(urls, files, strict=True)
    )
    return (
        f"{problem}; run: foveal weights fetch {entry.name}\n"
        f"or download by hand: {by_hand}\n(licence: {entry.licence})"
    )


def _url(entry: Weights, file: str) -> str:
    return entry.url.removesuffix(Path(entry.file).name) + Path(file).name


def _download(entry: Weights, file: str) -> None:
    import pooch

    target = weights_folder() / file
    url = _url(entry, file)
    expected = entry.sha256 if file == entry.file else ""

    def checked(url: str, partial: str, _: object) -> None:
        # pooch compares only whole digests; for most files only eight digits are published.
        with Path(partial).open("wb") as out:
            pooch.HTTPDownloader(timeout=60)(url, _Bounded(out), None)
        digest = pooch.file_hash(partial)
        if not digest.startswith(expected):
            raise OSError(f"its sha256 is {digest}, the published one is {expected}…")

    pooch.get_logger().setLevel("WARNING")
    try:
        arrived = pooch.retrieve(url, None, f"{target.name}.new", target.parent, downloader=checked)
        Path(arrived).replace(target)
    except OSError as error:  # the base of all errors of requests
        raise MissingDependency(_how_to_get(entry, f"{url} was not fetched: {error}")) from error


class _Bounded:
    """A file that refuses more than `MAX_BYTES`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.flush = file.flush

    def write(self, block: bytes) -> None:
        if self._file.tell() + len(block) > MAX_BYTES:
            raise OSError(f"it is larger than {MAX_BYTES:,} bytes")
        self._file.write(block)
