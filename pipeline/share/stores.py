"""A store to the hub and back, with a card that says what it is and what it may be used for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from foveal.errors import ChecksumError, FovealError, StoreError
from foveal.pipeline.share.hub import Address, Advance, Moved, pull_folder, push_folder
from foveal.pipeline.sources.base import Dataset
from foveal.registry import find, plugins
from foveal.storage.copies import copy_key
from foveal.storage.index import index_is_current
from foveal.storage.location import Location
from foveal.storage.reader import Store, open_store
from foveal.storage.verify import verify

ROOT = ("zarr.json", copy_key(""))
"""What makes a folder a store: its root and the copy of it. They travel last."""

_NOT_SHARED = (
    "_foveal/lock",
    "_foveal/%store/log",
    "_foveal/%store/claims",
    "_foveal/%store/holders",
)
"""Who works, or worked, on a store: says nothing to others, and names machines."""


_NOTES = ("unchecked", "leftover")
"""What `verify` remarks of a store that is whole."""


def push_store(
    url: str | Path,
    address: str,
    *,
    public: bool = False,
    advance: Advance = lambda name, done, of: None,
) -> tuple[Moved, list[str]]:
    """Bring a store to ``hf://datasets/NAME/REPO``, with a dataset card.

    Parameters
    ----------
    url : str or Path
        A store in a folder that no build is at work on.
    address : str
    public : bool
        For a repository that is made: others may see it.
    advance : callable

    Returns
    -------
    moved, warnings
        What was done, and what the dataset's terms have to say of it.

    Raises
    ------
    StoreError
        There is no store, or a build of it is not finished.
    FovealError, Unreachable, ChecksumError
        See `push_folder`; also a store whose terms forbid it is not made public.
    """
    to = Address.parse(address, "dataset")
    store = open_store(url)
    if store.location.local is None:
        raise StoreError(f"{store.location} lies in no folder of this machine; push one that does")
    if not index_is_current(store.location):
        raise StoreError(
            f"{store.location}: a build is at work, or was stopped before its end; finish it first"
        )
    folder = Path(store.location.local)
    warnings = terms_of(store)
    dataset = _dataset(store)
    if public and dataset is not None and dataset.redistribution == "forbidden":
        raise FovealError(f"{warnings[0]}; pushed without --public, only you see it")
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    names = [name for name in names if not name.startswith(_NOT_SHARED) and name != "README.md"]
    names.sort(key=lambda name: name in ROOT)
    return (
        push_folder(folder, names, to, card(store, to), private=not public, advance=advance),
        warnings,
    )


def pull_store(
    address: str, folder: str | Path, advance: Advance = lambda name, done, of: None
) -> Moved:
    """Bring a store from the hub into a folder, which is one by itself or goes on a former pull.

    Raises
    ------
    StoreError
        The folder holds something else.
    ChecksumError
        A file is not what the hub says, or the store not what its own marks say.
    FovealError, Unreachable
        See `pull_folder`.
    """
    come_from = Address.parse(address, "dataset")
    folder = Path(folder).expanduser()
    known = (ROOT[0], "videos", "_foveal", ".cache")
    if folder.is_dir() and any(folder.iterdir()):
        if not any((folder / name).exists() for name in known):
            raise StoreError(f"{folder} holds something else; name an empty or a new folder")
    elif folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; name a new folder")
    moved = pull_folder(come_from, folder, last=ROOT, advance=advance)
    problems = [one for one in verify(Location(folder, read_only=True)) if one.kind not in _NOTES]
    if problems:
        raise ChecksumError(
            f"{folder} is what lies at {address}, but that is not whole: {len(problems)} problems, "
            f"such as {problems[0].message}; foveal verify {folder} lists them"
        )
    return moved


def terms_of(store: Store) -> list[str]:
    """What to know before a store is handed on, in sentences; empty where it plainly may be."""
    dataset = _dataset(store)
    if dataset is None or dataset.kind == "videos":
        return [f"{store.dataset}: nothing is known of its terms; ask those whose videos they are"]
    if dataset.redistribution == "allowed":
        return []
    told = f"{dataset.title}: {dataset.terms}"
    if dataset.redistribution == "forbidden":
        return [f"its terms forbid to hand it on. {told}"]
    return [f"its terms do not say that it may be handed on; ask its authors first. {told}"]


def card(store: Store, address: Address) -> str:
    """README.md of a store's repository: what it is, how it is read, whose it is, its recipe."""
    dataset = _dataset(store)
    title = store.dataset if dataset is None else dataset.title
    about = {
        "pretty_name": f"{title}, as a foveal store",
        "license": "other",
        "tags": ["saliency", "eye-tracking", "video", "zarr", "foveal"],
    }
    table = store.videos
    rows = [
        f"| {split if isinstance(split, str) else 'no split'} | {len(part)} | "
        f"{int(part.frames.fillna(0).sum()):,} | {part.stored_bytes.fillna(0).sum() / 1e9:.2f} GB |"
        for split, part in table.groupby("split", dropna=False)
    ]
    stages = sorted({stage for stages in table.stages for stage in stages})
    warning = "".join(f"> **Before you hand it on:** {each}\n\n" for each in terms_of(store))
    cited = dataset.citation if dataset is not None and dataset.citation else "see its authors"
    terms = dataset.terms if dataset is not None and dataset.terms else "see its authors"
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(about, sort_keys=False)}---",
            f"# {title}, as a foveal store\n",
            f"{warning}Frames and whatever was computed from them, on one timeline per video, as "
            "one Zarr store.\n",
            "```\npip install 'foveal[share]'\n"
            f"foveal pull {address} {address.repo.split('/')[1]}.zarr\n```\n",
            "```python\nimport foveal\n\n"
            f'store = foveal.open_store("{address.repo.split("/")[1]}.zarr")\n```\n',
            "| split | videos | frames | size |\n|---|---|---|---|",
            *rows,
            f"\nStages: {', '.join(stages)}.\n",
            f"## Whose it is\n\nCite: {cited}\n\nTerms: {terms}\n",
            "The terms of the dataset hold for everything that is derived from it.\n",
            f"## How it was made\n\n```yaml\n{_recipe(store)}```\n",
            "Software: " + ", ".join(f"{k} {v}" for k, v in sorted(store.software.items())) + ".\n",
        ]
    )


def _recipe(store: Store) -> str:
    """The recipe as YAML, without the folders of the machine it was built on."""
    recipe = dict(store.recipe)
    recipe["store"] = "store.zarr"
    if isinstance(recipe.get("dataset"), dict):
        recipe["dataset"] = {
            **recipe["dataset"],
            **({"root": "."} if "root" in recipe["dataset"] else {}),
        }
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)


def _dataset(store: Store) -> Dataset | None:
    found: Any = find("sources", store.dataset) if store.dataset in plugins("sources") else None
    return found if isinstance(found, Dataset) else None
