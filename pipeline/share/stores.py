"""Push a store to the Hugging Face Hub with a card about its content and terms, and pull it."""

from __future__ import annotations

from pathlib import Path

import yaml

from foveal.errors import ChecksumError, FovealError, StoreError
from foveal.pipeline.share.address import Address
from foveal.pipeline.share.hub import Advance, Moved, pull_folder, push_folder
from foveal.pipeline.sources import known_dataset
from foveal.storage.copies import copy_key
from foveal.storage.index import index_is_current
from foveal.storage.location import Location
from foveal.storage.reader import Store, open_store
from foveal.storage.verify import verify

ROOT = ("zarr.json", copy_key(""))
"""Files that make a folder a store: its root and the copy of it. They are transferred last."""

_NOT_SHARED = (
    "_foveal/lock",
    "_foveal/%store/log",
    "_foveal/%store/claims",
    "_foveal/%store/holders",
)
"""Records of who works, or worked, on a store: they contain names of machines."""

_NOTES = ("unchecked", "leftover")
"""Kinds of remarks that `verify` makes about a complete store."""


def push_store(
    url: str | Path,
    address: str,
    *,
    public: bool = False,
    advance: Advance = lambda name, done, of: None,
) -> tuple[Moved, list[str]]:
    """Push a store to the hub, with a dataset card.

    Parameters
    ----------
    url : str or Path
        Folder of a store that no build is writing.
    address : str
        ``hf://datasets/NAME/REPO``.
    public : bool
        Whether everybody can see a repository that is made.
    advance : callable
        Called during the transfer: file, bytes done, and bytes of all files.

    Returns
    -------
    moved : Moved
        What was transferred.
    warnings : list of str
        What the dataset's terms say about it; see `terms_of`.

    Raises
    ------
    StoreError
        There is no store, or a build of it is not finished.
    FovealError, Unreachable, ChecksumError
        As `push_folder`; also where the terms forbid to make the store public.
    """
    to = Address.parse(address, "dataset")
    store = open_store(url)
    if store.location.local is None:
        raise StoreError(f"{store.location} is no folder of this machine; push one that is")
    if not index_is_current(store.location):
        raise StoreError(
            f"{store.location}: a build is running, or was stopped before its end; finish it first"
        )
    folder = Path(store.location.local)
    warnings = terms_of(store)
    dataset = known_dataset(store.dataset)
    if public and dataset is not None and dataset.redistribution == "forbidden":
        raise FovealError(f"{warnings[0]}; push it without --public, then only you see it")
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
    """Pull a store from the hub into a folder, and verify it.

    Parameters
    ----------
    address : str
        ``hf://datasets/NAME/REPO``.
    folder : str or Path
        An empty or new folder, or that of an earlier pull, which is continued.
    advance : callable
        Called during the transfer: file, bytes done, and bytes of all files.

    Raises
    ------
    StoreError
        The folder holds something else.
    ChecksumError
        A file is not what the hub says, or the store is not what its own marks say.
    FovealError, Unreachable
        As `pull_folder`.
    """
    source = Address.parse(address, "dataset")
    folder = Path(folder).expanduser()
    known = (ROOT[0], "videos", "_foveal", ".cache")
    if folder.is_dir() and any(folder.iterdir()):
        if not any((folder / name).exists() for name in known):
            raise StoreError(f"{folder} holds something else; name an empty or a new folder")
    elif folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; name a new folder")
    moved = pull_folder(source, folder, last=ROOT, advance=advance)
    problems = [one for one in verify(Location(folder, read_only=True)) if one.kind not in _NOTES]
    if problems:
        raise ChecksumError(
            f"{folder} is the same as {address}, but that is not whole: {len(problems)} problems, "
            f"such as {problems[0].message}; foveal verify {folder} lists them"
        )
    return moved


def terms_of(store: Store) -> list[str]:
    """Write sentences about the terms of `store`; none where its dataset may be passed on."""
    dataset = known_dataset(store.dataset)
    if dataset is None or dataset.kind == "videos":
        return [f"{store.dataset}: its terms are not known; ask the owners of the videos"]
    if dataset.redistribution == "allowed":
        return []
    terms = f"{dataset.title}: {dataset.terms}"
    if dataset.redistribution == "forbidden":
        return [f"its terms forbid to pass it on. {terms}"]
    return [f"its terms do not say that you may pass it on; ask its authors first. {terms}"]


def card(store: Store, address: Address) -> str:
    """Write the README.md for `store` at `address`: content, reading, owners, terms, recipe."""
    dataset = known_dataset(store.dataset)
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
    warning = "".join(f"> **Before you pass it on:** {each}\n\n" for each in terms_of(store))
    cited = dataset.citation if dataset is not None and dataset.citation else "see its authors"
    terms = dataset.terms if dataset is not None and dataset.terms else "see its authors"
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(about, sort_keys=False)}---",
            f"# {title}, as a foveal store\n",
            f"{warning}Frames and what was computed from them, on one timeline per video, as one "
            "Zarr store.\n",
            "```\npip install 'foveal[share]'\n"
            f"foveal pull {address} {address.repo.split('/')[1]}.zarr\n```\n",
            "```python\nimport foveal\n\n"
            f'store = foveal.open_store("{address.repo.split("/")[1]}.zarr")\n```\n',
            "| split | videos | frames | size |\n|---|---|---|---|",
            *rows,
            f"\nStages: {', '.join(stages)}.\n",
            f"## Whose it is\n\nCite: {cited}\n\nTerms: {terms}\n",
            "The terms of the dataset apply to everything that is derived from it.\n",
            f"## How it was made\n\n```yaml\n{_recipe(store)}```\n",
            "Software: " + ", ".join(f"{k} {v}" for k, v in sorted(store.software.items())) + ".\n",
        ]
    )


def _recipe(store: Store) -> str:
    """The recipe as YAML, without the folders of the machine it was built on."""
    recipe = {**store.recipe, "store": "store.zarr"}
    dataset = recipe.get("dataset")
    if isinstance(dataset, dict) and "root" in dataset:
        recipe["dataset"] = {**dataset, "root": "."}
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
