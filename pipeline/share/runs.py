"""Trained runs to the hub and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from foveal.errors import FovealError
from foveal.pipeline.learn.checkpoint import BEST, CURVE, SETTINGS, VALIDATION
from foveal.pipeline.share.hub import Address, Advance, Moved, pull_folder, push_folder

_SHARED = (BEST, SETTINGS, CURVE, VALIDATION)
"""What others need of a run. Not its last checkpoint, which holds the optimiser's state too."""


def push_run(
    run: str | Path,
    address: str,
    *,
    public: bool = False,
    advance: Advance = lambda name, done, of: None,
) -> Moved:
    """Bring the best network of a run, its settings and curves to ``hf://NAME/REPO``.

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
    return push_folder(folder, names, to, run_card(folder, to), private=not public, advance=advance)


def pull_run(
    address: str, folder: str | Path, advance: Advance = lambda name, done, of: None
) -> Moved:
    """Bring a run from the hub into a folder that `foveal predict` takes."""
    come_from = Address.parse(address, "model")
    return pull_folder(come_from, Path(folder).expanduser(), last=[BEST], advance=advance)


def fetched_run(address: str, advance: Advance = lambda name, done, of: None) -> Path:
    """The best network of a run on the hub, in the folder of weights; only what differs comes.

    Returns
    -------
    Path
        Of its ``best.pt``.
    """
    from foveal.models.weights import weights_folder

    come_from = Address.parse(address, "model")
    folder = weights_folder() / "hub" / come_from.repo.replace("/", "--")
    pull_folder(come_from, folder, only=[BEST], advance=advance)
    return folder / BEST


def run_card(folder: Path, address: Address) -> str:
    """README.md of a run's repository: what was trained, on what, and how it is used."""
    settings: dict[str, Any] = {}
    if (folder / SETTINGS).is_file():
        settings = yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8")) or {}
    # Where stores and runs lie on the machine that trained is nobody's business.
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
            "The terms of the datasets that it was trained on hold for it too.\n",
            f"```yaml\n{yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)}```\n",
        ]
    )
