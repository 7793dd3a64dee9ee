"""Recognise which dataset a folder holds, and write a commented recipe for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from foveal.errors import RecipeError
from foveal.pipeline.check.gaze_csv import find_gaze_csv, with_gaze
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources.base import Dataset, Form
from foveal.pipeline.sources.readers.files import folder_names
from foveal.registry import find, plugins

_SUBFOLDERS = 30
"""Number of folders below the given one that are tried where it holds no dataset itself."""

_PLAIN_RECIPE = """\
# {title}. Every key is explained in docs/recipes.md.
dataset:
  kind: {kind}
  root: .
store: .
frames:
  size: [192, 256]            # [height, width]; null keeps the source's size
"""


@dataclass(frozen=True)
class Guess:
    """Which signs of a form a folder shows.

    Attributes
    ----------
    dataset : Dataset
    form : Form
    root : Path
        The folder: the given one or one below it.
    found, missing : tuple of str
        Patterns of the parts that are there, and of those that are not.
    """

    dataset: Dataset
    form: Form
    root: Path
    found: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Recognition:
    """What a folder holds.

    Attributes
    ----------
    guess : Guess or None
        The recognised form; None where there is none.
    recipe : str
        Commented YAML for it; empty where nothing was recognised.
    message : str
        For people: what was recognised, or what was found and what is missing.
    """

    guess: Guess | None
    recipe: str
    message: str


def recognise(root: Path, store: str | None = None) -> Recognition:
    """Find out which dataset and form a folder holds, and write a recipe for it.

    All registered datasets are tried in the folder, then in the folders below. Where several forms
    match, the one with the most signs is taken.

    Parameters
    ----------
    root : Path
    store : str, optional
        Path or URL of the store; default is ``<dataset>.zarr`` in the current folder.

    Raises
    ------
    RecipeError
        The folder does not exist.
    """
    if not root.is_dir():
        raise RecipeError(f"{root} is no folder; give the one the dataset was unpacked into")
    datasets: list[Dataset] = [find("sources", kind) for kind in plugins("sources")]
    forms = [(dataset, form) for dataset in datasets for form in dataset.forms]
    folders = [root, *(root / name for name in folder_names(root)[:_SUBFOLDERS])]
    halves: list[Guess] = []
    for folder in folders:
        guesses = [_compare(*one, folder) for one in forms if not one[1].folder_key]
        if whole := [guess for guess in guesses if not guess.missing]:
            return _recognised(whole, root, store)
        halves += [guess for guess in guesses if len(guess.found) >= len(guess.missing)]
    if halves:
        best = max(halves, key=lambda one: len(one.found) / len(one.form.signs))
        return Recognition(
            None,
            "",
            f"{best.root} looks like {best.form.title}: found {', '.join(best.found)}; "
            f"missing {'; '.join(best.missing)}",
        )
    for folder in folders:
        guesses = [_compare(*one, folder) for one in forms if one[1].folder_key]
        if whole := [guess for guess in guesses if not guess.missing]:
            return _recognised(whole, root, store)
    known = ", ".join(form.title for _, form in forms if not form.folder_key)
    return Recognition(None, "", f"{root} holds none of the known datasets ({known}) and no videos")


def _compare(dataset: Dataset, form: Form, root: Path) -> Guess:
    found, missing = [], []
    for patterns in form.signs:
        match = next((pattern for pattern in patterns if _exists(root, pattern)), None)
        if match is None:
            missing.append(" or ".join(patterns))
        else:
            found.append(match)
    return Guess(dataset, form, root, tuple(found), tuple(missing))


def _exists(root: Path, pattern: str) -> bool:
    return next(root.glob(pattern), None) is not None


def _recognised(whole: list[Guess], root: Path, store: str | None) -> Recognition:
    guess, *others = sorted(whole, key=lambda one: -len(one.found))
    form, dataset = guess.form, guess.dataset
    option = (value for pattern, value in form.options.items() if _exists(guess.root, pattern))
    settings = {"root": str(guess.root), **form.settings, **next(option, {})}
    if form.folder_key:
        settings["root"] = str(root)
        settings[form.folder_key] = str(guess.root.relative_to(root))
    text = _set(_ready_recipe(dataset), "store", store or f"{dataset.kind}.zarr", indent="")
    for key, value in settings.items():
        text = _set(text, key, value, indent="  ")
    remarks = list(_remarks(guess, others))
    if dataset.kind == "videos" and settings.get("form", "files") == "files":
        gaze = find_gaze_csv(root, guess.root)
        if gaze is not None:
            text = with_gaze(text, gaze)
            remarks += gaze.remarks
    Recipe.parse(yaml.safe_load(text))
    return Recognition(guess, text, "\n".join(remarks))


def _remarks(guess: Guess, others: list[Guess]) -> Iterator[str]:
    yield f"{guess.root}: {guess.form.title} ({', '.join(guess.found)})"
    if others:
        titles = ", ".join(other.form.title for other in others)
        yield f"it has the signs of {titles} too; the one with the most signs is taken"
    if guess.dataset.citation:
        yield f"cite {guess.dataset.citation}"
    if guess.dataset.terms:
        yield f"terms: {guess.dataset.terms}"


def _ready_recipe(dataset: Dataset) -> str:
    ready = resources.files("foveal") / "recipes" / f"{dataset.kind}.yaml"
    if dataset.recipe or not ready.is_file():
        return dataset.recipe or _PLAIN_RECIPE.format(kind=dataset.kind, title=dataset.title)
    return ready.read_text(encoding="utf-8")


def _set(text: str, key: str, value: Any, indent: str) -> str:
    """Give a key of a ready recipe another value and keep its comment; new keys follow ``root``."""
    written = json.dumps(value, ensure_ascii=False)
    line = re.compile(rf"^{indent}{key}:[^\n#]*?(\s+#[^\n]*)?$", re.MULTILINE)
    if line.search(text):
        return line.sub(lambda old: f"{indent}{key}: {written}{old[1] or ''}", text, count=1)
    return re.sub(
        r"^  root:.*$",
        lambda root: f"{root[0]}\n{indent}{key}: {written}",
        text,
        count=1,
        flags=re.MULTILINE,
    )
