"""Push trained runs to the Hugging Face Hub, and pull them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from foveal.errors import FovealError
from foveal.pipeline.learn.checkpoint import BEST, CURVE, SETTINGS, VALIDATION
from foveal.pipeline.share.address import Address
from foveal.pipeline.share.hub import Advance, Moved, pull_folder, push_folder

_SHARED = (BEST, SETTINGS, CURVE, VALIDATION)
"""Files of a run that others need; not its last checkpoint, which has the optimiser's state too."""


def push_run(
    run: str | Path,
    address: str,
    *,
    public: bool = False,
    advance: Advance = lambda name, done, of: None,
) -> Moved:
    """Push the best network of a run, its settings and curves.

    Parameters
    ----------
    run : str or Path
        Folder of the run.
    address : str
        ``hf://NAME/REPO``.
    public : bool
        Whether everybody can see a repository that is made.
    advance : callable
        Called during the transfer: file, bytes done, and bytes of all files.

    Raises
    ------
    FovealError
        The folder holds no trained network; otherwise see `push_folder`.
    """
    to = Address.parse(address, "model")
    folder = Path(run).expanduser()
    if not (folder / BEST).is_file():
        raise FovealError(f"{folder} holds no {BEST}; name the folder of a run of foveal train")
    names = [name for name in _SHARED if (folder / name).is_file()]
    return push_folder(folder, names, to, _card(folder, to), private=not public, advance=advance)


def pull_run(
    address: str, folder: str | Path, advance: Advance = lambda name, done, of: None
) -> Moved:
    """Pull a run from the hub into a folder that `foveal predict` takes.

    Parameters
    ----------
    address : str
        ``hf://NAME/REPO``.
    folder : str or Path
        The folder.
    advance : callable
        Called during the transfer: file, bytes done, and bytes of all files.
    """
    source = Address.parse(address, "model")
    return pull_folder(source, Path(folder).expanduser(), last=[BEST], advance=advance)


def fetched_run(address: str, advance: Advance = lambda name, done, of: None) -> Path:
    """Pull the best network of the run at `address` into the folder of weights, if it differs.

    Returns
    -------
    Path
        Its ``best.pt``.
    """
    from foveal.models.weights import weights_folder

    source = Address.parse(address, "model")
    folder = weights_folder() / "hub" / source.repo.replace("/", "--")
    pull_folder(source, folder, only=[BEST], advance=advance)
    return folder / BEST


def _card(folder: Path, address: Address) -> str:
    """README.md of a run's repository: what was trained, on what, and how it is used."""
    settings: dict[str, Any] = {}
    if (folder / SETTINGS).is_file():
        settings = yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8")) or {}
    # Paths of the machine that trained are private.
    shown = {**settings, "run": address.repo.split("/")[1]}
    shown["stores"] = [Path(str(store)).name for store in settings.get("stores", [])]
    for key in ("validation_stores", "backbone"):
        if shown.get(key):
            shown[key] = str(shown[key]).rsplit("/", 1)[-1]
    about = {"library_name": "foveal", "tags": ["saliency", "eye-tracking", "video", "foveal"]}
    name = settings.get("model", "a network")
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(about, sort_keys=False)}---",
            f"# {name}, trained by foveal\n",
            f"```\npip install 'foveal[share]'\nfoveal predict {address} --store your.zarr\n```\n",
            "The terms of its training datasets apply to it too.\n",
            f"```yaml\n{yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)}```\n",
        ]
    )
